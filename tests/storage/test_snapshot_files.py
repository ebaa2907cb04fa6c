from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random
from typing import TypeVar

import pytest
from twisted.internet.defer import Deferred

from raftdb.disk.work import run_here
from raftdb.errors import Compacted, Corrupt, LocalProtocolError, RemoteProtocolError, StorageError
from raftdb.raft.ready import Ready
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
from raftdb.storage import DataDirectory, DurableStorage, Identity
from raftdb.storage.snapshots import received_name, snapshot_name

T = TypeVar("T")


@pytest.fixture
def bench() -> StorageFixture:
    return StorageFixture(Random(1))


@pytest.fixture
def storage(bench: StorageFixture) -> DurableStorage:
    storage = bench.begin()
    fill_log(storage, 1, 40)
    return storage


def leader_at(index: int, seed: int = 9) -> DurableStorage:
    leader = StorageFixture(Random(seed)).begin()
    fill_log(leader, 1, index)
    take_snapshot(leader, index)
    return leader


def image_of(leader: DurableStorage, index: int) -> bytes:
    source = outcome(leader.open_snapshot_file(EntryID(1, index)))
    image = outcome(source.read_at(0, source.size))
    source.close()
    return image


class TestWriting:
    """A snapshot is there when it is committed, and no earlier."""

    def test_comes_back_as_it_was_written(self, storage: DurableStorage) -> None:
        """Sections and chunks in their order, with the configuration."""
        take_snapshot(storage, 20)
        reader = outcome(storage.open_snapshot(EntryID(1, 20)))
        assert reader.metadata == metadata_at(20)
        reader.close()
        assert read_snapshot(storage, EntryID(1, 20)) == sections_at(20)

    def test_an_aborted_one_leaves_nothing(
        self, bench: StorageFixture, storage: DurableStorage
    ) -> None:
        """Neither a file nor a name."""
        writer = storage.create_snapshot(metadata_at(20))
        outcome(writer.write("kv", b"half"))
        assert len(bench.snapshot_names()) == 1
        outcome(writer.abort())
        assert bench.snapshot_names() == []
        assert storage.snapshot_index == 0

    def test_sections_are_never_mixed(self, storage: DurableStorage) -> None:
        """Coming back to a section is a bug of the caller."""
        writer = storage.create_snapshot(metadata_at(20))
        outcome(writer.write("a", b"1"))
        outcome(writer.write("b", b"2"))
        with pytest.raises(LocalProtocolError):
            outcome(writer.write("a", b"3"))

    def test_a_full_disk_gives_up_the_snapshot_only(
        self, bench: StorageFixture, storage: DurableStorage
    ) -> None:
        """The log goes on, and nothing half remains."""
        bench.disk.capacity_bytes = 0
        writer = storage.create_snapshot(metadata_at(20))
        with pytest.raises(OSError, match="full") as caught:
            outcome(writer.write("kv", b"x"))
        assert caught.value.errno == errno.ENOSPC
        outcome(writer.abort())
        assert bench.snapshot_names() == []
        save(storage, entries_of(41, b"y"))

    def test_an_older_one_than_what_was_installed_meanwhile_is_dropped(
        self, bench: StorageFixture, storage: DurableStorage
    ) -> None:
        """It would be a step back."""
        writer = storage.create_snapshot(metadata_at(20))
        outcome(writer.write("kv", b"x"))
        send_snapshot(leader_at(60), EntryID(1, 60), storage)
        save(storage, commit=60, snapshot=metadata_at(60))
        outcome(writer.commit())
        assert bench.snapshot_names() == [snapshot_name(EntryID(1, 60))]
        assert storage.snapshot_index == 60


class TestReading:
    """To go to the filler and back costs as much as to take a chunk in."""

    def test_brings_many_chunks_at_a_time(
        self, bench: StorageFixture, storage: DurableStorage
    ) -> None:
        """About a mebibyte in one piece of work, in order, and the end with them."""
        chunks = [("kv", bytes((number,)) * 100_000) for number in range(25)]
        writer = storage.create_snapshot(metadata_at(20))
        for section, chunk in chunks:
            outcome(writer.write(section, chunk))
        outcome(writer.commit())
        bench.disk.kill_process()
        trips: list[None] = []

        def fill(work: Callable[[], T], /) -> Deferred[T]:
            trips.append(None)
            return run_here(work)

        directory = DataDirectory.open(bench.files, bench.path)
        storage = directory.recover(run=run_here, fill=fill, crash=print, limits=bench.limits)
        trips.clear()
        assert read_snapshot(storage, EntryID(1, 20)) == chunks
        assert len(trips) == 1 + 3 + 2, "to open it, to read it, to close it and clean up"


