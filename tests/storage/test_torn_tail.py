"""The judgement of recovery, exhaustively: what is cut, and what refuses to start [R5]."""

from __future__ import annotations

from itertools import combinations
from random import Random
from typing import NamedTuple

import pytest

from raftdb.codec import encode_hard_state
from raftdb.disk.files import SECTOR_BYTES
from raftdb.errors import Corrupt, StorageError
from raftdb.raft.types import Entry, HardState
from raftdb.simulation.disk.lossy_disk import LossyDisk
from raftdb.simulation.disk.storage_fixture import (
    IDENTITY,
    StorageFixture,
    entries_of,
    fill_log,
    log_of,
    outcome,
    save,
)
from raftdb.storage import batch, segment
from raftdb.storage.recovery import read_log

SECTOR = SECTOR_BYTES
OWNER = IDENTITY.owner
Survivors = tuple[tuple[Entry, ...], HardState]


def data_filling(sectors: int, *, short_by: int = 0) -> bytes:
    """Return NULs that make a one-entry batch end so many bytes before its end mark."""
    room = 511 * sectors - 7 - 80
    fixed = 1 + 4 + len(encode_hard_state(HardState(1, IDENTITY.member, 0))) + 4 + 21
    return bytes(room - fixed - short_by)


LAST_BATCHES: dict[str, tuple[Entry, ...]] = {
    "one sector": entries_of(10, b"small"),
    "a vote alone": (),
    "NULs over four sectors": entries_of(10, b"\0" * 1500),
    "NULs over two sectors": entries_of(10, b"\0" * 600),
    "many entries": entries_of(10, *[b"v%d" % at for at in range(40)]),
    "ends exactly at a sector's edge": entries_of(10, data_filling(3)),
    "one byte less than a sector's edge": entries_of(10, data_filling(3, short_by=1)),
    "one byte more than a sector's edge": entries_of(10, data_filling(2) + b"\0"),
    "first of a new segment": entries_of(10, b"\0" * 1500),
    "in a segment of its own size": entries_of(10, b"\0" * 8200),
}


class Scene(NamedTuple):
    """A log whose last batch may be damaged at will."""

    disk: LossyDisk
    path: str
    whole: bytes
    begin: int
    end: int
    before: Survivors
    after: Survivors

    @property
    def sectors(self) -> range:
        return range(self.begin, self.end, SECTOR)

    @property
    def without(self) -> bytes:
        """The segment as it was before the batch was written."""
        return self.whole[: self.begin] + bytes(len(self.whole) - self.begin)

    def read(self, image: bytes) -> Survivors:
        """Return what recovery finds if the last segment holds this."""
        self.disk.overwrite(self.path, image)
        return survivors(self.disk)

    def batches(self) -> list[tuple[int, int]]:
        """Return where the valid batches of the last segment begin and end."""
        header, _ = segment.decode_header(self.whole[: segment.HEADER_BYTES], self.path)
        found = []
        at = segment.HEADER_BYTES
        while (head := batch.read_header(self.whole, at, header.salt)) is not None:
            found.append((at, at + head.extent))
            at += head.extent
        return found


def survivors(disk: LossyDisk) -> Survivors:
    log = read_log(disk, f"{StorageFixture.path}/wal", OWNER)
    return tuple(log.replay.entries), log.replay.hard_state


def scene(shape: str, *, earlier: int = 9) -> Scene:
    """Write entries up to 9, and behind them the last batch of this shape."""
    bench = StorageFixture(Random(3))
    storage = bench.begin()
    save(storage, entries_of(1, *[b"first"] * (10 - earlier)))
    fill_log(storage, 11 - earlier, 9)
    if shape == "first of a new segment":
        while len(bench.segments()) == 1:
            save(storage, commit=9)
            used = len(bench.disk.contents(bench.segments()[0]).rstrip(b"\0"))
            if used == 4096 + 14 * SECTOR:
                break
    before = survivors(bench.disk)
    save(storage, LAST_BATCHES[shape], term=2, commit=9)
    path = bench.segments()[-1]
    whole = bench.disk.contents(path)
    place = Scene(bench.disk, path, whole, 0, 0, before, survivors(bench.disk))
    begin, end = place.batches()[-1]
    return place._replace(begin=begin, end=end)


