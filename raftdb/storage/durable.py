"""What survives: the log, the hard state and the snapshots of one node, behind one door.

The log is kept twice, in files and in memory: whoever reads never waits. A save is planned in the
reactor's thread, done by the writer thread and shown in ``log`` when it is durable, not before.
Every method here is for the reactor's thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from raftdb.disk.files import Lock
from raftdb.disk.work import Run
from raftdb.errors import StorageError
from raftdb.raft.ready import Ready
from raftdb.raft.storage import LogReader, MemoryStorage
from raftdb.raft.types import Entry, EntryID, SnapshotMetadata
from raftdb.storage.filler import Filler
from raftdb.storage.identity import Identity
from raftdb.storage.limits import StorageLimits
from raftdb.storage.ownership import check_present
from raftdb.storage.record import Record
from raftdb.storage.snapshot_io import (
    SnapshotReading,
    SnapshotReceiving,
    SnapshotSource,
    SnapshotWriting,
    open_reading,
    open_source,
)
from raftdb.storage.snapshots import SnapshotStore, snapshot_name
from raftdb.storage.space import Spare
from raftdb.storage.wal import Wal

RECORD_BYTES_MAX = 2048
"""What a record needs besides its entries; two ids of the longest are in it."""


class DurableStorage:
    """The storage of one node, recovered; :class:`~raftdb.storage.directory.DataDirectory` makes it.

    :param memory: what the log holds; from here on this object is its only writer
    :param run: the writer: does one piece of work after the other, in order
    :param fill: spare segments, snapshots, deletions
    :param root: names of files in the data directory itself that stay, by its path
    :param lock: given back at the end
    """

    _log = Logger()

    def __init__(
        self,
        *,
        identity: Identity,
        memory: MemoryStorage,
        wal: Wal,
        snapshots: SnapshotStore,
        run: Run,
        fill: Filler,
        root: Mapping[str, Sequence[str]],
        limits: StorageLimits,
        lock: Lock,
    ) -> None:
        self.identity = identity
        self._memory = memory
        self._wal = wal
        self._snapshots = snapshots
        self._run = run
        self._fill = fill
        self._root = root
        self._limits = limits
        self._lock = lock
        self._saving = False
        self._filling = False
        self._closed = False
        self._log_bytes = memory.bytes_from(memory.first_index())
        door = wal.door
        if door is not None:
            way = "opened with O_DIRECT and O_DSYNC" if door.through else "written, then synced"
            self._log.info("the log's files are {way}", way=way)

    # -- what Replica asks for --

    @property
    def log(self) -> LogReader:
        """What is durable, readable without waiting."""
        return self._memory

    @property
    def snapshot_index(self) -> int:
        """The index of the newest durable snapshot, 0 for none."""
        return self._snapshots.newest.last.index

    @property
    def log_bytes(self) -> int:
        """What the entries kept in the log count together."""
        return self._log_bytes

    def admits(self, bytes_count: int) -> bool:
        """Whether so much more, in one batch, fits into log space already reserved [R18].

        :param bytes_count: the sizes of all entries that were not given to :meth:`save` yet, the
            one in question included
        """
        self._refill()
        return self._wal.has_room(bytes_count + RECORD_BYTES_MAX)

    def save(self, ready: Ready) -> Deferred[None]:
        """Make one Ready durable as one batch; fires after the fsync, when ``log`` shows it.

        Fails with :class:`StorageError`; the process has to end then, for nobody knows what the
        disk holds.
        """
        if not ready.must_save:
            return succeed(None)
        assert not self._saving, "one Ready is outstanding at most"
        assert not self._closed, "the storage is closed"
        if self._fill.failure is not None:
            return fail(self._fill.failure)
        if ready.snapshot is not None and not self._snapshots.has(ready.snapshot.last):
            return fail(StorageError(f"no snapshot at {ready.snapshot.last} was received"))
        record = Record(ready.hard_state, ready.snapshot, ready.entries)
        self._saving = True
        saved = self._run(self._wal.append(record))
        self._refill()
        return saved.addCallback(lambda _: self._saved(record))

    def create_snapshot(self, metadata: SnapshotMetadata) -> SnapshotWriting:
        """Begin to write a snapshot of the state at ``metadata.last``."""
        return SnapshotWriting(self._snapshots, metadata, self._memory.create_snapshot)

    def open_snapshot(self, last: EntryID) -> Deferred[SnapshotReading]:
        """Begin to read the durable snapshot that ends at ``last``.

        :raises Compacted: where it is not kept any more
        """
        return open_reading(self._snapshots, last)

    def compact(self) -> Deferred[bool]:
        """Drop the log up to the oldest of the kept snapshots, if there are two, a slice per call.

        Fires with whether there is more to drop. The files go as far as the log in memory has gone.
        """
        if self._closed:  # whoever starts next may be at the files already
            return succeed(False)
        index = self._snapshots.compact_index
        memory = self._memory
        first = memory.first_index()
        if index >= first:
            end = min(index + 1, first + self._limits.drop_entries)
            last, bytes_count = memory.fitting(end, self._limits.drop_bytes)
            self._log_bytes -= bytes_count
            memory.compact(last)
        work = self._wal.drop(min(index, memory.first_index() - 1))
        done = succeed(None) if work is None else self._fill(work).addCallback(self._dropped)
        return done.addCallback(lambda _: memory.first_index() <= self._snapshots.compact_index)

    # -- what peers ask for --

    def open_snapshot_file(self, last: EntryID) -> Deferred[SnapshotSource]:
        """Open the file of the snapshot that ends at ``last``, pinned until it is closed.

        :raises Compacted: where it is not kept any more
        """
        return open_source(self._snapshots, last)

    def receive_snapshot(self, metadata: SnapshotMetadata, size: int) -> SnapshotReceiving:
        """Begin to receive a snapshot file from a peer.

        :param size: of the whole file, in bytes
        """
        return SnapshotReceiving(self._snapshots, metadata, size)

    # -- what the node asks for, now and then --

    def look(self) -> None:
        """See to it that all files in use are still there; else the process ends.

        What is expected goes by what the filler was told to do before.
        """
        if not self._closed:
            snapshots = self._snapshots
            expected = {
                **self._root,
                self._wal.directory: self._wal.segments,
                snapshots.directory: [snapshot_name(kept.last) for kept in snapshots.kept],
            }
            self._fill.alone(partial(check_present, snapshots.files, expected))

    # -- the end --

    def close(self) -> Deferred[None]:
        """Write a closing batch, after which nothing may be cut, and let go of the log.

        After a failure it only lets go. The directory is given back when the filler has ended what
        it is at; a stop does not wait for that.
        """
        if self._closed:
            return succeed(None)
        self._closed = True
        last = self._wal.abandon if self._fill.failure is not None else self._wal.close()
        return self._run(last).addBoth(self._release)

    # -- inside --

    def _saved(self, record: Record) -> None:
        """Show what is durable now."""
        self._saving = False
        memory = self._memory
        if record.hard_state is not None:
            memory.set_hard_state(record.hard_state)
        if record.snapshot is not None:
            memory.apply_snapshot(record.snapshot)
            self._log_bytes = 0
            self._fill.alone(self._snapshots.installed(record.snapshot))
        if record.entries:
            first = record.entries[0].index
            self._log_bytes += _size(record.entries) - memory.bytes_from(first)
            memory.append(record.entries)
        mark = self._wal.mark_work()
        if mark is not None:
            self._fill.alone(mark)

    def _refill(self) -> None:
        """Have the filler make spare segments until there are enough, one at a time."""
        if self._filling or self._closed or self._wal.spares >= self._limits.spare_segments:
            return
        self._filling = True
        self._fill(self._wal.spare_work()).addCallbacks(self._filled, self._not_filled)

    def _filled(self, spare: Spare) -> None:
        self._filling = False
        self._wal.add_spare(spare)
        self._refill()

    def _not_filled(self, failure: Failure) -> None:
        """Wait for the next write, or the next deletion, where there is no room; else give up."""
        self._filling = False
        self._wal.add_spare(None)
        self._fill.failed(failure)

    def _dropped(self, _: None) -> None:
        self._refill()

    def _release(self, result: Failure | None) -> Failure | None:
        self._fill.alone(self._lock.close)
        return result


def _size(entries: Sequence[Entry]) -> int:
    return sum(entry.size for entry in entries)