class TestDamage:
    """A snapshot is checked when it is read; what is damaged is not loaded."""

    def test_every_flipped_bit_is_found(
        self, bench: StorageFixture, storage: DurableStorage
    ) -> None:
        """At the start, if it is in the first bytes, or when that frame is read."""
        take_snapshot(storage, 5)
        path = f"{bench.path}/snapshots/{bench.snapshot_names()[0]}"
        size = len(bench.disk.contents(path))
        for bit in [*range(0, 2400, 3), *range(2400, size * 8, 17)]:
            bench.disk.flip(path, bit)
            with pytest.raises((Corrupt, StorageError)):
                read_snapshot(storage, EntryID(1, 5))
            bench.disk.flip(path, bit)
        assert read_snapshot(storage, EntryID(1, 5)) == sections_at(5)

    @pytest.mark.parametrize("cut", [1, 30, 1000])
    def test_a_file_that_ends_too_early_or_too_late(
        self, bench: StorageFixture, storage: DurableStorage, cut: int
    ) -> None:
        """The end is a frame of its own, and the last thing in the file."""
        take_snapshot(storage, 5)
        path = f"{bench.path}/snapshots/{bench.snapshot_names()[0]}"
        content = bench.disk.contents(path)
        for damaged in (content[:-cut], content + bytes(cut)):
            bench.disk.overwrite(path, damaged)
            with pytest.raises(Corrupt):
                read_snapshot(storage, EntryID(1, 5))

    def test_damaged_first_bytes_refuse_to_start(
        self, bench: StorageFixture, storage: DurableStorage
    ) -> None:
        """The state would be missing."""
        take_snapshot(storage, 5)
        path = f"{bench.path}/snapshots/{bench.snapshot_names()[0]}"
        bench.disk.flip(path, 100)
        with pytest.raises(Corrupt) as caught:
            bench.restart()
        assert caught.value.path == path

    def test_a_missing_one_refuses_to_start(
        self, bench: StorageFixture, storage: DurableStorage
    ) -> None:
        """Where the log begins behind it nothing else holds the state."""
        take_snapshot(storage, 20)
        take_snapshot(storage, 30)
        outcome(storage.compact())
        for name in bench.snapshot_names():
            bench.disk.unlink(f"{bench.path}/snapshots/{name}")
        with pytest.raises(Corrupt, match="no snapshot reaches it"):
            bench.restart()

    def test_one_of_another_cluster_refuses_to_start(
        self, bench: StorageFixture, storage: DurableStorage
    ) -> None:
        """Somebody copied a file from elsewhere."""
        take_snapshot(storage, 20)
        other = Identity(IDENTITY.id, IDENTITY.incarnation, 99)
        foreign = StorageFixture(Random(4), identity=other)
        elsewhere = foreign.begin()
        fill_log(elsewhere, 1, 20)
        take_snapshot(elsewhere, 20)
        name = bench.snapshot_names()[0]
        content = foreign.disk.contents(f"{foreign.path}/snapshots/{name}")
        bench.disk.overwrite(f"{bench.path}/snapshots/{name}", content)
        with pytest.raises(StorageError, match="cluster"):
            bench.restart()

    def test_one_under_another_name_refuses_to_start(
        self, bench: StorageFixture, storage: DurableStorage
    ) -> None:
        """The name and the content have to agree."""
        take_snapshot(storage, 20)
        directory = f"{bench.path}/snapshots"
        bench.disk.rename(
            f"{directory}/{snapshot_name(EntryID(1, 20))}",
            f"{directory}/{snapshot_name(EntryID(1, 21))}",
        )
        with pytest.raises(StorageError):
            bench.restart()


class TestPins:
    """What is being read stays until it is let go."""

    def test_a_streamed_snapshot_is_not_deleted(
        self, bench: StorageFixture, storage: DurableStorage
    ) -> None:
        """Its file stays readable, and the log behind it stays for whoever receives it."""
        take_snapshot(storage, 10)
        source = outcome(storage.open_snapshot_file(EntryID(1, 10)))
        for index in (20, 30):
            take_snapshot(storage, index)
        outcome(storage.compact())
        assert storage.log.first_index() == 11
        assert len(outcome(source.read_at(0, 10**6))) == source.size
        assert snapshot_name(EntryID(1, 10)) in bench.snapshot_names()
        source.close()
        source.close()
        assert snapshot_name(EntryID(1, 10)) not in bench.snapshot_names()
        outcome(storage.compact())
        assert storage.log.first_index() == 21

    def test_a_file_that_cannot_be_opened_is_not_pinned(
        self, bench: StorageFixture, storage: DurableStorage
    ) -> None:
        """A failure leaves no trace in the bookkeeping."""
        take_snapshot(storage, 10)
        path = f"{bench.path}/snapshots/{snapshot_name(EntryID(1, 10))}"
        bench.disk.flip(path, 3)
        with pytest.raises(Corrupt):
            outcome(storage.open_snapshot(EntryID(1, 10)))
        for index in (20, 30):
            take_snapshot(storage, index)
        assert snapshot_name(EntryID(1, 10)) not in bench.snapshot_names()


