"""What is history: the older versions of one key, and what one revision made unreadable to come.

Owns which version is superseded when and what it counts, and knows no table of keys.
"""

from __future__ import annotations

import msgspec

from raftdb.kv.values import VERSION_HEADER_BYTES, lineage, mod_revision

VERSION_OVERHEAD_BYTES = 128
"""What a superseded version counts besides its key and value: about what its objects take."""

COUNTED_BYTES = VERSION_OVERHEAD_BYTES - VERSION_HEADER_BYTES
"""What it counts besides its encoded bytes."""

NEVER = 2**64
"""The revision at which a live version is superseded: none yet."""


class Superseded(msgspec.Struct, gc=False):
    """What one revision made history: unreadable once the compact revision reaches it.

    A version is superseded by the next one of its key; a tombstone by itself, because a reader at
    or after its revision finds nothing with it or without it.

    :param keys: whose versions they are, each once
    :param digest: the sum of the hashes of these versions, not reduced
    """

    revision: int
    keys: list[bytes]
    counted_bytes: int = 0
    digest: int = 0

    def add(self, key: bytes, record: bytes, digest: int) -> None:
        """Count one version; a deletion counts two of one key, noted once."""
        if not self.keys or self.keys[-1] != key:
            self.keys.append(key)
        self.counted_bytes += len(record) + COUNTED_BYTES
        self.digest += digest


class Past(list[bytes]):
    """The versions of one key before its newest, oldest first.

    :ivar digest: the hash of the *newest* version, which the next overwrite needs. Remembered here
        it spares one hash of two, and takes memory only for keys that have a past anyway.
    """

    __slots__ = ("digest",)

    digest: int

    def forget(self, newest: bytes, safe: int) -> None:
        """Drop what was history at the revision ``safe``; costs as much as is dropped."""
        dead, count = 0, len(self)
        while dead < count:
            following = self[dead + 1] if dead + 1 < count else newest
            # What came before a version that is history itself is history, too: only the last one
            # before `safe` has to be looked at, which is history where it is a tombstone.
            if mod_revision(following) > safe:
                _, modified, version = lineage(self[dead])
                if version or modified > safe:
                    break
            dead += 1
        del self[:dead]


def superseded_at(record: bytes, following: bytes | None) -> int:
    """Return the revision from which a version is history, NEVER for a live one.

    :param following: the next version of its key, None for none
    """
    _, modified, version = lineage(record)
    if not version:
        return modified
    return NEVER if following is None else mod_revision(following)
