"""The replicated state in a snapshot: four sections, written in slices and read back.

``state`` holds the header: version (1), applied index (8), replicated time in ms (8), state hash
(16). ``members`` holds the table, ``sessions`` a record per session, ``kv`` what
:mod:`raftdb.state.kv.snapshot` says. Each is a stream of records that may be cut anywhere; they come in
this order.

Whatever the next command's outcome may depend on has to be in here: what a snapshot leaves out
differs from then on between the node that took it and the one that loaded it [9].
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from struct import Struct
from typing import NamedTuple, Protocol

from raftdb.errors import Corrupt, RemoteProtocolError
from raftdb.state.kv.frames import Unframer, framed, packed
from raftdb.state.kv.snapshot import StoreRestorer
from raftdb.state.kv.store import KeyValueStore
from raftdb.state.members.table import MemberTable
from raftdb.state.sessions import SessionTable

SNAPSHOT_VERSION = 1

STATE, MEMBERS, SESSIONS, KV = "state", "members", "sessions", "kv"

_HEADER = Struct(">BQQ16s")


class _State(Protocol):
    """What is to be written."""

    kv: KeyValueStore
    members: MemberTable
    sessions: SessionTable


class SnapshotParts(NamedTuple):
    """A state read back, not yet compared with its hash."""

    applied_index: int
    time_ms: int
    state_hash: int
    kv: KeyValueStore
    members: MemberTable
    sessions: SessionTable


def slices(
    applied_index: int, time_ms: int, state_hash: int, state: _State
) -> Generator[tuple[str, bytes], None, None]:
    """Yield once, empty, when ``state`` is pinned; then its sections, in slices of bounded work.

    What is multi-versioned is read at one revision; the small rest is copied at the start.
    """
    header = _HEADER.pack(SNAPSHOT_VERSION, applied_index, time_ms, state_hash.to_bytes(16, "big"))
    members = state.members.encode()
    sessions = state.sessions.records()
    keys = state.kv.snapshot()
    try:
        yield "", b""
        yield STATE, framed(header)
        for piece in packed(iter((members,))):
            yield MEMBERS, piece
        for piece in packed(sessions):
            yield SESSIONS, piece
        for piece in keys:
            yield KV, piece
    finally:
        keys.close()


class StateRestorer:
    """A second state being filled, a chunk at a time; satisfies ``Restorer`` of the seams.

    :param swap: is given the complete parts; compares the hash, then puts them in place
    """

    def __init__(self, swap: Callable[[SnapshotParts], None]) -> None:
        self._swap = swap
        self._streams = {name: Unframer() for name in (STATE, MEMBERS, SESSIONS)}
        self._header: tuple[int, int, int] | None = None
        self._members: MemberTable | None = None
        self._sessions = SessionTable()
        self._keys = StoreRestorer()

    def feed(self, section: str, chunk: bytes) -> None:
        """Take the next chunk, in the order of writing; work is bounded by its length.

        :raises Corrupt: where it is not what a snapshot holds
        """
        if section == KV:
            self._keys.feed(chunk)
            return
        stream = self._streams.get(section)
        if stream is None:
            raise _corrupt(section, "the section is unknown to this version of raftdb")
        try:
            for record in stream.feed(chunk):
                self._take(section, record)
        except RemoteProtocolError as error:
            raise _corrupt(section, str(error)) from error

    def _take(self, section: str, record: bytes) -> None:
        if section == SESSIONS:
            self._sessions.load(record)
        elif section == MEMBERS:
            self._members = MemberTable.decode(record)
        else:
            self._header = _decode_header(record)

    def finish(self) -> None:
        """Check the whole, hash included, and swap it in, in one step.

        :raises Corrupt: where it is cut off or does not hash to what it was
        """
        for section, stream in self._streams.items():
            if not stream.is_empty:
                raise _corrupt(section, "it is cut off")
        if self._header is None or self._members is None:
            raise _corrupt(STATE, "a section is missing")
        keys = KeyValueStore.from_snapshot(self._keys)
        self._swap(SnapshotParts(*self._header, keys, self._members, self._sessions))


def _decode_header(record: bytes) -> tuple[int, int, int]:
    if len(record) != _HEADER.size or record[0] != SNAPSHOT_VERSION:
        raise RemoteProtocolError(f"a header of {len(record)} bytes and version {record[0]}")
    _, applied_index, time_ms, state_hash = _HEADER.unpack(record)
    return applied_index, time_ms, int.from_bytes(state_hash, "big")


def _corrupt(section: str, what: str) -> Corrupt:
    return Corrupt(f"snapshot, section {section}", 0, f"{what}; restore this node from another")
