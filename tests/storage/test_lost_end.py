"""A log whose end is missing: whatever else on the disk proves it is held against the log [R26]."""

from __future__ import annotations

import contextlib
from random import Random

import pytest

from raftdb.disk.failpoints import FailpointFileSystem
from raftdb.errors import Corrupt
from raftdb.raft.types import EntryID, HardState
from raftdb.simulation.disk.storage_fixture import (
    IDENTITY,
    StorageFixture,
    entries_of,
    fill_log,
    log_of,
    metadata_at,
    outcome,
    read_snapshot,
    save,
    sections_at,
    send_snapshot,
    take_snapshot,
)
from raftdb.storage import DurableStorage
from raftdb.storage.record import Record
from raftdb.storage.segment import mark_name
from raftdb.storage.snapshots import received_name, snapshot_name


@pytest.fixture
def bench() -> StorageFixture:
    return StorageFixture(Random(1))


def marks_of(bench: StorageFixture) -> list[str]:
    return [name for name in bench.disk.list(f"{bench.path}/wal") if name.endswith(".begun")]


def without_mark(bench: StorageFixture) -> None:
    """Remove the mark, so that the other witnesses speak alone."""
    for name in marks_of(bench):
        bench.disk.unlink(f"{bench.path}/wal/{name}")


def files_of(bench: StorageFixture) -> dict[str, bytes]:
    folders = (f"{bench.path}/wal", f"{bench.path}/snapshots")
    return {
        f"{folder}/{name}": bench.disk.contents(f"{folder}/{name}")
        for folder in folders
        for name in bench.disk.list(folder)
    }


class TestTheLastSegment:
    """Of segments that are whole, the last one is gone: a log of earlier."""

    @pytest.mark.parametrize("lost", [1, 2, 3])
    def test_is_missed_by_the_mark(self, bench: StorageFixture, lost: int) -> None:
        """With or without a snapshot; the file is named, and nothing is changed."""
        storage = bench.begin()
        fill_log(storage, 1, 60)
        outcome(storage.close())
        missing = bench.segments()[-lost:]
        assert len(bench.segments()) > lost
        for path in missing:
            bench.disk.unlink(path)
        before = files_of(bench)
        with pytest.raises(Corrupt, match="this segment of the log is missing") as caught:
            bench.recover()
        assert caught.value.path == missing[-1]
        assert "Move the data directory away" in str(caught.value)
        assert files_of(bench) == before

    def test_is_missed_by_a_snapshot_of_the_own_state(self, bench: StorageFixture) -> None:
        """What the snapshot holds was acknowledged; it is not deleted as if it were nobody's."""
        storage = bench.begin()
        fill_log(storage, 1, 60)
        take_snapshot(storage, 20)
        take_snapshot(storage, 59)
        outcome(storage.close())
        without_mark(bench)
        bench.disk.unlink(bench.segments()[-1])
        before = files_of(bench)
        with pytest.raises(Corrupt, match="the end of the log is missing") as caught:
            bench.recover()
        assert "(1, 59)" in str(caught.value) or "index=59" in str(caught.value)
        assert caught.value.path == bench.segments()[-1]
        assert files_of(bench) == before

    def test_is_missed_by_a_snapshot_that_was_installed(self, bench: StorageFixture) -> None:
        """Once the log has taken it, it is one of the own state."""
        storage = bench.begin()
        fill_log(storage, 1, 40)
        send_snapshot(_leader(), EntryID(1, 60), storage)
        save(storage, commit=60, snapshot=metadata_at(60))
        assert bench.snapshot_names() == [snapshot_name(EntryID(1, 60))]
        outcome(storage.close())
        without_mark(bench)
        bench.disk.unlink(bench.segments()[-1])
        with pytest.raises(Corrupt, match="the end of the log is missing"):
            bench.recover()

    def test_another_history_at_the_snapshot(self, bench: StorageFixture) -> None:
        """An older image of the log with other entries is no log of this state, however long."""
        storage = bench.begin()
        fill_log(storage, 1, 10)
        take_snapshot(storage, 8)
        directory = f"{bench.path}/snapshots"
        other = _leader(8, term=2)
        outcome(storage.close())
        (name,) = bench.snapshot_names()
        bench.disk.unlink(f"{directory}/{name}")
        source = outcome(other.open_snapshot_file(EntryID(2, 8)))
        image = outcome(source.read_at(0, source.size))
        bench.disk.open(f"{directory}/{snapshot_name(EntryID(2, 8))}", create=True).write_at(
            0, image
        )
        with pytest.raises(Corrupt, match="the end of the log is missing"):
            bench.recover()


class TestTheHardState:
    """What is committed is in the log, whatever the files say."""

    @pytest.mark.parametrize("state", [HardState(1, None, 4), HardState(0, None, 0)])
    def test_does_not_go_beyond_the_log(self, bench: StorageFixture, state: HardState) -> None:
        """Neither a commit behind its end, nor an end of a later term."""
        storage = bench.begin()
        save(storage, entries_of(1, b"a", b"b", b"c"))
        storage._wal.append(Record(state))()
        with pytest.raises(Corrupt, match="does not fit the node's state"):
            bench.restart()


