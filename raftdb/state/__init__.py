"""Everything replicated under one applied index: keys, members, sessions; pure.

- :mod:`~raftdb.state.hash_check` tells whether this replica is the same as the others.
- :mod:`~raftdb.state.envelope` is what a normal log entry holds.
- :mod:`~raftdb.state.sessions` makes an operation that is sent twice happen once.
- :mod:`~raftdb.state.machine` applies envelopes, and is written to and read from snapshots.
"""

from raftdb.state.envelope import Envelope, Machine, Session, decode_envelope, encode_envelope
from raftdb.state.hash_check import Difference, StateHash, encode_state_hash
from raftdb.state.machine import ReplicatedState, UnknownCommand
from raftdb.state.sessions import (
    EndSession,
    RegisterSession,
    SessionsCommand,
    encode_sessions_command,
)

__all__ = [
    "Difference",
    "EndSession",
    "Envelope",
    "Machine",
    "RegisterSession",
    "ReplicatedState",
    "Session",
    "SessionsCommand",
    "StateHash",
    "UnknownCommand",
    "decode_envelope",
    "encode_envelope",
    "encode_sessions_command",
    "encode_state_hash",
]
