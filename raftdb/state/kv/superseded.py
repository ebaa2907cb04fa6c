"""What is history: what one revision replaced, and when a version is superseded.

Owns what a superseded version counts; knows no table of keys.
"""

from __future__ import annotations

import msgspec

from raftdb.state.kv.values import VERSION_HEADER_BYTES, mod_revision, revisions_of

VERSION_OVERHEAD_BYTES = 128
"""What a superseded version counts besides its key and value.

About what its objects take where a command wrote many keys; a version that was replaced alone takes
three times that.
"""

COUNTED_BYTES = VERSION_OVERHEAD_BYTES - VERSION_HEADER_BYTES
"""What it counts besides its encoded bytes."""

NEVER = 2**64
"""The revision at which a live version is superseded: none yet."""


class Superseded(msgspec.Struct, gc=False):
    """What one revision made history: unreadable once the compact revision reaches it.

    A version is superseded by the next one of its key; a tombstone by itself, because a reader at
    or after its revision finds nothing with it or without it.

    The garbage collector sees nothing of it: dictionaries and tuples of bytes it leaves alone.

    :param replaced: by key, the version that this revision wrote another one over; a tombstone,
        too, though it was history before
    :param dead: the keys it deleted, whose tombstones are superseded with what they replaced; a
        tuple once it is closed
    :param digest: the sum of the hashes of the superseded versions, not reduced
    """

    revision: int
    replaced: dict[bytes, bytes]
    dead: list[bytes] | tuple[bytes, ...]
    counted_bytes: int = 0
    digest: int = 0

    def close(self) -> None:
        """Take nothing more."""
        self.dead = tuple(self.dead)

    def count(self, record: bytes, digest: int) -> None:
        """Count one superseded version."""
        self.counted_bytes += len(record) + COUNTED_BYTES
        self.digest += digest


def superseded_at(record: bytes, following: bytes | None) -> int:
    """Return the revision from which a version is history, NEVER for a live one.

    :param following: the next version of its key, None for none
    """
    _, modified, version = revisions_of(record)
    if not version:
        return modified
    return NEVER if following is None else mod_revision(following)