@pytest.fixture(params=list(LAST_BATCHES), ids=lambda name: name.replace(" ", "-"))
def torn(request: pytest.FixtureRequest) -> Scene:
    return scene(request.param, earlier=2)


@pytest.fixture
def damaged() -> Scene:
    """A last batch of two sectors, most of them NULs."""
    return scene("NULs over two sectors")


class TestATornTailIsCut:
    """What a crash in the middle of the last write can leave is recovered to the state before."""

    def test_at_every_byte(self, torn: Scene) -> None:
        """A write that ended at any byte never happened; one that ended behind the last did.

        (In the one batch that is long, at every seventh byte.)
        """
        rest = bytes(len(torn.whole))
        long = torn.end - torn.begin > 8 * SECTOR
        for cut in range(torn.begin, torn.end, 7 if long else 1):
            image = torn.whole[:cut] + rest[cut:]
            assert torn.read(image) == torn.before, f"cut {cut - torn.begin} bytes in"
        assert torn.read(torn.whole) == torn.after

    def test_with_every_subset_of_sectors_missing(self, torn: Scene) -> None:
        """Sectors reach the disk in any order, so any of them may be missing."""
        sectors = list(torn.sectors)
        sizes = range(1, len(sectors) + 1) if len(sectors) <= 8 else (1, 2, len(sectors))
        for size in sizes:
            for missing in combinations(sectors, size):
                image = bytearray(torn.whole)
                for at in missing:
                    image[at : at + SECTOR] = bytes(SECTOR)
                assert torn.read(bytes(image)) == torn.before, missing

    def test_and_the_node_goes_on(self, torn: Scene) -> None:
        """After a cut the log takes the same place again, and nothing of the torn write returns."""
        image = bytearray(torn.whole)
        image[torn.begin : torn.begin + SECTOR] = bytes(SECTOR)
        torn.disk.overwrite(torn.path, bytes(image))
        bench = StorageFixture(Random(4))
        bench.disk = torn.disk
        bench.files = torn.disk
        storage = bench.restart()
        save(storage, entries_of(10, b"anew", term=3), term=3)
        storage = bench.power_cycle()
        assert log_of(storage)[9:] == entries_of(10, b"anew", term=3)

    def test_the_shapes_are_what_they_say(self) -> None:
        """The exact fit has no padding, and one byte more takes a sector more."""
        exact = scene("ends exactly at a sector's edge")
        assert exact.end - exact.begin == 3 * SECTOR
        more = scene("one byte more than a sector's edge")
        assert more.end - more.begin == 3 * SECTOR
        fresh = scene("first of a new segment")
        assert fresh.begin == segment.HEADER_BYTES
        assert len(scene("in a segment of its own size").whole) > 4096 + 16 * SECTOR


