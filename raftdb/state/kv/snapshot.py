"""The store's bytes in a snapshot: written in slices while applying goes on, read back and checked.

A stream of records (:mod:`raftdb.state.frames`): first the header, then all retained versions, ordered
by key and, within a key, by revision; last a single byte that no version can be.

Header: version (1), revision (8), compact revision (8), retention in revisions (8) and bytes (8),
state hash (16).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from struct import Struct

from raftdb.errors import Corrupt
from raftdb.state.frames import FILLER, SLICE_BYTES_MAX, Unframer, framed, pack_framed
from raftdb.state.kv.history import History
from raftdb.state.kv.pins import Pin
from raftdb.state.kv.values import VERSION_HEADER_BYTES, Retention, is_tombstone, mod_revision

SNAPSHOT_VERSION = 3
"""1 hashed with BLAKE2b; in 2 an empty store was at revision 0."""
SLICE_KEYS_MAX = 500
FOUND_BYTES = 1024 * 1024
"""About so much of what was found waits to be written, whatever the size of values."""
_VERSIONS_PER_KEY = 4
"""Of the keys of one slice on average: where a key has more of them, a slice walks over fewer keys."""

_HEADER = Struct(">BQQQQ16s")
_END = b"\xff"


def slices(
    history: History, *, bytes_max: int = SLICE_BYTES_MAX, keys_max: int = SLICE_KEYS_MAX
) -> Generator[bytes, None, None]:
    """Yield once, empty, when the state is pinned; then its bytes, in slices of bounded work.

    :param bytes_max: of one slice
    :param keys_max: how many keys one slice walks over, dead ones included
    """
    pin = history.pin()
    try:
        header = _HEADER.pack(
            SNAPSHOT_VERSION,
            pin.revision,
            pin.floor,
            *history.retention,
            history.digest.to_bytes(16, "big"),
        )
        yield b""
        yield framed(header)
        walk = _Walk(history, pin, bytes_max=bytes_max, keys_max=keys_max)
        while not walk.done:
            yield walk.step()
        yield framed(_END)
    finally:
        history.unpin(pin)


class _Walk:
    """A position among the retained versions; it moves on by bounded steps."""

    def __init__(self, history: History, pin: Pin, *, bytes_max: int, keys_max: int) -> None:
        self._history = history
        self._pin = pin
        self._bytes_max = bytes_max
        self._keys_max = keys_max
        self._keys = keys_max
        self._start: bytes | None = b""
        self._found: deque[bytes] = deque()
        self._bytes = bytearray()

    @property
    def done(self) -> bool:
        """Whether everything has been handed out."""
        return self._start is None and not self._found and not self._bytes

    def step(self) -> bytes:
        """Return the next bytes, at least one and at most a slice."""
        if not self._found and self._start is not None:
            self._look(self._start)
        pack_framed(self._bytes, self._found, self._bytes_max)
        piece = bytes(self._bytes[: self._bytes_max])
        del self._bytes[: self._bytes_max]
        return piece or FILLER

    def _look(self, start: bytes) -> None:
        """Note what is to be written of the next keys; versions are immutable, so they can wait."""
        keys = list(self._history.visit(start, count=self._keys + 1))
        found, count = self._history.kept(
            keys[: self._keys], self._pin, enough=_VERSIONS_PER_KEY * self._keys
        )
        self._found += found
        self._start = keys[count] if count < len(keys) else None
        if self._start is not None:
            self._pin.reached = self._start
        self._foresee(sum(map(len, found)))

    def _foresee(self, bytes_count: int) -> None:
        """Look at fewer keys next time where their values are large: what is found stays in memory."""
        wanted = self._keys * FOUND_BYTES // max(1, bytes_count)
        self._keys = max(1, min(self._keys_max, wanted))


class HistoryRestorer:
    """Fills a history from the bytes of :func:`slices`, a chunk at a time."""

    def __init__(self) -> None:
        self._history = History()
        self._header: tuple[int, int, Retention, int] | None = None
        self._key = b""
        self._newest = b""
        self._past: list[bytes] = []
        self._plain_keys: list[bytes] = []
        self._plain: list[bytes] = []
        self._stream = Unframer()
        self._complete = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; work is bounded by their number.

        :raises Corrupt: where they are not what a snapshot holds
        """
        for record in self._stream.feed(chunk):
            if self._header is None:
                self._header = _decode_header(record)
            elif self._complete:
                raise _corrupt("bytes follow its end")
            elif record == _END:
                self._settle()
                self._complete = True
            else:
                self._take(record)
        self._extend()

    def _take(self, record: bytes) -> None:
        """Note the next version; what comes before it is settled when its key is another one.

        The key is cut out by hand: a restart does this for every key there is.
        """
        begin = VERSION_HEADER_BYTES
        end = begin + (record[0] << 8 | record[1]) if len(record) > begin else begin
        if not begin < end <= len(record):
            raise _corrupt(f"a version of {len(record)} bytes does not hold its key")
        key, newest = record[begin:end], self._newest
        if key > self._key:
            self._settle()
            self._key = key
        elif key < self._key:
            raise _corrupt("its keys are out of order")
        elif mod_revision(record) <= mod_revision(newest):
            raise _corrupt("its revisions are out of order")
        else:
            self._past.append(newest)
        self._newest = record

    def _settle(self) -> None:
        """Hand the key over that is complete: with others like it, if it has one live version."""
        if not self._key:
            return
        if self._past or is_tombstone(self._newest):
            self._extend()
            self._history.load(self._key, self._newest, self._past)
            self._past = []
        else:
            self._plain_keys.append(self._key)
            self._plain.append(self._newest)

    def _extend(self) -> None:
        self._history.extend(self._plain_keys, self._plain)
        self._plain_keys, self._plain = [], []

    def history(self) -> History:
        """Return the whole history, hash recomputed and compared.

        :raises Corrupt: where the snapshot is cut off or does not hash to what it was
        """
        if self._header is None or not self._complete or not self._stream.is_empty:
            raise _corrupt("it is cut off")
        revision, compact_revision, retention, digest = self._header
        self._history.loaded(revision, compact_revision, retention)
        if self._history.digest != digest:
            raise _corrupt(f"it hashes to {self._history.digest:032x}, not to {digest:032x}")
        return self._history


def _decode_header(record: bytes) -> tuple[int, int, Retention, int]:
    if len(record) != _HEADER.size or record[0] != SNAPSHOT_VERSION:
        raise _corrupt(f"a header of {len(record)} bytes and version {record[0]}")
    _, revision, compact_revision, revisions, bytes_, digest = _HEADER.unpack(record)
    return revision, compact_revision, Retention(revisions, bytes_), int.from_bytes(digest, "big")


def _corrupt(what: str) -> Corrupt:
    return Corrupt("snapshot, section kv", 0, f"{what}; this node must be restored from another")