class TestWhatProvesNothing:
    """A node that lost nothing starts, wherever it was interrupted."""

    def test_a_snapshot_received_and_not_installed(self, bench: StorageFixture) -> None:
        """It goes beyond the log for that it is a peer's; it is deleted."""
        storage = bench.begin()
        fill_log(storage, 1, 40)
        send_snapshot(_leader(), EntryID(1, 60), storage)
        assert bench.snapshot_names() == [received_name(EntryID(1, 60))]
        assert bench.power_cycle().log.last_index() == 40
        assert bench.snapshot_names() == []

    @pytest.mark.parametrize("point", ["before rename received", "after rename received"])
    @pytest.mark.parametrize("seed", range(6))
    def test_a_snapshot_installed_that_has_no_name_yet(self, seed: int, point: str) -> None:
        """The batch says that it is installed; whoever starts gives it its name, and keeps it."""
        armed: list[str] = []

        def die(at: str) -> None:
            if at in armed:
                raise KeyboardInterrupt

        bench = StorageFixture(Random(seed), wrap=lambda disk: FailpointFileSystem(disk, die))
        storage = bench.begin()
        fill_log(storage, 1, 40)
        send_snapshot(_leader(), EntryID(1, 60), storage)
        armed.append(point)
        save(storage, commit=60, snapshot=metadata_at(60))
        armed.clear()
        storage = bench.power_cycle()
        assert bench.snapshot_names() == [snapshot_name(EntryID(1, 60))]
        assert read_snapshot(storage, EntryID(1, 60)) == sections_at(60)
        bench.disk.lose_power()
        assert bench.recover().snapshot_index == 60

    def test_one_received_that_the_log_has_reached_by_itself(self, bench: StorageFixture) -> None:
        """Its state is the own one by now, and is kept as such."""
        storage = bench.begin()
        fill_log(storage, 1, 40)
        send_snapshot(_leader(45), EntryID(1, 45), storage)
        fill_log(storage, 41, 50)
        storage = bench.power_cycle()
        assert storage.snapshot_index == 45
        assert bench.snapshot_names() == [snapshot_name(EntryID(1, 45))]
        assert bench.power_cycle().log.last_index() == 50

    def test_older_snapshots_than_where_the_log_begins(self, bench: StorageFixture) -> None:
        """A snapshot that was installed replaces the log, and what was before it."""
        storage = bench.begin()
        fill_log(storage, 1, 40)
        take_snapshot(storage, 30)
        send_snapshot(_leader(), EntryID(1, 60), storage)
        save(storage, commit=60, snapshot=metadata_at(60))
        assert len(bench.snapshot_names()) == 2
        assert bench.power_cycle().snapshot_index == 60

    @pytest.mark.parametrize("step", ["rename spare", "fsync_dir wal", "rename begun"])
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_a_segment_just_begun(self, when: str, step: str) -> None:
        """The mark follows the segment's name, and never goes before it, whatever the disk keeps."""
        for seed in range(12):
            for skip in range(4):
                _cut_short(f"{when} {step}", Random(100 * seed + skip), skip)


class TestTheMark:
    """It costs nothing but a name."""

    def test_is_there_from_the_beginning(self, bench: StorageFixture) -> None:
        """And names the last segment, after each of them and after a power loss."""
        storage = bench.begin()
        assert marks_of(bench) == [mark_name(1)]
        fill_log(storage, 1, 60)
        assert marks_of(bench) == [mark_name(len(bench.segments()))]
        bench.power_cycle()
        assert marks_of(bench) == [mark_name(len(bench.segments()))]

    def test_is_made_where_an_older_program_made_none(self, bench: StorageFixture) -> None:
        """From the next start on the end of that log is watched, too."""
        storage = bench.begin()
        fill_log(storage, 1, 60)
        without_mark(bench)
        bench.restart()
        assert marks_of(bench) == [mark_name(len(bench.segments()))]

    def test_of_an_earlier_segment_follows(self, bench: StorageFixture) -> None:
        """The process died between the segment and its mark."""
        storage = bench.begin()
        fill_log(storage, 1, 60)
        (mark,) = marks_of(bench)
        bench.disk.rename(f"{bench.path}/wal/{mark}", f"{bench.path}/wal/{mark_name(1)}")
        bench.restart()
        assert marks_of(bench) == [mark]


def _leader(index: int = 60, *, term: int = 1) -> DurableStorage:
    storage = StorageFixture(Random(77), identity=IDENTITY).begin()
    for at in range(1, index + 1):
        save(storage, entries_of(at, b"x", term=term), term=term, commit=at)
    take_snapshot(storage, index, term=term)
    return storage


def _cut_short(point: str, rng: Random, skip: int) -> None:
    """Lose the power at the so-manieth coming to a step; nothing acknowledged may be missing."""
    armed: list[str] = []

    def die(at: str) -> None:
        if at in armed:
            armed.append(at)
            if len(armed) > skip + 1:
                raise KeyboardInterrupt

    bench = StorageFixture(rng, wrap=lambda disk: FailpointFileSystem(disk, die))
    storage = bench.begin()
    armed.append(point)
    acknowledged = 0
    with contextlib.suppress(KeyboardInterrupt):
        while acknowledged < 200:
            fill_log(storage, acknowledged + 1, acknowledged + 1)
            acknowledged += 1
    assert acknowledged < 200
    armed.clear()
    assert len(log_of(bench.power_cycle())) >= acknowledged
