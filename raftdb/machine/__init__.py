"""Everything replicated under one applied index: keys, members, sessions; pure.

- :mod:`~raftdb.machine.comparison` tells whether this replica is the same as the others.
- :mod:`~raftdb.machine.envelope` is what a normal log entry holds.
- :mod:`~raftdb.machine.sessions` makes an operation that is sent twice happen once.
- :mod:`~raftdb.machine.state` applies envelopes, and is written to and read from snapshots.
"""

from raftdb.machine.comparison import Attestation, Difference, encode_attestation
from raftdb.machine.envelope import Envelope, Machine, Session, decode_envelope, encode_envelope
from raftdb.machine.sessions import (
    EndSession,
    RegisterSession,
    SessionsCommand,
    encode_sessions_command,
)
from raftdb.machine.state import ReplicatedState, UnknownCommand

__all__ = [
    "Attestation",
    "Difference",
    "EndSession",
    "Envelope",
    "Machine",
    "RegisterSession",
    "ReplicatedState",
    "Session",
    "SessionsCommand",
    "UnknownCommand",
    "decode_envelope",
    "encode_attestation",
    "encode_envelope",
    "encode_sessions_command",
]
