"""One Raft core, driven: turns of the reactor, ticks, waiters, reads and snapshots."""
