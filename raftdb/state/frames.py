"""Records in a stream of bytes that may be cut anywhere: a 4-byte length before each.

A length of zero is filler: it lets a slice of work that found nothing say something.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from struct import Struct

from raftdb.errors import RemoteProtocolError

_LENGTH = Struct(">I")

FILLER = _LENGTH.pack(0)
SLICE_BYTES_MAX = 60 * 1024
"""The most that one slice of a snapshot holds; it fits a box on the wire."""


def framed(record: bytes) -> bytes:
    """Return ``record``, which must not be empty, as a piece of a stream."""
    assert record, "an empty record is filler"
    return _LENGTH.pack(len(record)) + record


def pack_framed(pending: bytearray, records: deque[bytes], bytes_max: int) -> None:
    """Move ``records`` from the front of theirs behind ``pending``, framed, until it is that long."""
    pack, take = _LENGTH.pack, records.popleft
    while records and len(pending) < bytes_max:
        record = take()
        pending += pack(len(record))
        pending += record


def packed(records: Iterator[bytes]) -> Generator[bytes, None, None]:
    """Return a stream of ``records`` in pieces of at most a slice."""
    pending = bytearray()
    for record in records:
        pending += framed(record)
        while len(pending) >= SLICE_BYTES_MAX:
            yield bytes(pending[:SLICE_BYTES_MAX])
            del pending[:SLICE_BYTES_MAX]
    if pending:
        yield bytes(pending)


class Unframer:
    """Cuts a stream back into its records, whatever the pieces it comes in."""

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def is_empty(self) -> bool:
        """Whether the stream stands at the edge of a record."""
        return not self._rest

    def feed(self, piece: bytes) -> list[bytes]:
        """Take the next piece; return the records that it completes."""
        if self._rest:
            self._rest += piece
            (wanted,) = _LENGTH.unpack_from(self._rest) if len(self._rest) >= 4 else (0,)
            if len(self._rest) < _LENGTH.size + wanted:
                return []
            piece = bytes(self._rest)
            self._rest.clear()
        records: list[bytes] = []
        add, unpack_from = records.append, _LENGTH.unpack_from
        at, end = 0, len(piece)
        last_begin = end - _LENGTH.size
        while at <= last_begin:
            begin = at + _LENGTH.size
            (length,) = unpack_from(piece, at)
            if begin + length > end:
                break
            at = begin + length
            if length:
                add(piece[begin:at])
        self._rest += piece[at:]
        return records


class RecordStream:
    """Hands the records of a stream to ``take``, one after the other.

    :param take: of one record; may raise
    """

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self._take = take
        self._unframer = Unframer()

    def feed(self, piece: bytes) -> None:
        """Take the next piece."""
        for record in self._unframer.feed(piece):
            self._take(record)

    def finish(self) -> None:
        """Check that nothing is cut off.

        :raises RemoteProtocolError: where the stream ends inside a record
        """
        if not self._unframer.is_empty:
            raise RemoteProtocolError("it is cut off")
