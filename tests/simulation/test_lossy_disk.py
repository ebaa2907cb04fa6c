from __future__ import annotations

from random import Random

import pytest

from raftdb.simulation.disk.lossy_disk import LossyDisk


def machine(seed: int) -> LossyDisk:
    disk = LossyDisk(Random(seed))
    disk.mkdir("/d")
    disk.fsync_dir("/")
    return disk


def durable_file(disk: LossyDisk, path: str, content: bytes) -> None:
    file = disk.open(path, create=True)
    file.write_at(0, content)
    file.fsync()
    file.close()
    disk.fsync_dir("/d")


class TestWhatWasSynced:
    """Stays, whatever happens."""

    def test_survives_every_power_loss(self) -> None:
        """Contents and name."""
        for seed in range(30):
            disk = machine(seed)
            durable_file(disk, "/d/a", b"kept" * 500)
            disk.open("/d/a").write_at(0, b"changed")
            disk.lose_power()
            assert disk.contents("/d/a")[7:] == (b"kept" * 500)[7:]

    def test_a_killed_process_loses_only_its_handles_and_locks(self) -> None:
        """The page cache is the machine's."""
        disk = machine(1)
        file = disk.open("/d/a", create=True)
        file.write_at(0, b"not synced")
        disk.lock("/d/lock")
        disk.kill_process()
        assert disk.contents("/d/a") == b"not synced"
        with pytest.raises(OSError, match="closed"):
            file.read_at(0, 1)
        disk.lock("/d/lock")


class TestAFileOfSectors:
    """What promised whole sectors keeps to them."""

    @pytest.mark.parametrize(("offset", "count"), [(1, 512), (511, 1), (0, 513), (512, 1)])
    def test_takes_nothing_else(self, offset: int, count: int) -> None:
        """A disk that is written past the page cache would refuse it."""
        disk = machine(1)
        durable_file(disk, "/d/a", bytes(2048))
        with pytest.raises(AssertionError, match="whole sectors"):
            disk.open("/d/a", sectors=True).write_at(offset, bytes(count))
        disk.open("/d/a").write_at(offset, bytes(count))
        disk.open("/d/a", sectors=True).write_at(512, bytes(1024))


class TestWhatWasNot:
    """May be there, or not, or in part: over the seeds each of them happens."""

    def test_a_renaming_brings_its_own_file(self) -> None:
        """Not the one that had the name once, whichever of the changes before it are lost."""
        seen = set()
        for seed in range(60):
            disk = machine(seed)
            durable_file(disk, "/d/a", b"old")
            disk.unlink("/d/a")
            file = disk.open("/d/a", create=True)
            file.write_at(0, b"new")
            file.fsync()
            disk.rename("/d/a", "/d/b")
            disk.lose_power()
            seen.add(tuple((name, disk.contents(f"/d/{name}")) for name in disk.list("/d")))
        renamed = ("b", b"new")
        assert seen == {
            (),
            (("a", b"old"),),
            (("a", b"new"),),
            (renamed,),
            (("a", b"old"), renamed),
        }

    def test_sectors_are_kept_lost_and_torn(self) -> None:
        """All, none, some sectors, and a prefix that ends inside a sector."""
        old, new = b"o" * 2048, b"n" * 2048
        seen = set()
        for seed in range(200):
            disk = machine(seed)
            durable_file(disk, "/d/a", old)
            disk.open("/d/a").write_at(0, new)
            disk.lose_power()
            seen.add(disk.contents("/d/a"))
        assert {old, new} <= seen
        assert any(image[:512] == b"o" * 512 and b"n" in image for image in seen)
        assert any(image.startswith(b"n") and image.count(b"n") % 512 for image in seen)

    def test_names_are_kept_and_lost(self) -> None:
        """A new file and a rename are there or not, each by itself, but never half."""
        seen = set()
        for seed in range(100):
            disk = machine(seed)
            durable_file(disk, "/d/a", b"x")
            disk.open("/d/new", create=True)
            disk.rename("/d/a", "/d/b")
            disk.lose_power()
            seen.add(tuple(disk.list("/d")))
        assert seen == {("a",), ("b",), ("a", "new"), ("b", "new")}

    def test_a_name_without_contents(self) -> None:
        """Syncing the directory does not sync the file."""
        lengths = set()
        for seed in range(50):
            disk = machine(seed)
            disk.open("/d/a", create=True).write_at(0, b"abc")
            disk.fsync_dir("/d")
            disk.lose_power()
            lengths.add(len(disk.contents("/d/a")))
        assert {0, 3} <= lengths


class TestFaults:
    """What a disk may do besides losing power."""

    def test_a_failed_sync_is_forgotten_by_the_next_one(self) -> None:
        """Reads see the write, a second sync succeeds, and the platter never gets it."""
        disk = machine(1)
        durable_file(disk, "/d/a", b"old")
        file = disk.open("/d/a")
        file.write_at(0, b"new")
        disk.syncs_to_fail = 1
        with pytest.raises(OSError, match="failed to sync"):
            file.fdatasync()
        file.fdatasync()
        assert disk.contents("/d/a") == b"new"
        disk.lose_power()
        assert disk.contents("/d/a") == b"old"

    def test_a_full_disk_takes_nothing_more(self) -> None:
        """Overwriting what is there needs no room."""
        disk = machine(1)
        durable_file(disk, "/d/a", b"x" * 100)
        disk.capacity_bytes = 150
        file = disk.open("/d/a")
        file.write_at(0, b"y" * 100)
        with pytest.raises(OSError, match="full"):
            file.write_at(100, b"z" * 51)
        assert disk.free_bytes("/d") == 50
        disk.unlink("/d/a")
        assert disk.free_bytes("/d") == 150

    def test_rot_is_on_the_platter(self) -> None:
        """A flipped bit survives a power loss, and flipping it again heals it."""
        disk = machine(1)
        durable_file(disk, "/d/a", b"\x00\x00")
        disk.flip("/d/a", 9)
        disk.lose_power()
        assert disk.contents("/d/a") == b"\x00\x02"
        disk.flip("/d/a", 9)
        assert disk.contents("/d/a") == b"\x00\x00"

    def test_the_same_seed_takes_the_same(self) -> None:
        """A failing run can be run again."""
        images = set()
        for _ in range(2):
            disk = machine(5)
            durable_file(disk, "/d/a", b"o" * 5000)
            disk.open("/d/a").write_at(100, b"n" * 4000)
            disk.lose_power()
            images.add(disk.contents("/d/a"))
        assert len(images) == 1
