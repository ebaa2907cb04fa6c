"""A disk without files: a log and snapshots that outlive their node, durable a little later.

The Storage of :mod:`raftdb.replica.seams` at its simplest. What is being saved when the node dies
is durable or not as chance has it, one batch whole or not at all; the torn batches and lost
directory entries of real disks are :mod:`raftdb.simulation.disk.lossy_disk`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime

from raftdb.errors import Compacted, StorageError
from raftdb.raft.ready import Ready
from raftdb.raft.storage import MemoryStorage
from raftdb.raft.types import EntryID, SnapshotMetadata

Pieces = list[tuple[str, bytes]]
SNAPSHOTS_KEPT = 2
SAVE_MAX_S = 0.002
HUNG_S = 0.02
"""Up to so long after a disk has stopped to hang it goes on with its work."""


class Platter:
    """What is durable on one node's machine, and how its disk behaves.

    :param log: holds nothing that a crash would take away
    :ivar snapshots: the durable ones, oldest first
    :ivar hangs: no save ends any more
    :ivar full: no log space is reserved any more
    :ivar fails: the next save fails, as an fsync can
    """

    def __init__(self, log: MemoryStorage | None = None) -> None:
        self.log = log or MemoryStorage()
        self.snapshots: list[tuple[SnapshotMetadata, Pieces]] = []
        self.save_min_s = 0.0001
        self.save_max_s = SAVE_MAX_S
        self.hangs = False
        self.full = False
        self.fails = False
        self._disk: MemoryDisk | None = None

    def boot(self, clock: IReactorTime, rng: Random) -> MemoryDisk:
        """Return a node's access to what is durable."""
        self._disk = MemoryDisk(clock, self, rng)
        return self._disk

    def crash(self) -> None:
        """Lose what was being saved, or keep it, as chance has it."""
        if self._disk is not None:
            self._disk.crash()
            self._disk = None

    def fill(self, full: bool) -> None:
        """Let the disk be full, or give it room again."""
        self.full = full

    def fail(self) -> None:
        """Let the next save fail."""
        self.fails = True

    def mend(self) -> None:
        """Let the disk be a good one from now on."""
        self.hangs = self.full = self.fails = False
        self.save_max_s = SAVE_MAX_S

    def receive(self, source: object, metadata: SnapshotMetadata) -> Deferred[bool]:
        """Take a snapshot file from another machine; it becomes part of the log by a later save."""
        assert isinstance(source, Platter)
        pieces = source.find(metadata.last)
        if pieces is None:
            return succeed(False)  # it is the result
        if self.find(metadata.last) is None:
            self.keep(metadata, list(pieces))
        return succeed(True)  # it is the result

    def find(self, last: EntryID) -> Pieces | None:
        """Return the snapshot that ends at ``last``, if it is durable."""
        return next((pieces for kept, pieces in self.snapshots if kept.last == last), None)

    def keep(self, metadata: SnapshotMetadata, pieces: Pieces) -> None:
        """Add a snapshot and forget all but the newest two and the one the log rests on."""
        self.snapshots.append((metadata, pieces))
        self.snapshots.sort(key=lambda kept: kept[0].last.index)
        pinned = self.log.snapshot().last
        old = self.snapshots[:-SNAPSHOTS_KEPT]
        self.snapshots[:-SNAPSHOTS_KEPT] = [kept for kept in old if kept[0].last == pinned]


