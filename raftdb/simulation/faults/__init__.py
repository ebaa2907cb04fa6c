"""What is done to a cluster: faults, changes of its members, operators at work."""
