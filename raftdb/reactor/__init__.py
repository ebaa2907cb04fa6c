"""What raftdb changes about Twisted's reactor, each change with a switch and its measured gain."""
