"""What a normal log entry holds: for whom, when, on whose behalf, and the command's bytes.

Layout, big-endian: format (1 byte), machine (1), flags (1: bit 0 says that a session follows),
wall time in ms (8), the session's client and sequence (8 + 8, only with the flag), body (the rest).
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

import msgspec

from raftdb.errors import RemoteProtocolError

ENVELOPE_FORMAT = 1

_HEAD = Struct(">BBBQ")
_SESSION = Struct(">QQ")
_HAS_SESSION = 1

ENVELOPE_OVERHEAD_BYTES = _HEAD.size + _SESSION.size
"""What an envelope adds to its body at most."""


class Machine(IntEnum):
    """The part of the replicated state that a command is for."""

    KV = 1
    MEMBERS = 2
    SESSIONS = 3
    HASH_CHECK = 4
    """No part of the state: a leader's attestation of it, held against each replica."""


class Session(NamedTuple):
    """Names one operation of one client, so that it happens once however often it is sent.

    :param client: what registering the session returned
    :param sequence: counts the client's operations, from 1; one is in flight at a time
    """

    client: int
    sequence: int


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A decoded log entry.

    :param machine: whom the command is for
    :param wall_ms: the proposing leader's wall clock, in ms since 1970; applying takes the maximum
        of this and what was there before
    :param session: set where the operation must happen exactly once
    :param body: the command's bytes
    """

    machine: Machine
    wall_ms: int
    session: Session | None
    body: bytes


def encode_envelope(
    machine: Machine, body: bytes, *, wall_ms: int, session: Session | None = None
) -> bytes:
    """Return the data of a normal log entry.

    :param session: only commands of the key-value store run in sessions
    """
    if session is None:
        return _HEAD.pack(ENVELOPE_FORMAT, machine, 0, wall_ms) + body
    assert machine is Machine.KV, "only key-value commands run in sessions"
    head = _HEAD.pack(ENVELOPE_FORMAT, machine, _HAS_SESSION, wall_ms)
    return head + _SESSION.pack(*session) + body


def decode_envelope(data: bytes) -> Envelope:
    """Return what a normal log entry holds.

    :raises RemoteProtocolError: where format, machine or flags are unknown, or the head is cut off
    """
    if len(data) < _HEAD.size:
        raise RemoteProtocolError(f"an envelope of {len(data)} bytes is cut off")
    format_, machine, flags, wall_ms = _HEAD.unpack_from(data)
    if format_ != ENVELOPE_FORMAT:
        raise RemoteProtocolError(
            f"an envelope of format {format_}; this raftdb knows {ENVELOPE_FORMAT}"
        )
    target = _MACHINES.get(machine)
    if target is None:
        raise RemoteProtocolError(
            f"a command for state machine {machine}; this raftdb knows 1 to {len(_MACHINES)}"
        )
    if flags == 0:
        return Envelope(target, wall_ms, None, data[_HEAD.size :])
    start = _HEAD.size + _SESSION.size
    if flags != _HAS_SESSION or target is not Machine.KV or len(data) < start:
        raise RemoteProtocolError(
            f"an envelope with flags {flags} for state machine {machine} in {len(data)} bytes"
        )
    session = Session(*_SESSION.unpack_from(data, _HEAD.size))
    return Envelope(target, wall_ms, session, data[start:])


_MACHINES = {int(machine): machine for machine in Machine}
