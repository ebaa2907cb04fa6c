"""raftdb: a replicated key-value store that can be trusted with the data that must not be lost.

The layers, from the ground up; each imports only what stands above it in this list:

- :mod:`raftdb.errors` names everything that can go wrong and whether it may have happened.
- :mod:`raftdb.raft` is the algorithm: pure, without clock, input or output.
- :mod:`raftdb.codec` turns entries and messages into bytes.
- :mod:`raftdb.state.kv`, :mod:`raftdb.state.members` and :mod:`raftdb.state` are the replicated state.
- :mod:`raftdb.storage` keeps the log and the snapshots; :mod:`raftdb.peer` speaks AMP.
- :mod:`raftdb.replica` drives one core in the reactor; :mod:`raftdb.database` is what users want.
- :mod:`raftdb.http` and :mod:`raftdb.client` are the two ends of HTTP.
- :mod:`raftdb.node` and :mod:`raftdb.tap` make a daemon of it.
"""

__version__ = "0.1.0"

if not __debug__:
    raise ImportError(
        "raftdb refuses to run under python -O: its assertions guard data. Start it without -O."
    )
