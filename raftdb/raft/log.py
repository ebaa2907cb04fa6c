"""The log as the algorithm sees it: a tail in memory over what is durable, and three cursors.

Owns which entries are still to be made durable, which are committed, which are applied. Knows no
role, no peer and no disk; it reads what is durable through a
:class:`~raftdb.raft.storage.LogReader` and never changes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from raftdb.errors import Compacted
from raftdb.raft.storage import LogReader, limited
from raftdb.raft.types import Entry, EntryID, SnapshotMetadata


class RaftLog:
    """One node's log.

    Entries from ``_offset`` on live in ``_tail`` and hide whatever the storage has there: a tail
    that was cut in memory stays on the disk until the entries that replace it are saved.

    Invariants: ``applied <= min(committed, durable)`` [R7e]; ``committed <= last_index``;
    ``_tail[0].index == _offset``; what the storage has before ``_offset`` is durable and equal to
    this log, unless ``unstable_snapshot`` is set, which replaces it.

    :param storage: what is durable
    :param applied: where the state machine stands. Before the newest snapshot: that snapshot is
        handed out first
    """

    def __init__(self, storage: LogReader, *, applied: int = 0) -> None:
        self._storage = storage
        self._tail: list[Entry] = []
        self._offset = storage.last_index() + 1
        snapshot = storage.snapshot()
        assert snapshot.last.index < self._offset, "the log ends before the snapshot it follows"
        assert applied < self._offset, "the state machine is ahead of the log"
        self.committed = max(snapshot.last.index, applied)
        self.applied = applied
        self.unstable_snapshot: SnapshotMetadata | None = None
        """A snapshot that replaces the log and waits for the disk."""
        self.restoring: SnapshotMetadata | None = snapshot if applied < self.committed else None
        """A durable snapshot that the state machine has not loaded yet."""

    # -- where it begins and ends --

    @property
    def first_index(self) -> int:
        """The first index whose entry can be had."""
        if self.unstable_snapshot is not None:
            return self.unstable_snapshot.last.index + 1
        return self._storage.first_index()

    @property
    def last_index(self) -> int:
        """The index of the last entry, 0 for an empty log."""
        return self._offset + len(self._tail) - 1

    @property
    def last(self) -> EntryID:
        """The last entry's name; logs are compared by it (Paper 5.4.1)."""
        return EntryID(self.term(self.last_index), self.last_index)

    @property
    def durable(self) -> int:
        """Up to where this log is surely on the disk."""
        return self._offset - 1 if self.unstable_snapshot is None else self.applied

    def term(self, index: int) -> int:
        """Return the term at ``index``, 0 where no entry is there yet.

        :raises Compacted: where ``index < first_index - 1``
        """
        place = index - self._offset
        if place >= 0:
            return self._tail[place].term if place < len(self._tail) else 0
        if self.unstable_snapshot is not None:
            if index == self.unstable_snapshot.last.index:
                return self.unstable_snapshot.last.term
            raise Compacted(f"index {index} is replaced by a snapshot")
        return self._storage.term(index)

    def matches(self, entry: EntryID) -> bool:
        """Whether this log has ``entry``; then it has everything before it, too (Log Matching)."""
        return self.first_index - 1 <= entry.index <= self.last_index and (
            self.term(entry.index) == entry.term
        )

    def is_up_to_date(self, last: EntryID) -> bool:
        """Whether a candidate whose log ends with ``last`` may lead this one (Paper 5.4.1)."""
        return last >= self.last

    def entries(self, lo: int, hi: int, bytes_max: int) -> tuple[Entry, ...]:
        """Return entries in ``[lo, hi)``, cut off at ``bytes_max`` but at least one.

        :param hi: at most ``last_index + 1``
        :raises Compacted: where ``lo < first_index``
        """
        if lo < self.first_index:
            raise Compacted(f"index {lo} is compacted; the log begins at {self.first_index}")
        assert lo <= hi <= self.last_index + 1, (lo, hi, self.last_index)
        offset = self._offset
        if lo >= offset:
            return limited(self._tail[lo - offset : hi - offset], bytes_max)
        stored = self._storage.entries(lo, min(hi, offset), bytes_max)
        if hi <= offset or len(stored) < offset - lo:
            return stored
        room = bytes_max - sum(entry.size for entry in stored)
        if room < self._tail[0].size:
            return stored
        return stored + limited(self._tail[: hi - offset], room)

    # -- growing --

    def append(self, entries: Sequence[Entry]) -> int:
        """Put ``entries`` at their places, cutting away what lay there and behind; return the last.

        :param entries: consecutive; the first in ``(committed, last_index + 1]``
        """
        if not entries:
            return self.last_index
        first = entries[0].index
        assert self.committed < first, f"entry {first} would replace a committed one"
        assert first <= self.last_index + 1, f"entry {first} leaves a gap after {self.last_index}"
        self._offset = min(self._offset, first)
        del self._tail[first - self._offset :]
        self._tail.extend(entries)
        return self.last_index

    def maybe_append(self, previous: EntryID, entries: Sequence[Entry]) -> int | None:
        """Take in a leader's entries (Paper Fig. 2, AppendEntries receiver steps 2 to 4).

        Only what conflicts is cut away: an old, shorter append that arrives late takes nothing back.

        :return: the last index known to match the leader's log, or None where ``previous`` does not
        """
        if not self.matches(previous):
            return None
        conflict = self.find_conflict(entries)
        if conflict:
            self.append(entries[conflict - previous.index - 1 :])
        return previous.index + len(entries)

    def find_conflict(self, entries: Sequence[Entry]) -> int:
        """Return the index of the first entry that this log lacks or has otherwise, 0 for none."""
        for entry in entries:
            if self.term(entry.index) != entry.term:
                return entry.index
        return 0

    def find_conflict_by_term(self, hint: EntryID) -> EntryID:
        """Return the latest entry at or before ``hint.index`` whose term is at most ``hint.term``.

        Both sides use it: logs can agree only there or before, so that each round trip skips a whole
        term (Paper 5.3, end). Terms never fall along a log, so the search halves. Where only what
        is compacted could qualify, the term is unknown and 0.
        """
        lo, hi = self.first_index - 1, min(hint.index, self.last_index)
        if hi < lo or self.term(lo) > hint.term:
            return EntryID(0, min(hi, lo - 1))
        while lo < hi:  # term(lo) <= hint.term; everything beyond hi has a higher term
            middle = (lo + hi + 1) // 2
            if self.term(middle) <= hint.term:
                lo = middle
            else:
                hi = middle - 1
        return EntryID(self.term(lo), lo)

    # -- the disk --

    def has_unstable_entries(self) -> bool:
        """Whether a Ready would carry entries."""
        return bool(self._tail)

    def unstable_entries(self) -> tuple[Entry, ...]:
        """Return all entries that are not durable, for the next Ready."""
        return tuple(self._tail)

    def stable_entries(self, saved: Sequence[Entry]) -> None:
        """Note that ``saved`` is on the disk, as far as it still is this log [R7c].

        1. Entry (2,7) is handed out for saving. 2. A new leader replaces it by (3,7). 3. The save of
        (2,7) ends. Were index 7 taken as durable now, (3,7) would be acknowledged and never saved.
        There is no ABA either: were (2,7) put back meanwhile by an append at or below the last
        index, the disk has just that.
        """
        if self.unstable_snapshot is not None:
            return
        for entry in reversed(saved):
            place = entry.index - self._offset
            # Equal names mean equal prefixes, so the latest that agrees settles all before it.
            if 0 <= place < len(self._tail) and self._tail[place].term == entry.term:
                del self._tail[: place + 1]
                self._offset += place + 1
                return

    def stable_snapshot(self, saved: SnapshotMetadata) -> None:
        """Note that the log on the disk is replaced by ``saved``; it may be loaded now."""
        if self.unstable_snapshot == saved:
            self.unstable_snapshot = None
            self.restoring = saved

    # -- committing and applying --

    def commit_to(self, index: int) -> bool:
        """Move the commit index forward; return whether it moved. It never falls."""
        if index <= self.committed:
            return False
        assert index <= self.last_index, f"commit {index} is beyond the last {self.last_index}"
        self.committed = index
        return True

    def has_next_committed(self) -> bool:
        """Whether there is something to apply; not while a snapshot is pending [R7d].

        As long as it waits for the disk, ``durable`` stands at ``applied``.
        """
        return (
            self.applied < self.committed  # nearly always False, and cheap to see
            and self.restoring is None
            and self.applied < self.durable
        )

    def next_committed(self, bytes_max: int) -> tuple[Entry, ...]:
        """Return the next page of what is committed *and* durable here [R7e].

        A leader may learn that a quorum without itself has an entry; if it applied that and
        crashed, it would come back with a log that ends before what it has answered.
        """
        if not self.has_next_committed():
            return ()
        hi = min(self.committed, self.durable) + 1
        return self.entries(self.applied + 1, hi, bytes_max)

    def applied_to(self, index: int) -> None:
        """Note that the state machine stands at ``index``."""
        assert self.applied <= index <= min(self.committed, self.durable), index
        self.applied = index

    # -- snapshots --

    def restore(self, snapshot: SnapshotMetadata) -> None:
        """Replace the whole log by a snapshot from the leader (Paper Fig. 13, step 7).

        :param snapshot: beyond the commit index
        """
        assert snapshot.last.index > self.committed, "a snapshot must not take back a commit"
        self.committed = snapshot.last.index
        self._offset = snapshot.last.index + 1
        self._tail = []
        self.unstable_snapshot = snapshot
        self.restoring = None

    def restored(self, snapshot: SnapshotMetadata) -> None:
        """Note that the state machine has loaded ``snapshot``, which had been durable."""
        assert self.applied < snapshot.last.index <= self.committed, snapshot
        self.applied = snapshot.last.index
        if self.restoring == snapshot:
            self.restoring = None
