"""Versions of keys: the present and the retained past, which part is compacted, which is pinned.

Owns the multi-versioning of the store and its state hash, and knows no commands. The present is a
table of the newest version of each key. The past is a log: of each revision, the versions that it
replaced, by key. To read the past is to follow a key back: its newest version names the revision
that wrote it, that revision has the version before, and so on. So a write touches nothing but the
newest version, whatever the past of its key, and what one revision superseded leaves in one piece.
Three things are kept apart:

- **compaction** is replicated. It advances inside :meth:`History.commit` by the revision, the
  retention and the bytes superseded, none of which depends on what is stored where. It costs O(1)
  per revision, because what one revision superseded is counted and hashed when it happens.
- **removal** of what is compacted is local, a few revisions per command, and passes by what pins need.
- **a pin** keeps what can be read at a revision while a snapshot goes on, and nothing that is written
  meanwhile: what it holds is bounded by what there was when it began [R8].

A version is kept as its encoded bytes: they are what is hashed, what a snapshot holds and what a
snapshot brings, they take less than half of what an object with six attributes takes, and the
garbage collector has nothing to walk in them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice, pairwise

from raftdb.state.digest import DIGEST_MASK, digest
from raftdb.state.kv.containers import TABLE_MASK, ShardedDict, SortedKeys
from raftdb.state.kv.pins import Pin, Pins
from raftdb.state.kv.superseded import COUNTED_BYTES, NEVER, Superseded, superseded_at
from raftdb.state.kv.values import (
    FIRST_REVISION,
    LINEAGE,
    VERSION_HEADER,
    KeyValue,
    Retention,
    decode_version,
    digest_sum,
    mod_revision,
    revisions_of,
    version_bytes,
)

REMOVALS_PER_COMMIT = 16


class History:
    """All kept versions of all keys.

    Invariant: ``compact_revision <= revision``, and every version not superseded at or before
    ``compact_revision`` is counted once in ``digest`` and found by following its key back. Every key
    of ``_newest`` is either in ``_living`` or, if its newest version is a tombstone, in ``_dead``:
    apart, because a command over a range must not walk past all that was deleted there in the last
    ten thousand revisions.

    What is compacted is in ``_garbage`` until removal comes by. What a pin needs of it waits in
    ``_held`` from then on, never more than the retention at the pin; a key that died since and is
    yet to be read waits in ``_graves``.
    """

    def __init__(self) -> None:
        self.revision = FIRST_REVISION
        self.compact_revision = FIRST_REVISION
        self.digest = 0
        self.retention = Retention()
        self.live_count = 0
        self._living = SortedKeys()
        self._dead = SortedKeys()
        self._newest: ShardedDict[bytes, bytes] = ShardedDict()
        self._open = Superseded(FIRST_REVISION + 1, {}, [])
        self._written: list[bytes] = []
        self._past: ShardedDict[int, Superseded] = ShardedDict()
        self._retained: deque[Superseded] = deque()
        self._retained_bytes = 0
        self._garbage: deque[Superseded] = deque()
        self._garbage_bytes = 0
        self._held: deque[Superseded] = deque()
        self._graves: deque[tuple[bytes, int]] = deque()
        self._filling: dict[int, Superseded] = {}
        self._pins = Pins()

    # Reading

    def current(self, key: bytes) -> KeyValue | None:
        """Return the live version of ``key`` now, the open revision included."""
        record = self._newest.get(key)
        if record is None:
            return None
        kv = decode_version(record)
        return kv if kv.version else None

    def at(self, key: bytes, revision: int) -> tuple[KeyValue | None, int]:
        """Return what ``key`` was at ``revision``, ``compact_revision <= revision``.

        :returns: and how many versions were looked at: as many as were written since, and one
        """
        looked_at = 1
        record = self._newest.get(key)
        while record is not None and (modified := mod_revision(record)) > revision:
            record = self._before(key, modified)
            looked_at += 1
        if record is None:
            return None, looked_at
        kv = decode_version(record)
        return (kv if kv.version else None), looked_at

    def _before(self, key: bytes, modified: int) -> bytes | None:
        """Return the version of ``key`` before the one written at ``modified``, if it is kept."""
        superseded = self._past.get(modified)
        return None if superseded is None else superseded.replaced.get(key)

    def visit(self, start: bytes, end: bytes = b"", *, count: int | None = None) -> Iterator[bytes]:
        """Walk at most ``count`` keys in ``[start, end)``, dead ones too; empty ``end``: no end.

        Nothing may be written meanwhile.
        """
        return islice(merge(self._living.walk(start, end), self._dead.walk(start, end)), count)

    def living(self, start: bytes, end: bytes = b"") -> Iterator[bytes]:
        """Walk the keys in ``[start, end)`` that exist now; nothing may be written meanwhile."""
        return self._living.walk(start, end)

    def kept(self, keys: Sequence[bytes], pin: Pin, *, enough: int) -> tuple[list[bytes], int]:
        """Return what ``pin`` keeps of ``keys``: written by its revision, history after its floor.

        By hand, because a snapshot does it for every version there is: no call of Python code for
        a key without a past, one for each that has one.

        :param keys: as :meth:`visit` gave them
        :param enough: of versions; the key they are reached with is the last one looked at
        :returns: key by key, of each the oldest first, as they are encoded; and of how many keys
        """
        found: list[bytes] = []
        pieces, past, unpack_lineage = self._newest.pieces, self._past.pieces, LINEAGE.unpack_from
        revision, floor = pin.revision, pin.floor
        for count, key in enumerate(keys, 1):
            record = pieces[hash(key) & TABLE_MASK][key]
            _, modified, version = unpack_lineage(record)
            if modified > revision:
                pinned = pin.take(key)
                if pinned is None:
                    continue
                record = pinned
                _, modified, version = unpack_lineage(record)
            if modified <= floor:
                if version:
                    found.append(record)
                continue
            superseded = past[modified & TABLE_MASK].get(modified)
            older = superseded and superseded.replaced.get(key)
            if older is None:
                found.append(record)
                continue
            found += self._with_past(key, record, older, floor)
            if len(found) >= enough:
                return found, count
        return found, len(keys)

    def _with_past(
        self, key: bytes, newest: bytes, older: bytes | None, floor: int
    ) -> Iterator[bytes]:
        """Return the versions of ``key`` that are history only after ``floor``, oldest first.

        :param newest: the last of them
        :param older: the one before it
        """
        versions = [newest]
        past, unpack_lineage = self._past.pieces, LINEAGE.unpack_from
        while older is not None:
            _, modified, version = unpack_lineage(older)
            if version or modified > floor:  # a tombstone is history as soon as it is written
                versions.append(older)
            if modified <= floor:
                break
            superseded = past[modified & TABLE_MASK].get(modified)
            older = superseded and superseded.replaced.get(key)
        return reversed(versions)

    # Writing

    def put(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        """Write ``pairs`` at the revision that :meth:`commit` will close; a key once per commit.

        By hand and in one piece, because three nodes do it for every key that is ever written, and
        it is half of what a follower does for a large POST: no call of Python code in it for a key
        that is written again and again.
        """
        opened = self._open
        revision, replaced = opened.revision, opened.replaced
        pieces, pinned = self._newest.pieces, self._pins.newest
        written = self._written.append
        pack, unpack_lineage = VERSION_HEADER.pack, LINEAGE.unpack_from
        added = superseded = counted = 0
        for key, value in pairs:
            piece = pieces[hash(key) & TABLE_MASK]
            old = piece.get(key)
            if old is None:
                self._come_to_life(key)
                record = pack(len(key), revision, revision, 1, 0) + key + value
            else:
                created, modified, version = unpack_lineage(old)
                assert modified < revision
                replaced[key] = old
                if modified <= pinned:
                    self._pins.note(key, old, modified)
                if version:
                    counted += len(old) + COUNTED_BYTES
                    superseded += digest(old)
                else:  # a tombstone was history as soon as it was written
                    created = revision
                    self._dead.remove(key)
                    self._come_to_life(key)
                record = pack(len(key), created, revision, version + 1, 0) + key + value
            added += digest(record)
            piece[key] = record
            written(record)
        self.digest += added
        opened.counted_bytes += counted
        opened.digest += superseded

    def _come_to_life(self, key: bytes) -> None:
        self._living.add(key)
        self.live_count += 1

    def delete(self, key: bytes) -> bool:
        """Delete ``key`` at the open revision; return whether there was one."""
        old = self._newest.get(key)
        if old is None:
            return False
        _, modified, version = revisions_of(old)
        if not version:
            return False
        opened = self._open
        assert modified < opened.revision
        opened.replaced[key] = old
        if modified <= self._pins.newest:
            self._pins.note(key, old, modified)
        assert isinstance(opened.dead, list), "what is closed takes nothing more"
        opened.dead.append(key)
        opened.count(old, digest(old))
        tombstone = version_bytes(key, b"", 0, opened.revision, 0)
        hashed = digest(tombstone)
        opened.count(tombstone, hashed)
        self.digest += hashed
        self._newest[key] = tombstone
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
            if not closed.replaced:
                closed.revision += 1
            else:
                self._open = Superseded(closed.revision + 1, {}, [])
                closed.close()
                self._past[closed.revision] = closed
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
        """Free at most ``count`` versions of what is compacted and not pinned, or one revision; local."""
        pins, held, garbage = self._pins, self._held, self._garbage
        pins.sweep()
        for _ in range(min(count // 2, len(self._graves))):
            key, revision = self._graves.popleft()
            if self._newest.get(key) is not None:  # it may have lived and died again
                self._bury(key, revision)
            count -= 1
        while count > 0 and held and not (pins and pins.need(held[0].revision)):
            count -= self._free(held, count)
        while count > 0 and garbage:
            if pins and pins.need(garbage[0].revision):
                held.append(garbage.popleft())
                count -= 1
            else:
                count -= self._free(garbage, count)

    def _free(self, queue: deque[Superseded], count: int) -> int:
        """Free the first of ``queue``, or ``count`` of its dead; return how many versions that were."""
        oldest = queue[0]
        if not oldest.dead:
            queue.popleft()
            del self._past[oldest.revision]
            self._garbage_bytes -= oldest.counted_bytes
            return len(oldest.replaced)
        buried, oldest.dead = oldest.dead[-count:], oldest.dead[:-count]
        for key in buried:
            self._bury(key, oldest.revision)
        return len(buried)

    def _bury(self, key: bytes, revision: int) -> None:
        """Forget a key that died at ``revision`` for good, now or when no snapshot is yet to find it."""
        newest = self._newest.get(key)
        assert newest is not None, "a tombstone is forgotten once"
        if mod_revision(newest) != revision:
            return
        if self._pins and self._pins.need_key(key):
            self._graves.append((key, revision))
        else:
            del self._newest[key]
            self._dead.remove(key)

    # Pins

    def pin(self) -> Pin:
        """Keep what can be read now, as it is now."""
        return self._pins.add(self.revision, self.compact_revision)

    def unpin(self, pin: Pin) -> None:
        """Let go of a pin; again is harmless."""
        self._pins.remove(pin)

    @property
    def pinned_bytes(self) -> int:
        """Of present versions that were written over and are kept for pins alone."""
        return self._pins.replaced_bytes

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
        _, modified, version = revisions_of(newest)
        self._newest[key] = newest
        (self._living if version else self._dead).add(key)
        if version:
            self.live_count += 1
        else:
            died = self._fill(modified)
            assert isinstance(died.dead, list)
            died.dead.append(key)
        for record, following in pairwise((*past, newest, None)):
            assert record is not None
            hashed = digest(record)
            self.digest += hashed
            if following is not None:
                self._fill(mod_revision(following)).replaced[key] = record
            at = superseded_at(record, following)
            if at < NEVER:
                self._fill(at).count(record, hashed)

    def _fill(self, revision: int) -> Superseded:
        return self._filling.setdefault(revision, Superseded(revision, {}, []))

    def loaded(self, revision: int, compact_revision: int, retention: Retention) -> None:
        """Close the filling: what is superseded is put in the order of its revisions."""
        self.revision = revision
        self.compact_revision = compact_revision
        self.retention = retention
        self.digest &= DIGEST_MASK
        self._open = Superseded(revision + 1, {}, [])
        for at in sorted(self._filling):
            superseded = self._past[at] = self._filling.pop(at)
            superseded.close()
            self._retained.append(superseded)
        self._retained_bytes = sum(one.counted_bytes for one in self._retained)
