"""What is history: the older versions of one key, and what one revision made unreadable to come.

Owns which version is superseded when and what it counts, and what a pin is; knows no table of keys.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

import msgspec

from raftdb.kv.values import VERSION_HEADER_BYTES, lineage, mod_revision

VERSION_OVERHEAD_BYTES = 128
"""What a superseded version counts besides its key and value: about what its objects take."""

COUNTED_BYTES = VERSION_OVERHEAD_BYTES - VERSION_HEADER_BYTES
"""What it counts besides its encoded bytes."""

SHORT_MAX = 16
"""Versions that are kept as a tuple; more are a list, which is not copied when it grows."""

NEVER = 2**64
"""The revision at which a live version is superseded: none yet."""


class Pin:
    """A promise to keep what is superseded only after ``revision``, until it is let go or broken.

    :ivar broken: whether the promise had to be given up; what is read after that may have holes
    """

    __slots__ = ("broken", "revision")

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.broken = False


class Superseded(msgspec.Struct, gc=False):
    """What one revision made history: unreadable once the compact revision reaches it.

    A version is superseded by the next one of its key; a tombstone by itself, because a reader at
    or after its revision finds nothing with it or without it.

    :param keys: whose versions they are, each once; a tuple once it is closed, for the garbage
        collector leaves a tuple of bytes alone and walks a list each time
    :param digest: the sum of the hashes of these versions, not reduced
    """

    revision: int
    keys: list[bytes] | tuple[bytes, ...]
    counted_bytes: int = 0
    digest: int = 0

    def add(self, key: bytes, record: bytes, digest: int) -> None:
        """Count one version; a deletion counts two of one key, noted once."""
        keys = self.keys
        assert isinstance(keys, list), "what is closed takes nothing more"
        if not keys or keys[-1] != key:
            keys.append(key)
        self.counted_bytes += len(record) + COUNTED_BYTES
        self.digest += digest

    def close(self) -> None:
        """Take nothing more."""
        self.keys = tuple(self.keys)


class Versions(msgspec.Struct, gc=False):
    """The kept versions of one key that has several: the newest, and at least one before it.

    Some hundred thousand keys with a past of one version are common. Were they lists, a collection
    of garbage would walk them all and stop everything for 50 ms; of this it sees nothing.

    :param newest: the newest of them
    :param digest: the hash of the newest, which the next overwrite needs. Remembered here it spares
        one hash of two, and takes memory only for keys that have a past anyway
    :param older: those before it, oldest first, at least one; a list if they are many
    """

    newest: bytes
    digest: int
    older: tuple[bytes, ...] | list[bytes]

    @classmethod
    def of(cls, versions: Sequence[bytes], digest: int) -> Versions:
        """Make it of two or more ``versions``, oldest first.

        :param digest: of the last of them
        """
        *older, newest = versions
        return cls(newest, digest, older if len(older) > SHORT_MAX else tuple(older))

    def __iter__(self) -> Iterator[bytes]:
        yield from self.older
        yield self.newest

    def at(self, revision: int) -> bytes | None:
        """Return the version written last by ``revision``, None for none."""
        if mod_revision(self.newest) <= revision:
            return self.newest
        place = bisect_right(self.older, revision, key=mod_revision) - 1
        return self.older[place] if place >= 0 else None

    def until(self, revision: int) -> Sequence[bytes]:
        """Return those written by ``revision`` and the one that follows them, oldest first.

        Not those written since: there may be many where they wait for who reads at ``revision``.
        """
        older = self.older
        end = bisect_right(older, revision, key=mod_revision)
        return (*older, self.newest) if end == len(older) else older[: end + 1]

    def add(self, newest: bytes, digest: int) -> None:
        """Put one more behind the others."""
        older = self.older
        if isinstance(older, list):
            older.append(self.newest)
        elif len(older) < SHORT_MAX:
            self.older = (*older, self.newest)
        else:
            self.older = [*older, self.newest]
        self.newest = newest
        self.digest = digest

    def forget(self, safe: int) -> bool:
        """Drop what was history at the revision ``safe``; return whether only the newest is left.

        Costs as much as is dropped. Nobody keeps this for the newest alone.
        """
        older = self.older
        count = len(older)
        # Of versions that are as old as that, all but the last are followed by such.
        dead = max(0, bisect_right(older, safe, key=mod_revision) - 1)
        if dead < count and _is_history(
            older[dead], older[dead + 1] if dead + 1 < count else self.newest, safe
        ):
            dead += 1
        if isinstance(older, list):
            del older[:dead]
        else:
            self.older = older[dead:]
        return dead == count


def _is_history(version: bytes, following: bytes, safe: int) -> bool:
    # What came before a version that is history itself is history, too: only the last one before
    # `safe` has to be looked at, which is history where it is a tombstone.
    if mod_revision(following) <= safe:
        return True
    _, modified, count = lineage(version)
    return not count and modified <= safe


def superseded_at(record: bytes, following: bytes | None) -> int:
    """Return the revision from which a version is history, NEVER for a live one.

    :param following: the next version of its key, None for none
    """
    _, modified, version = lineage(record)
    if not version:
        return modified
    return NEVER if following is None else mod_revision(following)
