"""The wire between the nodes: Raft messages as AMP boxes.

House rules: a stranger changes nothing and costs little; every queue has a limit in bytes; nothing
here blocks, and nothing here is certain: what cannot be delivered is dropped and reported. Knows
:mod:`raftdb.errors`, :mod:`raftdb.raft` and :mod:`raftdb.codec`; everybody else is a plain callable
or one of the protocols in :mod:`raftdb.peer.snapshot_sender`. ``docs/protocol.md`` shows the bytes.
"""
