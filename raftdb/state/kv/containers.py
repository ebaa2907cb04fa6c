"""Containers that hold a million keys in small pieces, so that no single step of theirs is long.

Owns how keys are found and ordered in memory, and knows nothing of versions. One dictionary of a
million keys is copied in one go whenever it grows (50 ms), and a garbage collection walks all of
it, key by key (100 ms); half a heartbeat is 50 ms. Here nothing is copied but a small piece, and the
collector finds next to nothing to walk: it leaves alone dictionaries and tuples that hold only
bytes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bytes, int)
T = TypeVar("T")

SHARDS = 256
TABLE_MASK = SHARDS - 1

BLOCK_KEYS_MAX = 64


class ShardedDict(Generic[K, T]):
    """A dictionary with bytes or numbers for keys, in 256 pieces.

    The piece of a key of bytes depends on the process's hash seed, so there is no walking over a table: its order
    would differ between two replicas [R26].

    :ivar pieces: ``hash(key) & TABLE_MASK`` is the place of the one a key belongs into, for whoever
        looks up many and writes them
    """

    __slots__ = ("pieces",)

    def __init__(self) -> None:
        self.pieces: list[dict[K, T]] = [{} for _ in range(SHARDS)]

    def __len__(self) -> int:
        return sum(map(len, self.pieces))

    def get(self, key: K) -> T | None:
        """Return what stands under ``key``, None for nothing."""
        return self.pieces[hash(key) & TABLE_MASK].get(key)

    def __setitem__(self, key: K, value: T) -> None:
        self.pieces[hash(key) & TABLE_MASK][key] = value

    def update(self, keys: list[K], values: Sequence[T]) -> None:
        """Set each of ``keys`` to its value."""
        pieces = self.pieces
        for key, value in zip(keys, values, strict=True):
            pieces[hash(key) & TABLE_MASK][key] = value

    def __delitem__(self, key: K) -> None:
        del self.pieces[hash(key) & TABLE_MASK][key]


class SortedKeys:
    """A set of keys in bytewise order, in blocks of at most 64.

    A block is a tuple and made anew when it changes: a list could change in place, but the collector
    would walk it each time.

    Invariant: no block is empty, each is sorted, and ``_lasts`` holds the last key of each.
    """

    __slots__ = ("_blocks", "_lasts")

    def __init__(self) -> None:
        self._blocks: list[tuple[bytes, ...]] = []
        self._lasts: list[bytes] = []

    def add(self, key: bytes) -> None:
        """Take in a key that is not there yet; cheapest where it is the last of all."""
        lasts, blocks = self._lasts, self._blocks
        if not lasts or key > lasts[-1]:
            if lasts and len(blocks[-1]) < BLOCK_KEYS_MAX:
                blocks[-1] += (key,)
                lasts[-1] = key
            else:  # a full block stays full: keys often come in order, always from a snapshot
                blocks.append((key,))
                lasts.append(key)
            return
        place = bisect_left(lasts, key)
        block = blocks[place]
        at = bisect_left(block, key)
        assert block[at] != key, "a key is added once"
        block = (*block[:at], key, *block[at:])
        if len(block) <= BLOCK_KEYS_MAX:
            blocks[place] = block
        else:
            middle = len(block) // 2
            blocks[place : place + 1] = block[:middle], block[middle:]
            lasts.insert(place, block[middle - 1])

    def extend(self, keys: list[bytes]) -> None:
        """Take in ``keys``, which are in order and lie behind all that are there."""
        if not keys:
            return
        assert not self._lasts or self._lasts[-1] < keys[0], "what is added comes behind"
        first = 0
        if self._blocks:
            first = BLOCK_KEYS_MAX - len(self._blocks[-1])
            self._blocks[-1] += tuple(keys[:first])
            self._lasts[-1] = self._blocks[-1][-1]
        for at in range(first, len(keys), BLOCK_KEYS_MAX):
            block = tuple(keys[at : at + BLOCK_KEYS_MAX])
            self._blocks.append(block)
            self._lasts.append(block[-1])

    def remove(self, key: bytes) -> None:
        """Take out a key that is there."""
        place = bisect_left(self._lasts, key)
        block = self._blocks[place]
        at = bisect_left(block, key)
        assert block[at] == key, "only what is there is removed"
        if len(block) == 1:
            del self._blocks[place]
            del self._lasts[place]
        else:
            block = block[:at] + block[at + 1 :]
            self._blocks[place] = block
            self._lasts[place] = block[-1]

    def walk(self, start: bytes, end: bytes = b"") -> Iterator[bytes]:
        """Yield the keys in ``[start, end)``; empty ``end``: no end. Nothing may change meanwhile."""
        place = bisect_left(self._lasts, start)
        if place == len(self._blocks):
            return
        first = self._blocks[place]
        yield from _before(first[bisect_left(first, start) :], end)
        for at in range(place + 1, len(self._blocks)):
            block = self._blocks[at]
            if end and block[0] >= end:
                return
            yield from _before(block, end)


def _before(keys: tuple[bytes, ...], end: bytes) -> tuple[bytes, ...]:
    """Return those of ``keys``, which are sorted, that lie before ``end``."""
    return keys if not end or keys[-1] < end else keys[: bisect_left(keys, end)]
