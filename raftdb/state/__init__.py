"""Everything replicated under one applied index: parts, each a function of the log; pure.

- :mod:`~raftdb.state.part` is what each part is to the whole; :mod:`~raftdb.state.registry` lists them.
- :mod:`~raftdb.state.kv`, :mod:`~raftdb.state.members`, :mod:`~raftdb.state.requests` and
  :mod:`~raftdb.state.hash_check` are the parts.
- :mod:`~raftdb.state.envelope` and :mod:`~raftdb.state.wire` are the bytes of a log entry.
- :mod:`~raftdb.state.machine` applies entries; :mod:`~raftdb.state.snapshot` writes and reads
  snapshots; :mod:`~raftdb.state.feed` hands on what changed.
"""

from raftdb.state.entries import encode_entry
from raftdb.state.hash_check import Difference, StateHash
from raftdb.state.machine import ReplicatedState, UnknownCommand
from raftdb.state.registry import Local
from raftdb.state.requests import ClientRequest, KeyedRequest, RequestID

__all__ = [
    "ClientRequest",
    "Difference",
    "KeyedRequest",
    "Local",
    "ReplicatedState",
    "RequestID",
    "StateHash",
    "UnknownCommand",
    "encode_entry",
]
