"""The wire between the nodes: Raft messages as AMP boxes."""
