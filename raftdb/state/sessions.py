"""The replicated table of sessions: an operation that is sent twice happens once (thesis 6.3).

A client registers, and numbers its operations from 1, one in flight at a time. The table keeps the
last sequence and result per client, and answers a repetition from there. It is bounded in sessions
and bytes; beyond that the session used longest ago ends. An ended session is refused, never taken
for a new one, because what it sends may have happened already.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from struct import Struct
from typing import TypeAlias

import msgspec

from raftdb.errors import InvalidRequest, RemoteProtocolError
from raftdb.state.envelope import Session
from raftdb.state.kv.values import DIGEST_MASK, Result, decode_result, digest, encode_result

SESSIONS_MAX = 10_000
SESSION_BYTES_MAX = 16 * 1024 * 1024
SESSION_OVERHEAD_BYTES = 256

COMMAND_VERSION = 1
_COMMAND = Struct(">BBQ")  # version, kind, client
_REGISTER, _END = 1, 2

_RECORD = Struct(">QQQ")  # client, sequence, index of the last use


class RegisterSession(msgspec.Struct, frozen=True):
    """Begin a session; the result is the client's number."""


class EndSession(msgspec.Struct, frozen=True):
    """End a session; harmless where there is none.

    :param client: what registering it returned
    """

    client: int


SessionsCommand: TypeAlias = RegisterSession | EndSession


def encode_sessions_command(command: SessionsCommand) -> bytes:
    """Return the bytes that go into the log."""
    if isinstance(command, EndSession):
        return _COMMAND.pack(COMMAND_VERSION, _END, command.client)
    return _COMMAND.pack(COMMAND_VERSION, _REGISTER, 0)


def decode_sessions_command(data: bytes) -> SessionsCommand:
    """Return the command behind ``data``.

    :raises RemoteProtocolError: where the bytes are no command this raftdb knows
    """
    if len(data) != _COMMAND.size:
        raise RemoteProtocolError(f"a sessions command has {_COMMAND.size} bytes, not {len(data)}")
    version, kind, client = _COMMAND.unpack(data)
    if (version, kind) == (COMMAND_VERSION, _END):
        return EndSession(client)
    if (version, kind, client) == (COMMAND_VERSION, _REGISTER, 0):
        return RegisterSession()
    raise RemoteProtocolError(f"a sessions command of version {version}, kind {kind}")


class _Slot(msgspec.Struct, gc=False):
    """What is remembered of one client.

    :param used: the index of the last use; slots are kept in its order
    :param result: the bytes of the last result, empty before the first operation
    """

    sequence: int
    used: int
    result: bytes
    digest: int


class SessionTable:
    """The sessions alive, in the order of their last use.

    Invariant: at most ``SESSIONS_MAX`` slots, whose results count at most ``SESSION_BYTES_MAX``.
    """

    def __init__(self) -> None:
        self.digest = 0
        self._slots: OrderedDict[int, _Slot] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._slots)

    def apply(self, index: int, command: SessionsCommand) -> int:
        """Apply one command at ``index``; return the client's number."""
        if isinstance(command, EndSession):
            self._drop(command.client)
            return command.client
        self._put(index, index, sequence=0, result=b"")
        return index

    def check(self, session: Session) -> Result | InvalidRequest | None:
        """Return the remembered result of a repetition, or a refusal, or None: apply it."""
        slot = self._slots.get(session.client)
        if slot is None:
            return InvalidRequest(
                f"session {session.client} has ended; whether its earlier operations happened must"
                " be read"
            )
        if session.sequence == slot.sequence and slot.result:
            return decode_result(slot.result)
        if session.sequence <= slot.sequence:
            return InvalidRequest(
                f"session {session.client} stands at operation {slot.sequence}; number"
                f" {session.sequence} has been answered"
            )
        return None

    def remember(self, index: int, session: Session, result: Result) -> None:
        """Keep the result of what was applied at ``index``."""
        self._put(index, session.client, sequence=session.sequence, result=encode_result(result))

    def _put(self, index: int, client: int, *, sequence: int, result: bytes) -> None:
        self._drop(client)
        slot = _Slot(sequence, index, result, digest(_record(client, sequence, index, result)))
        self._slots[client] = slot
        self._bytes += len(result) + SESSION_OVERHEAD_BYTES
        self.digest = (self.digest + slot.digest) & DIGEST_MASK
        while len(self._slots) > SESSIONS_MAX or self._bytes > SESSION_BYTES_MAX:
            self._drop(next(iter(self._slots)))

    def _drop(self, client: int) -> None:
        slot = self._slots.pop(client, None)
        if slot is not None:
            self._bytes -= len(slot.result) + SESSION_OVERHEAD_BYTES
            self.digest = (self.digest - slot.digest) & DIGEST_MASK

    def records(self) -> Iterator[bytes]:
        """Copy the table, and return its slots as bytes, oldest use first."""
        return (
            _record(client, slot.sequence, slot.used, slot.result)
            for client, slot in list(self._slots.items())
        )

    def load(self, record: bytes) -> None:
        """Take one of :meth:`records`, in their order.

        :raises RemoteProtocolError: where it is none
        """
        if len(record) < _RECORD.size:
            raise RemoteProtocolError(f"a session's record of {len(record)} bytes is cut off")
        client, sequence, used = _RECORD.unpack_from(record)
        self._put(used, client, sequence=sequence, result=record[_RECORD.size :])


def _record(client: int, sequence: int, used: int, result: bytes) -> bytes:
    return _RECORD.pack(client, sequence, used) + result
