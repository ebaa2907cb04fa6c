"""The command line: `raftdb demo`, and get, put, delete and status against a running cluster."""
