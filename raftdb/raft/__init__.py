"""Raft, and nothing but Raft: pure functions over values.

House rules: no clock (time is ticks), no input or output, no Twisted, no randomness but the rng in
:class:`~raftdb.raft.config.Config`, no iteration over sets, no encoding. The only door is
:class:`~raftdb.raft.node.RawNode`.
"""
