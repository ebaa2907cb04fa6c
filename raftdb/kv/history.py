"""Versions of keys: the present and the retained past, which part is compacted, which is pinned.

Owns the multi-versioning of the store and its state hash, and knows no commands. Three things are
kept apart:

- **compaction** is replicated. It advances inside :meth:`History.commit` by the revision, the
  retention and the bytes superseded, none of which depends on what is stored where. It costs O(1)
  per revision, because what one revision superseded is counted and hashed when it happens.
- **removal** of what is compacted is local, a few keys per command, and waits for pins.
- **a pin** keeps what can be read at a revision while a snapshot or a paged read goes on. When it
  holds back too much it is broken, and its owner fails instead of the node's memory [8].

A version is kept as its encoded bytes: they are what is hashed, what a snapshot holds and what a
snapshot brings, they take less than half of what an object with six attributes takes, and the
garbage collector has nothing to walk in them. A key with one version costs no list: most keys have
no past, and memory per key counts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from heapq import merge
from itertools import islice, pairwise

import msgspec

from raftdb.kv.containers import Order, Table
from raftdb.kv.values import (
    DIGEST_MASK,
    VERSION_HEADER_BYTES,
    KeyValue,
    Retention,
    decode_version,
    digest,
    digest_sum,
    lineage,
    mod_revision,
    version_bytes,
)

VERSION_OVERHEAD_BYTES = 128
"""What a superseded version counts besides its key and value: about what its objects take."""

PINNED_BYTES_MAX = 64 * 1024 * 1024
REMOVALS_PER_COMMIT = 16

NEVER = 2**64
"""The revision at which a live version is superseded: none yet."""


class Superseded(msgspec.Struct, gc=False):
    """What one revision made history: unreadable once the compact revision reaches it.

    A version is superseded by the next one of its key; a tombstone by itself, because a reader at
    or after its revision finds nothing with it or without it.
    """

    revision: int
    keys: list[bytes]
    counted_bytes: int = 0
    digest: int = 0

    def add(self, key: bytes, record: bytes) -> None:
        """Count one version, but for its hash; a deletion counts two of one key, noted once."""
        if not self.keys or self.keys[-1] != key:
            self.keys.append(key)
        self.counted_bytes += len(record) - VERSION_HEADER_BYTES + VERSION_OVERHEAD_BYTES


class Pin:
    """A promise to keep what is superseded only after ``revision``, until it is let go or broken.

    :ivar broken: whether the promise had to be given up; what is read after that may have holes
    """

    __slots__ = ("broken", "revision")

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.broken = False


class History:
    """All kept versions of all keys.

    Invariant: ``compact_revision <= revision``, and every version not superseded at or before
    ``compact_revision`` is in ``_newest`` or in its key's ``_past``, oldest first, and counted once in
    ``digest``. Every key of ``_newest`` is either in ``_living`` or, if a tombstone is its newest
    version, in ``_dead``: apart, because a command over a range must not walk past all that was
    deleted there in the last ten thousand revisions.

    :param pinned_bytes_max: what may wait for pins before the oldest of them is broken; local
    """

    def __init__(self, *, pinned_bytes_max: int = PINNED_BYTES_MAX) -> None:
        self.revision = 0
        self.compact_revision = 0
        self.digest = 0
        self.retention = Retention()
        self.live_count = 0
        self._living = Order()
        self._dead = Order()
        self._newest: Table[bytes] = Table()
        self._past: Table[list[bytes]] = Table()
        self._open = Superseded(1, [])
        self._written: list[bytes] = []
        self._replaced: list[bytes] = []
        self._retained: deque[Superseded] = deque()
        self._retained_bytes = 0
        self._garbage: deque[Superseded] = deque()
        self._garbage_bytes = 0
        self._filling: dict[int, Superseded] = {}
        self._pins: list[Pin] = []
        self._pinned_bytes_max = pinned_bytes_max

    # Reading

    def current(self, key: bytes) -> KeyValue | None:
        """Return the live version of ``key`` now, the open revision included."""
        record = self._newest.get(key)
        if record is None:
            return None
        kv = decode_version(record)
        return kv if kv.version else None

    def at(self, key: bytes, revision: int) -> KeyValue | None:
        """Return what ``key`` was at ``revision``, ``compact_revision <= revision``."""
        record = self._newest.get(key)
        if record is not None and mod_revision(record) > revision:
            past = self._past.get(key) or []
            place = bisect_right(past, revision, key=mod_revision) - 1
            record = past[place] if place >= 0 else None
        if record is None:
            return None
        kv = decode_version(record)
        return kv if kv.version else None

    def visit(self, start: bytes, end: bytes = b"", *, count: int | None = None) -> Iterator[bytes]:
        """Walk at most ``count`` keys in ``[start, end)``, dead ones too; empty ``end``: no end.

        Nothing may be written meanwhile.
        """
        return islice(merge(self._living.walk(start, end), self._dead.walk(start, end)), count)

    def living(self, start: bytes, end: bytes = b"") -> Iterator[bytes]:
        """Walk the keys in ``[start, end)`` that exist now; nothing may be written meanwhile."""
        return self._living.walk(start, end)

    def kept(self, key: bytes, *, revision: int, floor: int) -> list[bytes]:
        """Return the versions of ``key`` written by ``revision`` and history only after ``floor``.

        :param key: as :meth:`visit` gave it
        :returns: oldest first, as they are encoded
        """
        newest = self._newest.get(key)
        assert newest is not None, "only a key that was visited has versions"
        past = self._past.get(key)
        if past is None:
            _, modified, version = lineage(newest)
            return [newest] if modified <= revision and (version or modified > floor) else []
        return [
            record
            for record, following in pairwise((*past, newest, None))
            if record is not None
            and mod_revision(record) <= revision
            and superseded_at(record, following) > floor
        ]

    # Writing

    def put(self, key: bytes, value: bytes) -> None:
        """Write ``key`` at the revision that :meth:`commit` will close; once per key and commit."""
        revision = self._open.revision
        piece = self._newest.piece(key)
        old = piece.get(key)
        if old is None:
            created, version = revision, 1
            self._living.add(key)
            self.live_count += 1
        else:
            created, modified, versions = lineage(old)
            assert modified < revision
            version = versions + 1
            if not versions:
                created = revision
                self._dead.remove(key)
                self._living.add(key)
                self.live_count += 1
            self._replace(key, old, live=versions > 0)
        record = version_bytes(key, value, created, revision, version)
        piece[key] = record
        self._written.append(record)

    def delete(self, key: bytes) -> bool:
        """Delete ``key`` at the open revision; return whether there was one."""
        old = self._newest.get(key)
        if old is None:
            return False
        _, modified, version = lineage(old)
        if not version:
            return False
        revision = self._open.revision
        assert modified < revision
        tombstone = version_bytes(key, b"", 0, revision, 0)
        self._replace(key, old, live=True)
        self._open.add(key, tombstone)
        self._replaced.append(tombstone)
        self._living.remove(key)
        self._dead.add(key)
        self.live_count -= 1
        self._newest[key] = tombstone
        self._written.append(tombstone)
        return True

    def _replace(self, key: bytes, old: bytes, *, live: bool) -> None:
        """Put what was the newest version of ``key`` with its past."""
        if live:
            self._open.add(key, old)
            self._replaced.append(old)
        pasts = self._past.piece(key)
        past = pasts.get(key)
        if past is None:
            pasts[key] = [old]
        else:
            past.append(old)

    def commit(self) -> tuple[bytes, ...]:
        """Close the open revision if it changed anything, compact and remove; return the changes."""
        changes = tuple(self._written)
        if changes:
            self._written.clear()
            closed = self._open
            self.revision = closed.revision
            self.digest = (self.digest + digest_sum(changes)) & DIGEST_MASK
            if not closed.keys:
                closed.revision += 1
            else:
                self._open = Superseded(closed.revision + 1, [])
                closed.digest = digest_sum(self._replaced)
                self._replaced.clear()
                self._retained.append(closed)
                self._retained_bytes += closed.counted_bytes
            self.compact()
        self._remove(REMOVALS_PER_COMMIT + 2 * len(changes))
        return changes

    def compact(self) -> None:
        """Advance the compact revision as far as the retention asks for; deterministic."""
        floor = self.revision - self.retention.revisions
        retained = self._retained
        while retained and (
            retained[0].revision <= floor or self._retained_bytes > self.retention.bytes
        ):
            oldest = retained.popleft()
            self.compact_revision = oldest.revision
            self.digest = (self.digest - oldest.digest) & DIGEST_MASK
            self._retained_bytes -= oldest.counted_bytes
            self._garbage.append(oldest)
            self._garbage_bytes += oldest.counted_bytes
        self.compact_revision = max(self.compact_revision, floor)

    def _remove(self, count: int) -> None:
        """Free at most ``count`` keys of what is compacted and not pinned; local."""
        safe = self.compact_revision
        if self._pins:
            safe = min(safe, *(pin.revision for pin in self._pins))
        garbage = self._garbage
        while count > 0 and garbage and garbage[0].revision <= safe:
            oldest = garbage[0]
            while oldest.keys and count > 0:
                self._prune(oldest.keys.pop(), safe)
                count -= 1
            if not oldest.keys:
                self._garbage_bytes -= oldest.counted_bytes
                garbage.popleft()
        if garbage and garbage[0].revision > safe and self._garbage_bytes > self._pinned_bytes_max:
            self._break_pins(safe)

    def _prune(self, key: bytes, safe: int) -> None:
        newest = self._newest.get(key)
        if newest is None:
            return
        _, modified, version = lineage(newest)
        pasts = self._past.piece(key)
        past = pasts.get(key)
        if modified > safe:
            if past is not None:
                _forget(past, newest, safe)
                if not past:
                    del pasts[key]
            return
        if past is not None:
            del pasts[key]
        if not version:
            del self._newest[key]
            self._dead.remove(key)

    # Pins

    def pin(self, revision: int) -> Pin:
        """Keep what is superseded only after ``revision``, ``compact_revision <= revision``."""
        assert self.compact_revision <= revision <= self.revision
        pin = Pin(revision)
        self._pins.append(pin)
        return pin

    def unpin(self, pin: Pin) -> None:
        """Let go of a pin; harmless when it is broken already."""
        if pin in self._pins:
            self._pins.remove(pin)

    def _break_pins(self, revision: int) -> None:
        """Break the pins that stand at ``revision`` and hold everything back."""
        for pin in self._pins:
            pin.broken = pin.broken or pin.revision == revision
        self._pins = [pin for pin in self._pins if not pin.broken]

    # Filling from a snapshot

    def extend(self, keys: list[bytes], records: list[bytes]) -> None:
        """Take keys of one live version each into a history being filled; most keys are such.

        :param keys: in order, and behind all that are there
        :param records: the version of each
        """
        self._living.extend(keys)
        self._newest.update(keys, records)
        self.digest += digest_sum(records)
        self.live_count += len(keys)

    def load(self, key: bytes, newest: bytes, past: list[bytes]) -> None:
        """Take all kept versions of one key into a history being filled.

        :param key: not there yet
        :param past: the versions before the newest, oldest first
        """
        _, _, version = lineage(newest)
        (self._living if version else self._dead).add(key)
        self._newest[key] = newest
        self.digest += digest(newest)
        self.live_count += version > 0
        if past:
            self._past[key] = past
            self.digest += digest_sum(past)
        for record, following in pairwise((*past, newest, None)):
            assert record is not None
            at = superseded_at(record, following)
            if at < NEVER:
                superseded = self._filling.setdefault(at, Superseded(at, []))
                superseded.add(key, record)
                superseded.digest += digest(record)

    def loaded(self, revision: int, compact_revision: int, retention: Retention) -> None:
        """Close the filling: what is superseded is put in the order of its revisions."""
        self.revision = revision
        self.compact_revision = compact_revision
        self.retention = retention
        self.digest &= DIGEST_MASK
        self._open = Superseded(revision + 1, [])
        self._retained = deque(self._filling[at] for at in sorted(self._filling))
        self._retained_bytes = sum(one.counted_bytes for one in self._retained)
        self._filling = {}


def _forget(past: list[bytes], newest: bytes, safe: int) -> None:
    """Drop from the past of a key what was history at ``safe``; costs as much as is dropped."""
    dead, count = 0, len(past)
    while dead < count:
        following = past[dead + 1] if dead + 1 < count else newest
        # What came before a version that is history itself is history, too: only the last one
        # before `safe` has to be looked at, which is history where it is a tombstone.
        if mod_revision(following) > safe:
            _, modified, version = lineage(past[dead])
            if version or modified > safe:
                break
        dead += 1
    del past[:dead]


def superseded_at(record: bytes, following: bytes | None) -> int:
    """Return the revision from which a version is history, NEVER for a live one.

    :param following: the next version of its key, None for none
    """
    _, modified, version = lineage(record)
    if not version:
        return modified
    return NEVER if following is None else mod_revision(following)
