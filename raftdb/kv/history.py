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

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice, pairwise

from raftdb.kv.containers import TABLE_MASK, Order, Table
from raftdb.kv.past import COUNTED_BYTES, NEVER, Pin, Superseded, Versions, superseded_at
from raftdb.kv.values import (
    DIGEST_MASK,
    LINEAGE,
    VERSION_HEADER,
    KeyValue,
    Retention,
    as_number,
    decode_version,
    digest,
    digest_sum,
    lineage,
    mod_revision,
    nothing_hashed,
    version_bytes,
)

PINNED_BYTES_MAX = 64 * 1024 * 1024
REMOVALS_PER_COMMIT = 16


class History:
    """All kept versions of all keys.

    Invariant: ``compact_revision <= revision``, and every version not superseded at or before
    ``compact_revision`` is in ``_versions`` and counted once in ``digest``. Every key of ``_versions``
    is either in ``_living`` or, if a tombstone is its newest version, in ``_dead``: apart, because a
    command over a range must not walk past all that was deleted there in the last ten thousand
    revisions.

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
        self._versions: Table[bytes | Versions] = Table()
        self._open = Superseded(1, [])
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
        kept = self._versions.get(key)
        if kept is None:
            return None
        kv = decode_version(kept if isinstance(kept, bytes) else kept.newest)
        return kv if kv.version else None

    def at(self, key: bytes, revision: int) -> KeyValue | None:
        """Return what ``key`` was at ``revision``, ``compact_revision <= revision``."""
        kept = self._versions.get(key)
        if isinstance(kept, Versions):
            record = kept.at(revision)
        else:
            record = None if kept is None or mod_revision(kept) > revision else kept
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

    def kept(
        self, keys: Sequence[bytes], *, revision: int, floor: int, enough: int
    ) -> tuple[list[bytes], int]:
        """Return the versions of ``keys`` written by ``revision`` and history only after ``floor``.

        By hand, because a snapshot does it for every key there is: no call of Python code for one
        of a single version.

        :param keys: as :meth:`visit` gave them
        :param enough: of versions; the key they are reached with is the last one looked at
        :returns: key by key, of each the oldest first, as they are encoded; and of how many keys
        """
        found: list[bytes] = []
        pieces, unpack_lineage = self._versions.pieces, LINEAGE.unpack_from
        for count, key in enumerate(keys, 1):
            kept = pieces[hash(key) & TABLE_MASK][key]
            if isinstance(kept, bytes):
                _, modified, version = unpack_lineage(kept)
                if modified <= revision and (version or modified > floor):
                    found.append(kept)
                continue
            found += [
                record
                for record, following in pairwise((*kept.until(revision), None))
                if record is not None
                and mod_revision(record) <= revision
                and superseded_at(record, following) > floor
            ]
            if len(found) >= enough:
                return found, count
        return found, len(keys)

    # Writing

    def put(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Write ``pairs`` at the revision that :meth:`commit` will close; a key once per commit.

        By hand and in one piece, because three nodes do it for every key that is ever written, and
        it is half of what a follower does for a large POST: no call of Python code in it for a key
        that is written again and again.
        """
        opened = self._open
        revision = opened.revision
        pieces = self._versions.pieces
        written = self._written.append
        made_history = opened.keys
        assert isinstance(made_history, list), "what is closed takes nothing more"
        pack, unpack_lineage = VERSION_HEADER.pack, LINEAGE.unpack_from
        added = superseded = counted = 0
        for key, value in pairs:
            piece = pieces[hash(key) & TABLE_MASK]
            kept = piece.get(key)
            if kept is None:
                self._come_to_life(key)
                record = pack(len(key), revision, revision, 1, 0) + key + value
                added += digest(record)
                piece[key] = record
                written(record)
                continue
            if isinstance(kept, bytes):
                several, old, old_digest = None, kept, digest(kept)
            else:
                several, old, old_digest = kept, kept.newest, kept.digest
            created, modified, version = unpack_lineage(old)
            assert modified < revision
            if version:
                made_history.append(key)
                counted += len(old) + COUNTED_BYTES
                superseded += old_digest
            else:  # a tombstone was history as soon as it was written
                created = revision
                self._dead.remove(key)
                self._come_to_life(key)
            record = pack(len(key), created, revision, version + 1, 0) + key + value
            hashed = nothing_hashed()  # as digest() does
            hashed.update(record)
            new_digest = as_number(hashed.digest())
            added += new_digest
            if several is None:
                piece[key] = Versions(record, new_digest, (old,))
            else:
                older = several.older
                if isinstance(older, list):  # as add() does
                    older.append(old)
                    several.newest, several.digest = record, new_digest
                else:
                    several.add(record, new_digest)
            written(record)
        self.digest += added
        opened.counted_bytes += counted
        opened.digest += superseded

    def _come_to_life(self, key: bytes) -> None:
        self._living.add(key)
        self.live_count += 1

    def delete(self, key: bytes) -> bool:
        """Delete ``key`` at the open revision; return whether there was one."""
        kept = self._versions.get(key)
        if kept is None:
            return False
        old = kept if isinstance(kept, bytes) else kept.newest
        _, modified, version = lineage(old)
        if not version:
            return False
        revision = self._open.revision
        assert modified < revision
        tombstone = version_bytes(key, b"", 0, revision, 0)
        hashed = digest(tombstone)
        if isinstance(kept, bytes):
            self._open.add(key, old, digest(old))
            self._versions[key] = Versions(tombstone, hashed, (old,))
        else:
            self._open.add(key, old, kept.digest)
            kept.add(tombstone, hashed)
        self._open.add(key, tombstone, hashed)
        self.digest += hashed
        self._living.remove(key)
        self._dead.add(key)
        self.live_count -= 1
        self._written.append(tombstone)
        return True

    def commit(self) -> tuple[bytes, ...]:
        """Close the open revision if it changed anything, compact and remove; return the changes."""
        changes = tuple(self._written)
        if changes:
            self._written.clear()
            closed = self._open
            self.revision = closed.revision
            self.digest &= DIGEST_MASK
            if not closed.keys:
                closed.revision += 1
            else:
                self._open = Superseded(closed.revision + 1, [])
                closed.close()
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
            keys = oldest.keys
            if len(keys) > count:
                oldest.keys, keys = keys[:-count], keys[-count:]
            else:
                self._garbage_bytes -= oldest.counted_bytes
                garbage.popleft()
            self._prune(keys, safe)
            count -= len(keys)
        if garbage and garbage[0].revision > safe and self._garbage_bytes > self._pinned_bytes_max:
            self._break_pins(safe)

    def _prune(self, keys: Sequence[bytes], safe: int) -> None:
        """Drop what was history at ``safe`` of keys that one revision made history."""
        pieces = self._versions.pieces
        unpack_lineage = LINEAGE.unpack_from
        for key in keys:
            piece = pieces[hash(key) & TABLE_MASK]
            kept = piece.get(key)
            if isinstance(kept, Versions):
                older = kept.older
                following = older[1] if len(older) > 1 else kept.newest
                _, modified, version = unpack_lineage(following)
                many = isinstance(older, list) and len(older) > 2
                if version and modified <= safe and not (many and mod_revision(older[2]) <= safe):
                    # Nearly always: one write after another. What else of it is history was made so
                    # by another revision, whose turn comes. But where much was held back for a pin,
                    # all of it goes at once: to take one after the other from the front of a long
                    # list would move the rest each time.
                    if len(older) > 1:
                        if isinstance(older, list):  # as forget() does
                            del older[0]
                        else:
                            kept.older = older[1:]
                    else:
                        piece[key] = kept.newest
                    continue
            self._prune_thoroughly(key, safe)

    def _prune_thoroughly(self, key: bytes, safe: int) -> None:
        """Drop all that was history of ``key``, tombstones included."""
        kept = self._versions.get(key)
        if kept is None or (isinstance(kept, Versions) and not kept.forget(safe)):
            return
        newest = kept if isinstance(kept, bytes) else kept.newest
        _, modified, version = lineage(newest)
        if version or modified > safe:
            self._versions[key] = newest
        else:
            del self._versions[key]
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
        self._versions.update(keys, records)
        self.digest += digest_sum(records)
        self.live_count += len(keys)

    def load(self, key: bytes, newest: bytes, past: list[bytes]) -> None:
        """Take all kept versions of one key into a history being filled.

        :param key: not there yet
        :param past: the versions before the newest, oldest first
        """
        _, _, version = lineage(newest)
        (self._living if version else self._dead).add(key)
        self.live_count += version > 0
        hashed = 0
        for record, following in pairwise((*past, newest, None)):
            assert record is not None
            hashed = digest(record)
            self.digest += hashed
            at = superseded_at(record, following)
            if at < NEVER:
                superseded = self._filling.setdefault(at, Superseded(at, []))
                superseded.add(key, record, hashed)
        self._versions[key] = Versions.of((*past, newest), hashed) if past else newest

    def loaded(self, revision: int, compact_revision: int, retention: Retention) -> None:
        """Close the filling: what is superseded is put in the order of its revisions."""
        self.revision = revision
        self.compact_revision = compact_revision
        self.retention = retention
        self.digest &= DIGEST_MASK
        self._open = Superseded(revision + 1, [])
        self._retained = deque(self._filling[at] for at in sorted(self._filling))
        for one in self._retained:
            one.close()
        self._retained_bytes = sum(one.counted_bytes for one in self._retained)
        self._filling = {}
