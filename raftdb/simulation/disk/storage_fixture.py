"""Storage on a lossy disk, with short words to exercise it: for tests, no part of a cluster.

Everything happens at once and in the caller's thread; a failure is raised where it happens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from raftdb.raft.ready import Ready
from raftdb.raft.types import (
    ConfState,
    Entry,
    EntryID,
    HardState,
    MemberID,
    SnapshotMetadata,
)
from raftdb.simulation.disk.lossy_disk import LossyDisk
from raftdb.storage import (
    DataDirectory,
    DurableStorage,
    FileSystem,
    Identity,
    StorageLimits,
    run_here,
)

T = TypeVar("T")

IDENTITY = Identity("n1", 2**127 + 5, 2**100 + 7)
CONF_STATE = ConfState(voters=(IDENTITY.member,))
SMALL_LIMITS = StorageLimits(
    segment_bytes=4096 + 16 * 512,
    spare_segments=1,
    reserve_bytes=1024,
    free_bytes_min=0,
    slice_bytes=1000,
    sync_bytes=1000,
)
"""Segments of 16 sectors, so that a handful of entries fills several."""


class StorageFixture:
    """One machine with one data directory.

    :param rng: decides what a power loss takes, and draws the salts
    :param wrap: puts something between storage and the disk
    :param identity: whose directory it is
    """

    path = "/data/n1"

    def __init__(
        self,
        rng: Random,
        *,
        limits: StorageLimits = SMALL_LIMITS,
        wrap: Callable[[LossyDisk], FileSystem] | None = None,
        identity: Identity = IDENTITY,
    ) -> None:
        self.disk = LossyDisk(rng)
        self.files: FileSystem = self.disk if wrap is None else wrap(self.disk)
        self.limits = limits
        self.identity = identity
        self.crashes: list[Failure] = []
        """What would have ended the process."""
        self._entropy = Random(rng.random()).randbytes

    def create(self, hard_state: HardState | None = None, entries: Sequence[Entry] = ()) -> None:
        """Make the data directory."""
        directory = DataDirectory.open(self.files, self.path)
        try:
            directory.create(
                self.identity,
                hard_state=hard_state,
                entries=entries,
                limits=self.limits,
                entropy=self._entropy,
            )
        finally:
            directory.close()

    def recover(self) -> DurableStorage:
        """Open the data directory as a start does; where that fails the lock is given back."""
        directory = DataDirectory.open(self.files, self.path)
        try:
            return directory.recover(
                run=run_here,
                fill=run_here,
                crash=self.crashes.append,
                limits=self.limits,
                entropy=self._entropy,
            )
        except BaseException:
            directory.close()
            raise

    def begin(self) -> DurableStorage:
        """Make the data directory and open it."""
        self.create()
        return self.recover()

    def restart(self) -> DurableStorage:
        """Kill the process and start it again; the page cache stays."""
        self.disk.kill_process()
        return self.recover()

    def power_cycle(self) -> DurableStorage:
        """Lose the power and start again."""
        self.disk.lose_power()
        return self.recover()

    def segments(self) -> list[str]:
        """Return the paths of the log's segments, in their order."""
        wal = f"{self.path}/wal"
        return [f"{wal}/{name}" for name in self.disk.list(wal) if name.endswith(".log")]

    def snapshot_names(self) -> list[str]:
        """Return the names of everything in the snapshot directory."""
        return self.disk.list(f"{self.path}/snapshots")


def outcome(deferred: Deferred[T]) -> T:
    """Return what a Deferred has fired with already, or raise what it has failed with."""
    results: list[T] = []
    failures: list[BaseException] = []
    deferred.addCallbacks(results.append, lambda failure: failures.append(failure.value))
    if failures:
        raise failures[0]
    assert results, "nothing has fired yet"
    return results[0]


def entries_of(first: int, *values: bytes, term: int = 1) -> tuple[Entry, ...]:
    """Return consecutive entries of one term with these data."""
    return tuple(Entry(term, first + at, value) for at, value in enumerate(values))


def save(
    storage: DurableStorage,
    entries: Sequence[Entry] = (),
    *,
    term: int = 1,
    commit: int = 0,
    vote: MemberID | None = IDENTITY.member,
    snapshot: SnapshotMetadata | None = None,
) -> None:
    """Save one Ready."""
    hard_state = HardState(term, vote, commit)
    outcome(storage.save(Ready(hard_state, tuple(entries), snapshot)))


def fill_log(storage: DurableStorage, first: int, last: int, *, size: int = 100) -> None:
    """Save entries ``[first, last]``, one in a batch, each committed with the next."""
    for index in range(first, last + 1):
        save(storage, entries_of(index, bytes((index % 251,)) * size), commit=index - 1)


def log_of(storage: DurableStorage) -> tuple[Entry, ...]:
    """Return all entries of the log."""
    log = storage.log
    first, end = log.first_index(), log.last_index() + 1
    return log.entries(first, end, 2**60) if first < end else ()


def metadata_at(index: int, term: int = 1) -> SnapshotMetadata:
    """Return what a snapshot at this place stands for."""
    return SnapshotMetadata(EntryID(term, index), CONF_STATE)


def sections_at(index: int) -> list[tuple[str, bytes]]:
    """Return the content of the snapshots that :func:`take_snapshot` writes."""
    return [
        ("kv", b"\0" * 700),
        ("kv", f"state at {index}".encode() * 50),
        ("members", b"m" * index),
    ]


def take_snapshot(storage: DurableStorage, index: int, term: int = 1) -> None:
    """Write a snapshot of three chunks in two sections."""
    writer = storage.create_snapshot(metadata_at(index, term))
    for section, chunk in sections_at(index):
        outcome(writer.write(section, chunk))
    outcome(writer.commit())


def read_snapshot(storage: DurableStorage, last: EntryID) -> list[tuple[str, bytes]]:
    """Return all sections and chunks of a snapshot."""
    reader = outcome(storage.open_snapshot(last))
    chunks: list[tuple[str, bytes]] = []
    while (chunk := outcome(reader.read())) is not None:
        chunks.append(chunk)
    reader.close()
    return chunks


def send_snapshot(
    source: DurableStorage, last: EntryID, sink: DurableStorage, *, piece_bytes: int = 600
) -> None:
    """Stream a snapshot's file from one storage to another, until it is durable there."""
    opened = outcome(source.open_snapshot_file(last))
    receiver = sink.receive_snapshot(metadata_at(last.index, last.term), opened.size)
    for offset in range(0, opened.size, piece_bytes):
        outcome(receiver.write(offset, outcome(opened.read_at(offset, piece_bytes))))
    outcome(receiver.commit())
    opened.close()
