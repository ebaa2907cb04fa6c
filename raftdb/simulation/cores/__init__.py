"""Bare Raft cores in memory, without clock and disk, and histories of them in a few words."""
