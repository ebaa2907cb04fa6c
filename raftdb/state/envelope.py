"""What a normal log entry holds: for which part, when, under which name, and the command's bytes.

Layout, big-endian: format (1 byte), part (1), flags (1: bit 0 says that a request's name follows),
wall time in ms (8), the length of the name and the name (2 + n, only with the flag), body (the rest).
"""

from __future__ import annotations

from struct import Struct

import msgspec

from raftdb.errors import RemoteProtocolError
from raftdb.state.requests import REQUEST_IDS, RequestID

ENVELOPE_FORMAT = 2
"""1 had sessions, and bodies in layouts of their own."""

_HEAD = Struct(">BBBQ")
_LENGTH = Struct(">H")
_HAS_NAME = 1

ENVELOPE_OVERHEAD_BYTES = _HEAD.size + _LENGTH.size + 256
"""What an envelope adds to its body at most: its head and a request's name."""


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """A decoded log entry.

    :param part: the number of the part that the command is for, see :mod:`raftdb.state.registry`
    :param wall_ms: the proposing leader's wall clock, in ms since 1970; applying takes the maximum
        of this and what was there before
    :param request: set where the command must happen exactly once
    :param body: the command's bytes
    """

    part: int
    wall_ms: int
    request: RequestID | None
    body: bytes | memoryview


def encode_envelope(
    part: int, body: bytes, *, wall_ms: int, request: RequestID | None = None
) -> bytes:
    """Return the data of a normal log entry."""
    if request is None:
        return _HEAD.pack(ENVELOPE_FORMAT, part, 0, wall_ms) + body
    name = REQUEST_IDS.encode(request)
    head = _HEAD.pack(ENVELOPE_FORMAT, part, _HAS_NAME, wall_ms)
    return b"".join((head, _LENGTH.pack(len(name)), name, body))


def decode_envelope(data: bytes) -> Envelope:
    """Return what a normal log entry holds; its body is a view of ``data``.

    :raises RemoteProtocolError: where format or flags are unknown, or the head is cut off
    """
    if len(data) < _HEAD.size:
        raise RemoteProtocolError(f"an envelope of {len(data)} bytes is cut off")
    format_, part, flags, wall_ms = _HEAD.unpack_from(data)
    if format_ != ENVELOPE_FORMAT:
        raise RemoteProtocolError(
            f"an envelope of format {format_}; this raftdb knows {ENVELOPE_FORMAT}"
        )
    body = memoryview(data)[_HEAD.size :]
    if flags == 0:
        return Envelope(part, wall_ms, None, body)
    if flags != _HAS_NAME:
        raise RemoteProtocolError(f"an envelope with flags {flags}; this raftdb knows 0 and 1")
    if len(body) < _LENGTH.size:
        raise RemoteProtocolError(f"an envelope of {len(data)} bytes is cut off")
    end = _LENGTH.size + _LENGTH.unpack_from(body)[0]
    if len(body) < end:
        raise RemoteProtocolError(f"an envelope of {len(data)} bytes is cut off")
    request = REQUEST_IDS.decode(body[_LENGTH.size : end])
    return Envelope(part, wall_ms, request, body[end:])
