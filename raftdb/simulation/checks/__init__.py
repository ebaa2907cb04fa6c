"""What has to hold: safety at each step, the clients' history, liveness, freshness."""
