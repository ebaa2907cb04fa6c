"""The log as its records build it up, one after the other; pure.

Recovery reads the records from the files and feeds them in here; what comes out is the log, the
hard state and the name of the snapshot that was installed last.
"""

from __future__ import annotations

from collections.abc import Iterable

from raftdb.errors import RemoteProtocolError
from raftdb.raft.storage import MemoryStorage
from raftdb.raft.types import ZERO, Entry, EntryID, HardState, SnapshotMetadata
from raftdb.storage.record import Record


class Replay:
    """What the records so far amount to.

    Invariant: ``entries[0].index == base.index + 1``. The term of ``base`` is 0 where it is not
    known, which is so only for what a snapshot covers.

    :param base: the last entry before the first record
    :param hard_state: in force before the first record
    """

    def __init__(self, base: EntryID = ZERO, hard_state: HardState | None = None) -> None:
        self.base = base
        self.entries: list[Entry] = []
        self.hard_state = hard_state or HardState()

    @property
    def last(self) -> EntryID:
        """The end of the log."""
        return self.entries[-1].id if self.entries else self.base

    def apply(self, record: Record) -> None:
        """Take the next record.

        :raises RemoteProtocolError: where its entries do not follow what is there
        """
        if record.hard_state is not None:
            self.hard_state = record.hard_state
        if record.snapshot is not None:
            self._install(record.snapshot.last)
        if record.entries:
            self._append(record.entries[0].index, record.entries)

    def contains(self, last: EntryID) -> bool:
        """Tell whether the log goes through this entry."""
        at = last.index - self.base.index - 1
        if at == -1:
            return self.base.term in {0, last.term}
        return 0 <= at < len(self.entries) and self.entries[at].term == last.term

    def usable(self, snapshots: Iterable[SnapshotMetadata]) -> list[SnapshotMetadata]:
        """Return the snapshots whose state this log continues, in the order of their indexes.

        A snapshot beyond the log was received, but the batch that installs it was not written: it
        is no part of this node's state. One that ends before the log begins cannot be continued.
        Of two at one place, an own one and one received, either will do.
        """
        found = {snapshot.last: snapshot for snapshot in snapshots if self.contains(snapshot.last)}
        return sorted(found.values(), key=lambda snapshot: snapshot.last.index)

    def storage(self, usable: list[SnapshotMetadata]) -> MemoryStorage:
        """Return the log in memory, with the newest usable snapshot.

        The commit index may have been lost (it visits the disk with the next save only), but what a
        snapshot of the own state holds had been committed.
        """
        if not usable:
            assert self.base == ZERO, "recovery asks for a snapshot where the log does not begin"
            return MemoryStorage(hard_state=self.hard_state, entries=self.entries)
        newest, hard_state = usable[-1], self.hard_state
        if hard_state.commit < newest.last.index:
            hard_state = HardState(hard_state.term, hard_state.vote, newest.last.index)
        compacted = self.base
        if compacted.term == 0 and compacted != ZERO:
            oldest = usable[0].last
            compacted = oldest if oldest.index == compacted.index else self.entries[0].id
        return MemoryStorage(
            hard_state=hard_state,
            snapshot=newest,
            compacted=compacted,
            entries=self.entries[compacted.index - self.base.index :],
        )

    def _install(self, last: EntryID) -> None:
        """Replace the log by a snapshot; its tail survives only if it is of the same history [R23].

        Why, though the log was dropped when it was installed: 1. a follower holds (2,1) to (2,9),
        the last four never committed; 2. it installs a snapshot that ends at (3,5); 3. it crashes
        before anything follows. Were (2,6) to (2,9) to survive, it would hold entries on top of
        (3,5) that no leader ever put there.
        """
        if self.contains(last):
            del self.entries[: last.index - self.base.index]
        else:
            self.entries.clear()
        self.base = last

    def _append(self, first: int, entries: Iterable[Entry]) -> None:
        keep = first - self.base.index - 1
        if keep > len(self.entries):
            raise RemoteProtocolError(f"entries from {first} leave a gap after {self.last.index}")
        if keep < 0:
            # What was cut back here lay in segments that are deleted: a snapshot covers it.
            self.base = EntryID(0, first - 1)
            keep = 0
        del self.entries[keep:]
        self.entries.extend(entries)