class TestReceiving:
    """What a peer sends is believed when every checksum is right."""

    def test_is_only_a_candidate_until_it_is_installed(
        self, bench: StorageFixture, storage: DurableStorage
    ) -> None:
        """A restart before the log has taken it leaves the old state, and removes the file."""
        before = log_of(storage)
        send_snapshot(leader_at(60), EntryID(1, 60), storage)
        assert storage.snapshot_index == 0
        with pytest.raises(Compacted):
            storage.open_snapshot(EntryID(1, 60))
        storage = bench.power_cycle()
        assert log_of(storage) == before
        assert storage.snapshot_index == 0
        assert bench.snapshot_names() == []

    def test_a_second_candidate_replaces_the_first(
        self, bench: StorageFixture, storage: DurableStorage
    ) -> None:
        """At most one waits, so that a peer cannot fill the disk."""
        for index in (60, 70):
            send_snapshot(leader_at(index), EntryID(1, index), storage)
        assert bench.snapshot_names() == [received_name(EntryID(1, 70))]

    def test_a_candidate_left_behind_by_an_own_snapshot_goes(
        self, bench: StorageFixture, storage: DurableStorage
    ) -> None:
        """The core has caught up in another way."""
        send_snapshot(leader_at(45), EntryID(1, 45), storage)
        fill_log(storage, 41, 50)
        take_snapshot(storage, 50)
        assert bench.snapshot_names() == [snapshot_name(EntryID(1, 50))]

    def test_installing_what_was_never_received_fails(self, storage: DurableStorage) -> None:
        """The log must not begin behind a file that is not there."""
        with pytest.raises(StorageError):
            outcome(storage.save(Ready(HardState(1, None, 60), (), metadata_at(60))))

    def test_every_byte_is_verified(self, bench: StorageFixture, storage: DurableStorage) -> None:
        """Damage on the way is found at the commit, and nothing is left behind."""
        image = image_of(leader_at(50), 50)
        for at in range(0, len(image), 97):
            damaged = bytearray(image)
            damaged[at] ^= 16
            receiver = storage.receive_snapshot(metadata_at(50), len(image))
            outcome(receiver.write(0, bytes(damaged)))
            with pytest.raises(RemoteProtocolError):
                outcome(receiver.commit())
            outcome(receiver.abort())
        assert bench.snapshot_names() == []

    def test_must_be_what_was_announced(self, storage: DurableStorage) -> None:
        """Another place in the log, or another cluster, is refused."""
        image = image_of(leader_at(50), 50)
        receiver = storage.receive_snapshot(metadata_at(51), len(image))
        outcome(receiver.write(0, image))
        with pytest.raises(RemoteProtocolError, match="unusable"):
            outcome(receiver.commit())
        other = StorageFixture(Random(3), identity=Identity("n1", 5, 99)).begin()
        receiver = other.receive_snapshot(metadata_at(50), len(image))
        outcome(receiver.write(0, image))
        with pytest.raises(RemoteProtocolError, match="cluster"):
            outcome(receiver.commit())

    @pytest.mark.parametrize(("offset", "size"), [(1, 10), (0, 11), (5, 10)])
    def test_bytes_come_in_order_and_within_the_size(
        self, storage: DurableStorage, offset: int, size: int
    ) -> None:
        """A gap, or a byte too many, is refused before it is written."""
        receiver = storage.receive_snapshot(metadata_at(50), 10)
        with pytest.raises(RemoteProtocolError):
            outcome(receiver.write(offset, b"x" * size))

    def test_one_that_ends_too_early_is_refused(self, storage: DurableStorage) -> None:
        """All announced bytes must have come."""
        receiver = storage.receive_snapshot(metadata_at(50), 10)
        outcome(receiver.write(0, b"x" * 9))
        with pytest.raises(RemoteProtocolError, match="9 of 10"):
            outcome(receiver.commit())

    def test_the_same_place_in_the_log_again(
        self, bench: StorageFixture, storage: DurableStorage
    ) -> None:
        """A snapshot that is kept already is no candidate."""
        take_snapshot(storage, 40)
        send_snapshot(leader_at(40), EntryID(1, 40), storage)
        assert bench.snapshot_names() == [snapshot_name(EntryID(1, 40))]
        assert storage.snapshot_index == 40
