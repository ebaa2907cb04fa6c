from __future__ import annotations

from random import Random

import pytest

from raftdb.errors import Compacted
from raftdb.peer.snapshot_sender import SnapshotFiles
from raftdb.raft.ready import Ready
from raftdb.raft.types import (
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    Entry,
    EntryID,
    HardState,
)
from raftdb.replica.seams import Storage
from raftdb.simulation.disk.storage_fixture import (
    CONF_STATE,
    IDENTITY,
    SMALL_LIMITS,
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


@pytest.fixture
def bench() -> StorageFixture:
    return StorageFixture(Random(1))


class TestTheSeam:
    """Replica asks for a protocol and never imports this package."""

    def test_fits_by_shape(self, bench: StorageFixture) -> None:
        """The type checker is the test."""
        durable = bench.begin()
        storage: Storage = durable
        files: SnapshotFiles = durable
        assert storage.snapshot_index == 0
        assert files is durable


class TestWhatIsSaved:
    """A save that fired is there after anything that may happen to the machine."""

    def test_survives_a_power_loss(self, bench: StorageFixture) -> None:
        """Term, vote, commit and entries, NULs and changes included, come back as they were."""
        change = ConfChange((ConfChangeSingle(ConfChangeKind.ADD_VOTER, IDENTITY.member),))
        entries = (Entry(3, 1, b"\0" * 2000), Entry(3, 2, b"", change), Entry(3, 3))
        save(bench.begin(), entries, term=3, commit=2)
        storage = bench.power_cycle()
        assert log_of(storage) == entries
        assert storage.log.initial_state()[0] == HardState(3, IDENTITY.member, 2)

    def test_shows_in_the_log_at_once(self, bench: StorageFixture) -> None:
        """When the Deferred fires, readers see the entries, and their bytes are counted."""
        storage = bench.begin()
        entries = entries_of(1, b"a", b"bc")
        save(storage, entries, term=1)
        assert log_of(storage) == entries
        assert storage.log_bytes == sum(entry.size for entry in entries)

    def test_replaces_what_conflicts(self, bench: StorageFixture) -> None:
        """An append at or below the last index cuts the log back, in memory and at recovery."""
        storage = bench.begin()
        save(storage, entries_of(1, b"a", b"b", b"c", b"d"))
        save(storage, entries_of(3, b"C", term=2), term=2)
        expected = (*entries_of(1, b"a", b"b"), *entries_of(3, b"C", term=2))
        assert log_of(storage) == expected
        assert storage.log_bytes == sum(entry.size for entry in expected)
        storage = bench.power_cycle()
        assert log_of(storage) == expected
        assert storage.log_bytes == sum(entry.size for entry in expected)

    def test_visits_no_disk_for_messages_alone(self, bench: StorageFixture) -> None:
        """A Ready without anything to keep costs nothing."""
        storage = bench.begin()
        bench.disk.broken = True
        outcome(storage.save(Ready()))

    def test_spans_segments(self, bench: StorageFixture) -> None:
        """A log over many segments comes back whole, also when a batch is larger than one."""
        storage = bench.begin()
        fill_log(storage, 1, 40, size=700)
        save(storage, entries_of(41, b"\0" * 30_000), commit=40)
        fill_log(storage, 42, 50)
        before = log_of(storage)
        assert len(bench.segments()) > 4
        assert log_of(bench.power_cycle()) == before


class TestCompaction:
    """The log is bounded by the older of two snapshots."""

    def test_keeps_the_log_from_the_older_snapshot(self, bench: StorageFixture) -> None:
        """Segments before it go, and the node comes back with what is left."""
        storage = bench.begin()
        fill_log(storage, 1, 40)
        take_snapshot(storage, 20)
        outcome(storage.compact())
        assert storage.log.first_index() == 1
        take_snapshot(storage, 30)
        outcome(storage.compact())
        assert storage.log.first_index() == 21
        assert storage.log_bytes == sum(entry.size for entry in log_of(storage))
        kept = log_of(storage)
        assert bench.segments()[0] != f"{bench.path}/wal/{1:016d}.log"
        storage = bench.power_cycle()
        # The first segment that is kept may begin a little earlier.
        assert log_of(storage)[-len(kept) :] == kept
        assert storage.log.first_index() > 10
        assert storage.snapshot_index == 30
        assert storage.log.snapshot() == metadata_at(30)
        assert storage.log.initial_state()[1] == CONF_STATE

    def test_a_long_log_is_dropped_in_slices(self) -> None:
        """No call drops more than its budget, by entries or by bytes; the last one says so."""
        for limits in (
            SMALL_LIMITS._replace(drop_entries=10),
            SMALL_LIMITS._replace(drop_bytes=10 * entries_of(1, b"x" * 100)[0].size),
        ):
            bench = StorageFixture(Random(1), limits=limits)
            storage = bench.begin()
            fill_log(storage, 1, 40)
            take_snapshot(storage, 25)
            take_snapshot(storage, 40)
            firsts = [storage.log.first_index()]
            while outcome(storage.compact()):
                firsts.append(storage.log.first_index())
            firsts.append(storage.log.first_index())
            assert firsts == [1, 11, 21, 26]
            assert storage.log_bytes == sum(entry.size for entry in log_of(storage))
            kept = log_of(storage)
            assert log_of(bench.power_cycle())[-len(kept) :] == kept

    def test_nothing_is_dropped_after_the_end(self, bench: StorageFixture) -> None:
        """The next process may be reading the files that a late compaction would delete."""
        storage = bench.begin()
        fill_log(storage, 1, 40)
        take_snapshot(storage, 20)
        take_snapshot(storage, 30)
        outcome(storage.close())
        before = bench.segments()
        assert not outcome(storage.compact())
        assert bench.segments() == before

    def test_the_vote_outlives_its_segment(self, bench: StorageFixture) -> None:
        """Each segment repeats the hard state, so deleting the one that held it loses nothing."""
        storage = bench.begin()
        save(storage, term=7, vote=IDENTITY.member)
        for index in range(1, 41):
            ready = Ready(None, entries_of(index, b"x" * 100))
            outcome(storage.save(ready))
        take_snapshot(storage, 30)
        take_snapshot(storage, 40)
        outcome(storage.compact())
        assert bench.segments()[0] != f"{bench.path}/wal/{1:016d}.log"
        hard_state, _ = bench.power_cycle().log.initial_state()
        assert (hard_state.term, hard_state.vote) == (7, IDENTITY.member)

    def test_only_two_snapshots_are_kept(self, bench: StorageFixture) -> None:
        """A third pushes out the first."""
        storage = bench.begin()
        fill_log(storage, 1, 40)
        for index in (10, 20, 30):
            take_snapshot(storage, index)
        assert [name[:16] for name in bench.snapshot_names()] == [f"{20:016d}", f"{30:016d}"]
        assert read_snapshot(storage, EntryID(1, 20)) == sections_at(20)
        with pytest.raises(Compacted):
            storage.open_snapshot(EntryID(1, 10))


class TestInstallingASnapshot:
    """A snapshot from a peer replaces the log."""

    def test_replaces_log_and_state(self, bench: StorageFixture) -> None:
        """Afterwards the log begins behind it, now and after a power loss."""
        leader = StorageFixture(Random(2)).begin()
        fill_log(leader, 1, 50)
        take_snapshot(leader, 50)
        storage = bench.begin()
        fill_log(storage, 1, 10)
        send_snapshot(leader, EntryID(1, 50), storage)
        assert storage.snapshot_index == 0
        save(storage, commit=50, snapshot=metadata_at(50))
        assert storage.snapshot_index == 50
        assert (storage.log.first_index(), storage.log.last_index()) == (51, 50)
        assert storage.log_bytes == 0
        save(storage, entries_of(51, b"after"), commit=50)
        storage = bench.power_cycle()
        assert log_of(storage) == entries_of(51, b"after")
        assert read_snapshot(storage, EntryID(1, 50)) == sections_at(50)
