"""The replicated state in a snapshot: a section for each part, written in slices and read back.

``state`` comes first and holds the header: version (1), applied index (8), replicated time in ms (8),
state hash (16). The parts' sections follow in the order of :mod:`raftdb.state.registry`.

Whatever the next command's outcome may depend on has to be in here: what a snapshot leaves out
differs from then on between the node that took it and the one that loaded it [R9].
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from struct import Struct
from typing import Any, NamedTuple

from raftdb.errors import Corrupt, RemoteProtocolError
from raftdb.state.frames import RecordStream, framed
from raftdb.state.part import Part
from raftdb.state.registry import PARTS

SNAPSHOT_VERSION = 2
"""1 had sessions in place of requests."""

STATE = "state"

_HEADER = Struct(">BQQ16s")


class RestoredState(NamedTuple):
    """A state read back, not yet compared with its hash.

    :param parts: by the names of their sections
    """

    applied_index: int
    time_ms: int
    state_hash: int
    parts: Mapping[str, Part[Any]]


def slices(
    applied_index: int, time_ms: int, state_hash: int, parts: Mapping[str, Part[Any]]
) -> Generator[tuple[str, bytes], None, None]:
    """Yield once, empty, when ``parts`` are pinned; then the sections, in slices of bounded work."""
    header = _HEADER.pack(SNAPSHOT_VERSION, applied_index, time_ms, state_hash.to_bytes(16, "big"))
    sections = [
        (kind.name, parts[kind.name].pieces()) for kind in PARTS if kind.restorer is not None
    ]
    try:
        yield "", b""
        yield STATE, framed(header)
        for name, pieces in sections:
            for piece in pieces:
                yield name, piece
    finally:
        for _, pieces in sections:
            pieces.close()


class StateRestorer:
    """A second state being filled, a chunk at a time; satisfies ``Restorer`` of the seams.

    :param swap: is given the complete parts; compares the hash, then puts them in place
    """

    def __init__(self, swap: Callable[[RestoredState], None]) -> None:
        self._swap = swap
        self._header: tuple[int, int, int] | None = None
        self._head = RecordStream(self._take_header)
        self._sections = {kind.name: kind.restorer() for kind in PARTS if kind.restorer is not None}

    def feed(self, section: str, chunk: bytes) -> None:
        """Take the next chunk, in the order of writing; work is bounded by its length.

        :raises Corrupt: where it is not what a snapshot holds
        """
        stream = self._head if section == STATE else self._sections.get(section)
        if stream is None:
            raise _corrupt(section, "the section is unknown to this version of raftdb")
        try:
            stream.feed(chunk)
        except RemoteProtocolError as error:
            raise _corrupt(section, str(error)) from error

    def _take_header(self, record: bytes) -> None:
        if len(record) != _HEADER.size or record[0] != SNAPSHOT_VERSION:
            raise RemoteProtocolError(f"a header of {len(record)} bytes and version {record[0]}")
        _, applied_index, time_ms, state_hash = _HEADER.unpack(record)
        self._header = applied_index, time_ms, int.from_bytes(state_hash, "big")

    def finish(self) -> None:
        """Check the whole, hash included, and swap it in, in one step.

        :raises Corrupt: where it is cut off or does not hash to what it was
        """
        parts: dict[str, Part[Any]] = {}
        section = STATE
        try:
            self._head.finish()
            for section, restorer in self._sections.items():  # named in the message
                parts[section] = restorer.finish()
        except RemoteProtocolError as error:
            raise _corrupt(section, str(error)) from error
        if self._header is None:
            raise _corrupt(STATE, "the section is missing")
        self._swap(RestoredState(*self._header, parts))


def _corrupt(section: str, what: str) -> Corrupt:
    return Corrupt(f"snapshot, section {section}", 0, f"{what}; restore this node from another")
