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
from itertools import islice

import msgspec

from raftdb.kv.containers import Order, Table
from raftdb.kv.values import (
    DIGEST_MASK,
    VERSION_HEADER_BYTES,
    KeyValue,
    Retention,
    decode_version,
    digest,
    encode_version,
    lineage,
    mod_revision,
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
        """Count one version; a deletion counts two of one key, which is noted once."""
        if not self.keys or self.keys[-1] != key:
            self.keys.append(key)
        self.counted_bytes += len(record) - VERSION_HEADER_BYTES + VERSION_OVERHEAD_BYTES
        self.digest += digest(record)


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
        self._changed: list[KeyValue] = []
        self._written: list[bytes] = []
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
        versions = [*past, newest]
        return [
            record
            for place, record in enumerate(versions)
            if mod_revision(record) <= revision and superseded_at(versions, place) > floor
        ]

    # Writing

    def put(self, key: bytes, value: bytes) -> KeyValue:
        """Write ``key`` at the revision that :meth:`commit` will close; once per key and commit."""
        revision = self._open.revision
        old = self._newest.get(key)
        created, version = revision, 1
        if old is None:
            self._living.add(key)
            self.live_count += 1
        else:
            was_created, modified, versions = lineage(old)
            assert modified < revision
            if versions:
                created, version = was_created, versions + 1
                self._open.add(key, old)
            else:
                self._dead.remove(key)
                self._living.add(key)
                self.live_count += 1
            self._keep(key, old)
        return self._write(KeyValue(key, value, created, revision, version))

    def delete(self, key: bytes) -> KeyValue | None:
        """Delete ``key`` at the open revision; return what it was, None where nothing was."""
        record = self._newest.get(key)
        if record is None:
            return None
        old = decode_version(record)
        if not old.version:
            return None
        assert old.mod_revision < self._open.revision
        self._open.add(key, record)
        self._living.remove(key)
        self._dead.add(key)
        self.live_count -= 1
        self._keep(key, record)
        self._write(KeyValue(key, b"", 0, self._open.revision, 0))
        self._open.add(key, self._written[-1])
        return old

    def _keep(self, key: bytes, old: bytes) -> None:
        """Put what was the newest version of ``key`` with its past."""
        past = self._past.get(key)
        if past is None:
            self._past[key] = [old]
        else:
            past.append(old)

    def _write(self, new: KeyValue) -> KeyValue:
        record = encode_version(new)
        self._newest[new.key] = record
        self._changed.append(new)
        self._written.append(record)
        return new

    def commit(self) -> tuple[KeyValue, ...]:
        """Close the open revision if it changed anything, compact and remove; return the changes."""
        changes = tuple(self._changed)
        if changes:
            self._changed.clear()
            closed = self._open
            self.revision = closed.revision
            self._open = Superseded(closed.revision + 1, [])
            for record in self._written:
                self.digest += digest(record)
            self._written.clear()
            self.digest &= DIGEST_MASK
            if closed.keys:
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
        past = self._past.get(key)
        if past is not None:
            dead = 0
            while dead < len(past) and superseded_at([*past[dead : dead + 2], newest], 0) <= safe:
                dead += 1
            if dead < len(past):
                del past[:dead]
                return
            del self._past[key]
        if superseded_at([newest], 0) <= safe:
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

    def load(self, key: bytes, newest: bytes, past: list[bytes]) -> None:
        """Take all kept versions of one key into a history being filled.

        :param key: not there yet; cheapest where it lies behind all others
        :param past: the versions before the newest, oldest first; mostly none
        """
        _, _, version = lineage(newest)
        (self._living if version else self._dead).add(key)
        self._newest[key] = newest
        self.digest += digest(newest)
        self.live_count += version > 0
        if version and not past:
            return
        if past:
            self._past[key] = past
        for record in past:
            self.digest += digest(record)
        versions = [*past, newest]
        for place, record in enumerate(versions):
            at = superseded_at(versions, place)
            if at < NEVER:
                self._filling.setdefault(at, Superseded(at, [])).add(key, record)

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


def superseded_at(versions: list[bytes], place: int) -> int:
    """Return the revision from which the version at ``place`` is history, NEVER for a live one."""
    _, modified, version = lineage(versions[place])
    if not version:
        return modified
    return mod_revision(versions[place + 1]) if place + 1 < len(versions) else NEVER
