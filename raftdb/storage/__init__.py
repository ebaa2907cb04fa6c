"""What survives a power cut: the log, the snapshots, the identity of a data directory."""
