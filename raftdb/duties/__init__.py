"""What a member does unasked, again and again: autopilot, and the check that replicas are equal."""