class MemoryDisk:
    """One boot's access to a platter.

    :param clock: the node's own
    :param platter: what is durable
    :param rng: draws how long a save takes, and what a crash leaves
    """

    def __init__(self, clock: IReactorTime, platter: Platter, rng: Random) -> None:
        self._clock = clock
        self._platter = platter
        self._rng = rng
        self._saving: Ready | None = None

    @property
    def log(self) -> MemoryStorage:
        """What is durable."""
        return self._platter.log

    @property
    def snapshot_index(self) -> int:
        """The index of the newest durable snapshot that is part of the log, 0 for none."""
        return self._platter.log.snapshot().last.index

    @property
    def log_bytes(self) -> int:
        """What the kept entries count together."""
        log = self._platter.log
        lo, hi = log.first_index(), log.last_index() + 1
        return sum(entry.size for entry in log.entries(lo, hi, 2**62)) if lo < hi else 0

    def admits(self, bytes_count: int) -> bool:
        """Say whether there is room for a proposal."""
        return bytes_count > 0 and not self._platter.full

    def save(self, ready: Ready) -> Deferred[None]:
        """Make one batch durable, a little later."""
        assert self._saving is None, "one save at a time"
        if self._platter.fails:
            return fail(StorageError("fsync: input/output error"))
        self._saving = ready
        done: Deferred[None] = Deferred()
        self._later(self._saved, ready, done)
        return done

    def crash(self) -> None:
        """Lose the batch being saved, or keep it, as chance has it."""
        if self._saving is not None and self._rng.random() < 0.5:
            self._write(self._saving)
        self._saving = None

    def _later(self, then: Callable[..., None], *arguments: object) -> None:
        delay_s = self._rng.uniform(self._platter.save_min_s, self._platter.save_max_s)
        self._clock.callLater(delay_s, then, *arguments)

    def _saved(self, ready: Ready, done: Deferred[None]) -> None:
        if self._platter.hangs:
            self._clock.callLater(HUNG_S, self._saved, ready, done)
            return
        self._saving = None
        self._write(ready)
        done.callback(None)

    def _write(self, ready: Ready) -> None:
        log = self._platter.log
        if ready.snapshot is not None:
            assert self._platter.find(ready.snapshot.last) is not None, "the file comes first"
            log.apply_snapshot(ready.snapshot)
        if ready.hard_state is not None:
            log.set_hard_state(ready.hard_state)
        log.append(ready.entries)

    # -- snapshots ----------------------------------------------------------------------------

    def create_snapshot(self, metadata: SnapshotMetadata) -> MemorySnapshotWriter:
        """Begin to write a snapshot."""
        return MemorySnapshotWriter(metadata, self._platter, self._later)

    def open_snapshot(self, last: EntryID) -> Deferred[MemorySnapshotReader]:
        """Begin to read a snapshot."""
        pieces = self._platter.find(last)
        if pieces is None:
            return fail(Compacted(f"there is no snapshot at {last}"))
        return succeed(MemorySnapshotReader(self._platter.log.snapshot(), list(pieces)))

    def compact(self) -> Deferred[bool]:
        """Drop the log up to the older of the two snapshots."""
        indexes = [kept.last.index for kept, _ in self._platter.snapshots]
        behind = [index for index in indexes if index < self.snapshot_index]
        if behind:
            self._platter.log.compact(behind[-1])
        return succeed(False)


class MemorySnapshotWriter:
    """A snapshot on its way to a platter."""

    def __init__(
        self, metadata: SnapshotMetadata, platter: Platter, later: Callable[..., None]
    ) -> None:
        self._metadata = metadata
        self._platter = platter
        self._later = later
        self._pieces: Pieces = []

    def write(self, section: str, chunk: bytes) -> Deferred[None]:
        """Append a chunk."""
        self._pieces.append((section, bytes(chunk)))
        done: Deferred[None] = Deferred()
        self._later(done.callback, None)
        return done

    def commit(self) -> Deferred[None]:
        """Make it durable, a little later."""
        done: Deferred[None] = Deferred()
        self._later(self._commit, done)
        return done

    def abort(self) -> Deferred[None]:
        """Forget it."""
        self._pieces.clear()
        return succeed(None)

    def _commit(self, done: Deferred[None]) -> None:
        self._platter.log.create_snapshot(self._metadata)
        self._platter.keep(self._metadata, self._pieces)
        done.callback(None)


class MemorySnapshotReader:
    """A snapshot being read."""

    def __init__(self, metadata: SnapshotMetadata, pieces: Pieces) -> None:
        self.metadata = metadata
        self._pieces = pieces

    def read(self) -> Deferred[tuple[str, bytes] | None]:
        """Return the next chunk."""
        return succeed(self._pieces.pop(0) if self._pieces else None)

    def close(self) -> None:
        """Let go of it."""
        self._pieces = []
