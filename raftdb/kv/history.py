"""Versions of keys: the present and the retained past, which part is compacted, which is pinned.

Owns the multi-versioning of the store and its state hash, and knows no commands. Three things are
kept apart:

- **compaction** is replicated. It advances inside :meth:`History.commit` by the revision, the
  retention and the bytes superseded, none of which depends on what is stored where. It costs O(1)
  per revision, because what one revision superseded is counted and hashed when it happens.
- **removal** of what is compacted is local, a few keys per command, and waits for pins.
- **a pin** keeps what can be read at a revision while a snapshot or a paged read goes on. When it
  holds back too much it is broken, and its owner fails instead of the node's memory [8].

A key with one version costs no list: most keys have no past, and memory per key counts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from itertools import islice
from operator import attrgetter
from typing import TypeAlias

import msgspec
from sortedcontainers import SortedDict

from raftdb.kv.values import DIGEST_MASK, KeyValue, Retention, digest, encode_version

VERSION_OVERHEAD_BYTES = 128
"""What a superseded version counts besides its key and value: about what its objects take."""

PINNED_BYTES_MAX = 64 * 1024 * 1024
REMOVALS_PER_COMMIT = 16

NEVER = 2**64
"""The revision at which a live version is superseded: none yet."""

Chain: TypeAlias = KeyValue | list[KeyValue]
"""The kept versions of one key, oldest first; one alone goes without a list."""

_mod_revision = attrgetter("mod_revision")


class Superseded(msgspec.Struct, gc=False):
    """What one revision made history: unreadable once the compact revision reaches it.

    A version is superseded by the next one of its key; a tombstone by itself, because a reader at
    or after its revision finds nothing with it or without it.
    """

    revision: int
    keys: list[bytes]
    bytes: int = 0
    digest: int = 0

    def add(self, kv: KeyValue) -> None:
        """Count one version; a deletion counts two of one key, which is noted once."""
        if not self.keys or self.keys[-1] != kv.key:
            self.keys.append(kv.key)
        self.bytes += len(kv.key) + len(kv.value) + VERSION_OVERHEAD_BYTES
        self.digest += digest(encode_version(kv))


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
    ``compact_revision`` is in ``_chains`` and counted once in ``digest``.

    :param pinned_bytes_max: what may wait for pins before the oldest of them is broken; local
    """

    def __init__(self, *, pinned_bytes_max: int = PINNED_BYTES_MAX) -> None:
        self.revision = 0
        self.compact_revision = 0
        self.digest = 0
        self.retention = Retention()
        self.live_count = 0
        self._chains: SortedDict[bytes, Chain] = SortedDict()
        self._open = Superseded(1, [])
        self._changed: list[KeyValue] = []
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
        chain = self._chains.get(key)
        if chain is None:
            return None
        last = chain[-1] if type(chain) is list else chain
        assert isinstance(last, KeyValue)
        return last if last.version else None

    def at(self, key: bytes, revision: int) -> KeyValue | None:
        """Return what ``key`` was at ``revision``, ``compact_revision <= revision``."""
        chain = self._chains.get(key)
        return None if chain is None else _live_at(chain, revision)

    def visit(
        self, start: bytes, end: bytes = b"", *, count: int | None = None
    ) -> Iterator[tuple[bytes, Chain]]:
        """Walk at most ``count`` keys in ``[start, end)``, dead ones too; empty ``end``: no end.

        Nothing may be written meanwhile.
        """
        keys = self._chains.irange(start, end or None, inclusive=(True, False))
        for key in islice(keys, count):
            yield key, self._chains[key]

    # Writing

    def put(self, key: bytes, value: bytes) -> KeyValue:
        """Write ``key`` at the revision that :meth:`commit` will close; once per key and commit."""
        revision = self._open.revision
        chain = self._chains.get(key)
        if chain is None:
            new = KeyValue(key, value, revision, revision, 1)
            self._chains[key] = new
            self.live_count += 1
            self._changed.append(new)
            return new
        old = chain[-1] if type(chain) is list else chain
        assert isinstance(old, KeyValue)
        assert old.mod_revision < revision
        if old.version:
            new = KeyValue(old.key, value, old.create_revision, revision, old.version + 1)
            self._open.add(old)
        else:
            new = KeyValue(old.key, value, revision, revision, 1)
            self.live_count += 1
        self._append(chain, new)
        return new

    def delete(self, key: bytes) -> KeyValue | None:
        """Delete ``key`` at the open revision; return what it was, None where nothing was."""
        old = self.current(key)
        if old is None:
            return None
        assert old.mod_revision < self._open.revision
        tombstone = KeyValue(old.key, b"", 0, self._open.revision, 0)
        self._open.add(old)
        self._open.add(tombstone)
        self.live_count -= 1
        self._append(self._chains[key], tombstone)
        return old

    def _append(self, chain: Chain, new: KeyValue) -> None:
        if isinstance(chain, list):
            chain.append(new)
        else:
            self._chains[new.key] = [chain, new]
        self._changed.append(new)

    def commit(self) -> tuple[KeyValue, ...]:
        """Close the open revision if it changed anything, compact and remove; return the changes."""
        changes = tuple(self._changed)
        if changes:
            self._changed.clear()
            closed = self._open
            self.revision = closed.revision
            self._open = Superseded(closed.revision + 1, [])
            for kv in changes:
                self.digest += digest(encode_version(kv))
            self.digest &= DIGEST_MASK
            if closed.keys:
                self._retained.append(closed)
                self._retained_bytes += closed.bytes
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
            self._retained_bytes -= oldest.bytes
            self._garbage.append(oldest)
            self._garbage_bytes += oldest.bytes
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
                self._garbage_bytes -= oldest.bytes
                garbage.popleft()
        if garbage and garbage[0].revision > safe and self._garbage_bytes > self._pinned_bytes_max:
            self._break_pins(safe)

    def _prune(self, key: bytes, safe: int) -> None:
        chain = self._chains.get(key)
        if not isinstance(chain, list):
            return
        dead = 0
        while dead < len(chain) and superseded_at(chain, dead) <= safe:
            dead += 1
        if dead == len(chain):
            del self._chains[key]
        elif dead == len(chain) - 1 and chain[-1].version:
            self._chains[key] = chain[-1]
        else:
            del chain[:dead]

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

    def load(self, chain: list[KeyValue]) -> None:
        """Take all kept versions of one key, oldest first, into a history being filled."""
        last = chain[-1]
        self.live_count += last.version > 0
        if len(chain) == 1 and last.version:
            self._chains[last.key] = last
        else:
            self._chains[last.key] = chain
            for place, kv in enumerate(chain):
                at = superseded_at(chain, place)
                if at < NEVER:
                    self._filling.setdefault(at, Superseded(at, [])).add(kv)
        for kv in chain:
            self.digest += digest(encode_version(kv))

    def loaded(self, revision: int, compact_revision: int, retention: Retention) -> None:
        """Close the filling: what is superseded is put in the order of its revisions."""
        self.revision = revision
        self.compact_revision = compact_revision
        self.retention = retention
        self.digest &= DIGEST_MASK
        self._open = Superseded(revision + 1, [])
        self._retained = deque(self._filling[at] for at in sorted(self._filling))
        self._retained_bytes = sum(one.bytes for one in self._retained)
        self._filling = {}


def superseded_at(chain: list[KeyValue], place: int) -> int:
    """Return the revision from which the version at ``place`` is history, NEVER for a live one."""
    kv = chain[place]
    if not kv.version:
        return kv.mod_revision
    return chain[place + 1].mod_revision if place + 1 < len(chain) else NEVER


def _live_at(chain: Chain, revision: int) -> KeyValue | None:
    if isinstance(chain, KeyValue):
        return chain if chain.mod_revision <= revision else None
    place = bisect_right(chain, revision, key=_mod_revision) - 1
    return chain[place] if place >= 0 and chain[place].version else None