class TestDamageRefusesToStart:
    """Everything else is not explained by a crash, so nothing is cut."""

    def test_every_flipped_bit_in_the_last_batch(self) -> None:
        """Whether in header, NULs, padding or marks, one flipped bit never looks like a tear."""
        damaged = scene("NULs over two sectors", earlier=1)
        for bit in range(damaged.begin * 8, damaged.end * 8):
            image = bytearray(damaged.whole)
            image[bit // 8] ^= 1 << bit % 8
            with pytest.raises(Corrupt):
                damaged.read(bytes(image))

    def test_every_flipped_bit_in_a_last_batch_of_one_sector(self) -> None:
        """A vote alone is a batch, too."""
        vote = scene("a vote alone", earlier=1)
        for bit in range(vote.begin * 8, vote.end * 8):
            image = bytearray(vote.whole)
            image[bit // 8] ^= 1 << bit % 8
            with pytest.raises(Corrupt):
                vote.read(bytes(image))

    def test_flipped_bits_before_the_last_batch(self, damaged: Scene) -> None:
        """Segment header and earlier batches were durable long ago."""
        for bit in range(0, damaged.begin * 8, 11):
            image = bytearray(damaged.whole)
            image[bit // 8] ^= 1 << bit % 8
            with pytest.raises(Corrupt):
                damaged.read(bytes(image))

    def test_a_flipped_header_before_a_torn_batch(self, damaged: Scene) -> None:
        """Its end mark tells where it ended: a tear behind it does not explain the flip.

        1. Batch 9 is durable and acknowledged; 2. batch 10 is torn, only its second sector got to
        the disk; 3. a bit of batch 9's header rots. Taken for one extent, there is a zero sector
        in it; cutting there would lose batch 9.
        """
        begin, _ = damaged.batches()[-2]
        image = bytearray(damaged.whole)
        image[damaged.begin : damaged.begin + SECTOR] = bytes(SECTOR)
        image[begin + 20] ^= 4
        with pytest.raises(Corrupt):
            damaged.read(bytes(image))

    def test_damage_before_the_genuine_header_of_a_torn_batch(self, damaged: Scene) -> None:
        """Batch 10 was begun only when batch 9 was durable, be it whole or not."""
        begin, end = damaged.batches()[-2]
        image = bytearray(damaged.whole)
        image[damaged.end - SECTOR : damaged.end] = bytes(SECTOR)
        image[begin:end] = bytes(end - begin)
        with pytest.raises(Corrupt):
            damaged.read(bytes(image))

    def test_bytes_behind_a_torn_batch(self, damaged: Scene) -> None:
        """What no write of that batch put there is not explained by its missing."""
        image = bytearray(damaged.whole)
        image[damaged.end - SECTOR : damaged.end] = bytes(SECTOR)
        image[damaged.end + 3 * SECTOR] = 7
        with pytest.raises(Corrupt):
            damaged.read(bytes(image))

    def test_the_last_batch_of_a_segment_that_has_a_successor(self) -> None:
        """The next segment is begun only when all of this one is durable, torn or not."""
        place = scene("first of a new segment")
        place.disk.overwrite(place.path, place.without)
        earlier = f"{StorageFixture.path}/wal/{segment.segment_name(1)}"
        content = place.disk.contents(earlier)
        used = len(content.rstrip(b"\0"))
        begin = (used - 1) // SECTOR * SECTOR
        place.disk.overwrite(earlier, content[:begin].ljust(len(content), b"\0"))
        with pytest.raises(Corrupt):
            survivors(place.disk)

    def test_bytes_in_the_unused_end_of_an_earlier_segment(self) -> None:
        """Nothing was ever written there."""
        place = scene("first of a new segment")
        earlier = f"{StorageFixture.path}/wal/{segment.segment_name(1)}"
        size = len(place.disk.contents(earlier))
        for bit in (size * 8 - 1, size * 8 - 8 * SECTOR):
            place.disk.flip(earlier, bit)
            with pytest.raises(Corrupt):
                survivors(place.disk)
            place.disk.flip(earlier, bit)

    def test_the_message_names_file_offset_and_remedy(self, damaged: Scene) -> None:
        """Whoever reads it at night knows where to look and what to do."""
        damaged.disk.flip(damaged.path, damaged.begin * 8 + 900)
        with pytest.raises(Corrupt) as caught:
            survivors(damaged.disk)
        assert caught.value.path == damaged.path
        assert caught.value.offset == damaged.begin
        assert "let the node join again; if this was a cluster of one" in str(caught.value)

    def test_refusing_changes_nothing(self, damaged: Scene) -> None:
        """The evidence stays as it was found."""
        damaged.disk.flip(damaged.path, damaged.begin * 8 + 900)
        directory = f"{StorageFixture.path}/wal"
        before = {
            name: damaged.disk.contents(f"{directory}/{name}")
            for name in damaged.disk.list(directory)
        }
        bench = StorageFixture(Random(4))
        bench.disk = damaged.disk
        bench.files = damaged.disk
        with pytest.raises(Corrupt):
            bench.restart()
        after = {name: damaged.disk.contents(f"{directory}/{name}") for name in before}
        assert before == after


class TestMisplacedBatches:
    """A batch is valid in one place only; swapped, repeated, old and missing ones are refused."""

    def test_swapped(self, damaged: Scene) -> None:
        """Two neighbours of one size."""
        (first, second), (_, end) = damaged.batches()[2:4]
        image = damaged.whole
        swapped = image[:first] + image[second:end] + image[first:second] + image[end:]
        assert len(swapped) == len(image)
        with pytest.raises(Corrupt):
            damaged.read(swapped)

    def test_repeated_at_the_end(self, damaged: Scene) -> None:
        """A copy of the last batch, or of an earlier one, behind the last."""
        for begin, end in damaged.batches():
            image = bytearray(damaged.whole)
            image[damaged.end : damaged.end + end - begin] = damaged.whole[begin:end]
            with pytest.raises(Corrupt):
                damaged.read(bytes(image))

    def test_repeated_in_part_at_the_end(self, damaged: Scene) -> None:
        """A genuine header of another batch is no torn write, even where a sector is missing."""
        image = bytearray(damaged.whole)
        image[damaged.end : damaged.end + SECTOR] = damaged.whole[damaged.begin :][:SECTOR]
        with pytest.raises(Corrupt):
            damaged.read(bytes(image))

    def test_old_bytes_in_a_new_place(self, damaged: Scene) -> None:
        """A lost write, and a stale batch where it should have gone."""
        (old, old_end), (new, new_end) = damaged.batches()[1:3]
        assert old_end - old == new_end - new
        image = bytearray(damaged.whole)
        image[new:new_end] = damaged.whole[old:old_end]
        with pytest.raises(Corrupt):
            damaged.read(bytes(image))

    def test_missing_in_the_middle(self, damaged: Scene) -> None:
        """Zeros where a batch was, and valid ones behind."""
        begin, end = damaged.batches()[3]
        image = bytearray(damaged.whole)
        image[begin:end] = bytes(end - begin)
        with pytest.raises(Corrupt):
            damaged.read(bytes(image))

    def test_missing_with_the_others_moved_up(self, damaged: Scene) -> None:
        """As if it had never been written."""
        begin, end = damaged.batches()[3]
        image = damaged.whole[:begin] + damaged.whole[end:]
        with pytest.raises(Corrupt):
            damaged.read(image.ljust(len(damaged.whole), b"\0"))

    def test_the_last_one_written_one_sector_too_far(self, damaged: Scene) -> None:
        """A misdirected write of an acknowledged batch leaves zeros in its place: no tear."""
        size = damaged.end - damaged.begin
        image = bytearray(damaged.without)
        at = damaged.begin + SECTOR
        image[at : at + size] = damaged.whole[damaged.begin : damaged.end]
        with pytest.raises(Corrupt):
            damaged.read(bytes(image))

    def test_a_copy_of_the_log_kept_as_a_value_is_just_bytes(self) -> None:
        """Headers inside values, at sector's edges even, do not take part in the judgement."""
        bench = StorageFixture(Random(5))
        storage = bench.begin()
        fill_log(storage, 1, 3)
        first = bench.disk.contents(bench.segments()[0])[4096 : 4096 + SECTOR]
        # Where in the value must a header stand to lie at a sector's edge in the file?
        fixed = 511 - 7 - 80 - len(data_filling(1))
        shift = 2 * 511 - 80 - fixed
        save(storage, entries_of(4, bytes(shift) + first[:100] + b"\0" * 900))
        path = bench.segments()[-1]
        whole = bench.disk.contents(path)
        at = whole.rindex(batch.MAGIC)
        assert at % SECTOR == 0
        assert at > 4096 + 3 * SECTOR
        image = bytearray(whole)
        image[at + SECTOR : at + 2 * SECTOR] = bytes(SECTOR)
        bench.disk.overwrite(path, bytes(image))
        assert len(survivors(bench.disk)[0]) == 3


class TestSegments:
    """Files that are missing, mixed up or cut short."""

    @pytest.fixture
    def bench(self) -> StorageFixture:
        bench = StorageFixture(Random(6))
        fill_log(bench.begin(), 1, 60)
        assert len(bench.segments()) >= 4
        return bench

    @pytest.mark.parametrize("position", [0, 1, 2])
    def test_a_missing_one_is_noticed(self, bench: StorageFixture, position: int) -> None:
        """The first by the log's beginning, a later one by the chain."""
        bench.disk.unlink(bench.segments()[position])
        with pytest.raises(Corrupt):
            bench.restart()

    def test_all_missing(self, bench: StorageFixture) -> None:
        """An identity without a log is no empty log."""
        for path in bench.segments():
            bench.disk.unlink(path)
        with pytest.raises(Corrupt):
            bench.restart()

    def test_one_in_the_place_of_another(self, bench: StorageFixture) -> None:
        """The number stands in the header."""
        first, second, *_ = bench.segments()
        bench.disk.overwrite(second, bench.disk.contents(first))
        with pytest.raises(Corrupt):
            bench.restart()

    def test_one_under_another_name(self) -> None:
        """The next segment would take a name that is in use."""
        bench = StorageFixture(Random(7))
        fill_log(bench.begin(), 1, 3)
        (path,) = bench.segments()
        bench.disk.rename(path, path.replace("1.log", "2.log"))
        with pytest.raises(Corrupt, match="under another name"):
            bench.restart()

    def test_one_of_the_same_member_with_another_history(self, bench: StorageFixture) -> None:
        """A segment from a backup fits by its number and sequence, but not by its chain."""
        other = StorageFixture(Random(7))
        fill_log(other.begin(), 1, 60)
        path = bench.segments()[-1]
        assert path == other.segments()[-1]
        bench.disk.overwrite(path, other.disk.contents(path))
        with pytest.raises(Corrupt, match="does not continue"):
            bench.restart()

    @pytest.mark.parametrize("position", [0, -1])
    def test_one_that_is_cut_short(self, bench: StorageFixture, position: int) -> None:
        """Segments never change their length."""
        path = bench.segments()[position]
        bench.disk.overwrite(path, bench.disk.contents(path)[:-SECTOR])
        with pytest.raises(Corrupt):
            bench.restart()

    def test_one_of_another_member(self, bench: StorageFixture) -> None:
        """A file copied from another node is refused with both names."""
        other = IDENTITY.owner._replace(cluster_id=9)
        with pytest.raises(StorageError, match="two data directories are mixed"):
            read_log(bench.disk, f"{bench.path}/wal", other)

    def test_one_of_a_newer_format(self, bench: StorageFixture) -> None:
        """What is unknown is refused, not guessed."""
        path = bench.segments()[0]
        content = bytearray(bench.disk.contents(path))
        content[9] = 2
        body = bytes(content[: 4096 - 16])
        content[4096 - 16 : 4096] = segment._digest(body)
        bench.disk.overwrite(path, bytes(content))
        with pytest.raises(StorageError, match="format 2"):
            bench.restart()


class TestACleanStop:
    """A closing batch is the last word."""

    def test_nothing_is_lost(self) -> None:
        """The next start has the same log, and may be torn and cut again."""
        bench = StorageFixture(Random(7))
        storage = bench.begin()
        fill_log(storage, 1, 9)
        before = log_of(storage)
        outcome(storage.close())
        storage = bench.restart()
        assert log_of(storage) == before
        save(storage, entries_of(10, b"torn"), commit=9)
        path = bench.segments()[-1]
        image = bench.disk.contents(path)
        used = len(image.rstrip(b"\0"))
        bench.disk.overwrite(path, image[: used - 3].ljust(len(image), b"\0"))
        assert log_of(bench.restart()) == before

    def test_in_a_full_segment_is_a_plain_stop(self) -> None:
        """No segment is begun just to say that the log is over."""
        bench = StorageFixture(Random(7))
        storage = bench.begin()
        fill_log(storage, 1, 16)
        used = len(bench.disk.contents(bench.segments()[0]).rstrip(b"\0"))
        assert used == len(bench.disk.contents(bench.segments()[0]))
        bench.disk.capacity_bytes = 0
        outcome(storage.close())
        bench.disk.capacity_bytes = None
        assert len(log_of(bench.restart())) == 16

    def test_nothing_may_follow_it(self) -> None:
        """What would be a torn tail elsewhere is damage behind a closing batch."""
        bench = StorageFixture(Random(8))
        storage = bench.begin()
        fill_log(storage, 1, 3)
        outcome(storage.close())
        path = bench.segments()[-1]
        image = bytearray(bench.disk.contents(path))
        end = len(bytes(image).rstrip(b"\0"))
        image[end + 5] = 1
        bench.disk.overwrite(path, bytes(image))
        with pytest.raises(Corrupt, match="closed the log"):
            bench.restart()
