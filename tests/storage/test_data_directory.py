from __future__ import annotations

import errno
import json
from pathlib import Path
from random import Random

import pytest

from raftdb.disk.failpoints import FailpointFileSystem
from raftdb.disk.files import File, FileSystem
from raftdb.errors import InvalidRequest, StorageError
from raftdb.raft.types import HardState, MemberID
from raftdb.simulation.disk.storage_fixture import (
    IDENTITY,
    SMALL_LIMITS,
    StorageFixture,
    entries_of,
    fill_log,
    log_of,
    outcome,
    save,
    take_snapshot,
)
from raftdb.storage import DataDirectory, Identity, RealFileSystem, StorageLimits
from raftdb.storage.segment import unfinished_spare_name


@pytest.fixture
def bench() -> StorageFixture:
    return StorageFixture(Random(1))


class TestTheLock:
    """Two processes never share a directory."""

    def test_a_second_process_is_refused(self, bench: StorageFixture) -> None:
        """And told which directory, and what to do."""
        storage = bench.begin()
        with pytest.raises(StorageError, match="in use by another process"):
            DataDirectory.open(bench.files, bench.path)
        outcome(storage.close())
        DataDirectory.open(bench.files, bench.path).close()


class TestWhatIsNoDataDirectory:
    """A typing error takes nothing over."""

    def test_a_directory_with_something_else_in_it(self, tmp_path: Path) -> None:
        """It is left as it was, mode and all, and the message names what is there."""
        tmp_path.chmod(0o755)
        (tmp_path / "photos.zip").touch()
        with pytest.raises(StorageError, match=r"not empty, there is 'photos\.zip' in it"):
            DataDirectory.open(RealFileSystem(), str(tmp_path))
        assert [path.name for path in tmp_path.iterdir()] == ["photos.zip"]
        assert tmp_path.stat().st_mode & 0o777 == 0o755

    @pytest.mark.parametrize("name", ["lost+found", ".nfs01", "twistd.pid", "twistd.log"])
    def test_what_systems_leave_there_is_no_obstacle(self, tmp_path: Path, name: str) -> None:
        """Mount points are not empty, and twistd may be started from inside."""
        (tmp_path / name).touch()
        DataDirectory.open(RealFileSystem(), str(tmp_path)).close()

    def test_a_directory_of_ours_may_hold_more(self, bench: StorageFixture) -> None:
        """What is once a node's stays usable."""
        bench.create()
        bench.files.open(f"{bench.path}/notes.txt", create=True).close()
        DataDirectory.open(bench.files, bench.path).close()

    @pytest.mark.parametrize("below", ["", "/data"])
    def test_a_file(self, tmp_path: Path, below: str) -> None:
        """The message names the file, and no errno has to be looked up."""
        file = tmp_path / "file"
        file.touch()
        with pytest.raises(StorageError, match=f"{file} is a file; give the node"):
            DataDirectory.open(RealFileSystem(), f"{file}{below}")


PROMETHEUS = {"wal/00000000": b"precious", "chunks_head/000001": b"more", "lock": b""}
FAMILIAR = {
    "another log": {"wal/00000000": b"precious"},
    "a log and other things": PROMETHEUS,
    "a lock that says something": {"lock": b"1234\n"},
    "a lock beside other things": {"lock": b"", "db.sqlite": b"precious"},
    "snapshots of something else": {"snapshots/monday.tar": b"precious"},
    "a spare of something else": {"wal/0000000000000001.spare": b"tyre"},
    "a spare with something behind": {"wal/0000000000000001.spare": bytes(5000) + b"precious"},
    "a mark that says something": {"wal/0000000000000001.begun": b"precious"},
    "a segment of something else": {"wal/0000000000000001.log": b"precious" * 1000},
    "numbers of another alphabet": {"wal/" + "\u0661" * 16 + ".log": b"precious"},
    "an identity that was not finished": {"identity.part": b"precious"},
    "an identity of something else": {"identity": b"AGE-SECRET-KEY-1"},
    "the Go program's": {"raft.db": b"bolt", "snapshots/2-18-1453/state.bin": b"{}"},
    "the Go program's snapshots": {"snapshots/2-18-1453/state.bin": b"{}"},
}
"""Directories of other programs that use names of ours."""


def made(path: Path, contents: dict[str, bytes]) -> dict[str, bytes]:
    for name, content in contents.items():
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return contents


def found(path: Path) -> dict[str, bytes]:
    return {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file()
    }


class TestNamesOfOurs:
    """Other programs have a `wal`, a `lock` and `snapshots`, too: these make no directory ours."""

    @pytest.mark.parametrize("name", list(FAMILIAR), ids=lambda name: name.replace(" ", "-"))
    def test_take_nothing_over(self, tmp_path: Path, name: str) -> None:
        """The start is refused, and every byte and every mode stays."""
        tmp_path.chmod(0o755)
        before = made(tmp_path, FAMILIAR[name])
        with pytest.raises(StorageError):
            DataDirectory.open(RealFileSystem(), str(tmp_path))
        after = found(tmp_path)
        assert after.pop("lock", b"") == before.get("lock", b"")
        assert after == {name: content for name, content in before.items() if name != "lock"}

    def test_are_named_in_the_refusal(self, tmp_path: Path) -> None:
        """The message says what is in the way."""
        made(tmp_path, FAMILIAR["another log"])
        with pytest.raises(StorageError, match="it is no node's and not empty, there is 'wal/0000"):
            DataDirectory.open(RealFileSystem(), str(tmp_path))

    def test_of_the_go_program(self, tmp_path: Path) -> None:
        """Its users come to us with a directory: it says how the keys come over."""
        made(tmp_path, FAMILIAR["the Go program's"])
        with pytest.raises(
            StorageError, match=r"log of the Go program .* copy the keys over by HTTP"
        ):
            DataDirectory.open(RealFileSystem(), str(tmp_path))

    @pytest.mark.parametrize("name", ["0000000000000003.copy", "0000000000000003.spare"])
    def test_in_a_log_of_ours(self, bench: StorageFixture, name: str) -> None:
        """What a start would remove has to be of our form; else somebody is asked to look."""
        storage = bench.begin()
        save(storage, entries_of(1, b"x"))
        path = f"{bench.path}/wal/{name}"
        bench.disk.open(path, create=True).write_at(0, b"precious")
        bench.disk.kill_process()
        with pytest.raises(StorageError, match="raftdb has not written it"):
            bench.recover()
        assert bench.disk.contents(path) == b"precious"

    @pytest.mark.parametrize(
        "name", ["wal/my.spare", "wal/3.copy", "snapshots/mine.snapshot", "snapshots/mine.part"]
    )
    def test_almost(self, bench: StorageFixture, name: str) -> None:
        """A file that only looks like ours stays where it is, start after start."""
        save(bench.begin(), entries_of(1, b"x"))
        path = f"{bench.path}/{name}"
        bench.disk.open(path, create=True).write_at(0, b"precious")
        assert bench.restart().log.last_index() == 1
        assert bench.disk.contents(path) == b"precious"


class TestTheIdentity:
    """Whose directory it is."""

    def test_an_empty_directory_has_none(self, bench: StorageFixture) -> None:
        """Then the node has to be created, alone or by joining."""
        directory = DataDirectory.open(bench.files, bench.path)
        assert directory.identity is None
        directory.close()

    def test_stays(self, bench: StorageFixture) -> None:
        """Across a power loss right after it was made."""
        bench.create()
        bench.disk.lose_power()
        assert DataDirectory.open(bench.files, bench.path).identity == IDENTITY

    @pytest.mark.parametrize("point", ["after mkdir directory", "after rename identity-part"])
    @pytest.mark.parametrize("seed", range(8))
    def test_outlives_a_process_that_died_while_making_it(self, seed: int, point: str) -> None:
        """Whoever finds it after a kill makes it durable: the next power failure may not take it [R4]."""
        deaths = [point, point]

        def die(at: str) -> None:
            if at == point and deaths:
                deaths.pop()
                raise KeyboardInterrupt

        bench = StorageFixture(Random(seed), wrap=lambda disk: FailpointFileSystem(disk, die))
        with pytest.raises(KeyboardInterrupt):
            bench.create()
        bench.disk.kill_process()
        if "mkdir" in point:  # of the directory above; then of the directory itself
            with pytest.raises(KeyboardInterrupt):
                bench.create()
            bench.disk.kill_process()
            bench.create()
        save(bench.recover(), entries_of(1, b"x"))
        bench.disk.lose_power()
        assert bench.recover().log.last_index() == 1

    def test_damage_is_found(self, bench: StorageFixture) -> None:
        """No flipped bit makes another member of this one."""
        bench.create()
        path = f"{bench.path}/identity"
        for bit in range(len(bench.disk.contents(path)) * 8):
            bench.disk.flip(path, bit)
            try:
                directory = DataDirectory.open(bench.files, bench.path)
            except StorageError:
                pass
            else:
                # White space may be damaged without harm.
                assert directory.identity == IDENTITY
                directory.close()
            bench.disk.flip(path, bit)

    def test_a_newer_format_is_refused(self, bench: StorageFixture) -> None:
        """By its number, before anything is made of the rest."""
        bench.create()
        path = f"{bench.path}/identity"
        body = json.loads(bench.disk.contents(path))
        bench.disk.overwrite(path, json.dumps({**body, "format": 2}).encode())
        with pytest.raises(StorageError, match="format 2"):
            DataDirectory.open(bench.files, bench.path)

    def test_a_log_without_it_is_not_thrown_away(self, bench: StorageFixture) -> None:
        """Only what an interrupted creation left may be removed."""
        storage = bench.begin()
        fill_log(storage, 1, 3)
        outcome(storage.close())
        bench.disk.unlink(f"{bench.path}/identity")
        with pytest.raises(StorageError, match="restore that file"):
            bench.create()
        bench.disk.unlink(bench.segments()[0])
        bench.create()

    def test_a_log_without_it_is_refused_before_anybody_is_asked(
        self, bench: StorageFixture
    ) -> None:
        """A join would cost the member whose log it is its place; the lock is given back."""
        storage = bench.begin()
        fill_log(storage, 1, 3)
        outcome(storage.close())
        bench.disk.rename(f"{bench.path}/identity", f"{bench.path}/lost")
        with pytest.raises(StorageError, match="holds a log but no file named identity: restore"):
            DataDirectory.open(bench.files, bench.path)
        bench.disk.rename(f"{bench.path}/lost", f"{bench.path}/identity")
        assert bench.recover().log.last_index() == 3

    def test_neither_are_snapshots_nor_later_segments(self, bench: StorageFixture) -> None:
        """They were in use, too."""
        storage = bench.begin()
        fill_log(storage, 1, 40)
        outcome(storage.close())
        bench.disk.unlink(f"{bench.path}/identity")
        bench.disk.unlink(bench.segments()[0])
        with pytest.raises(StorageError):
            DataDirectory.open(bench.files, bench.path)
        other = StorageFixture(Random(2))
        storage = other.begin()
        save(storage, entries_of(1, b"x"), commit=1)
        take_snapshot(storage, 1)
        outcome(storage.close())
        other.disk.unlink(f"{other.path}/identity")
        other.disk.unlink(other.segments()[0])
        with pytest.raises(StorageError):
            DataDirectory.open(other.files, other.path)


class TestCreating:
    """A node begins with what it is given."""

    def test_with_entries_already_committed(self, bench: StorageFixture) -> None:
        """So a first node finds its own configuration in its log."""
        entries = entries_of(1, b"first")
        bench.create(HardState(1, None, 1), entries)
        storage = bench.recover()
        assert log_of(storage) == entries
        assert storage.log.initial_state()[0] == HardState(1, None, 1)

    def test_on_a_full_disk_fails_and_leaves_it_empty(self, bench: StorageFixture) -> None:
        """The next attempt finds an empty directory."""
        bench.disk.capacity_bytes = 5000
        with pytest.raises(StorageError, match="24576 bytes have to be free on its file system"):
            bench.create()
        bench.disk.capacity_bytes = None
        assert bench.begin().log.last_index() == 0

    @pytest.mark.parametrize("more", range(0, 4096, 128))
    def test_on_a_small_disk_fails_before_there_is_an_identity(self, more: int) -> None:
        """No node is founded, or taken in by a cluster, that could not be started."""
        bench = StorageFixture(Random(1))
        bench.disk.capacity_bytes = 2 * SMALL_LIMITS.segment_bytes - 2048 + more
        try:
            bench.create()
        except StorageError:
            assert "identity" not in bench.disk.list(bench.path)
            return
        assert more > 2048
        save(bench.recover(), entries_of(1, b"x"))
        assert bench.restart().log.last_index() == 1

    def test_on_a_disk_that_cannot_be_used(self, bench: StorageFixture) -> None:
        """Says so, with the directory's name."""
        bench.disk.capacity_bytes = None
        bench.create()
        bench.disk.broken = True
        with pytest.raises(StorageError, match="broken"):
            DataDirectory.open(bench.files, bench.path)


class TestAFullDisk:
    """A write is admitted only against log space that is already there [R18]."""

    @pytest.mark.parametrize("seed", range(20))
    def test_whatever_is_admitted_can_be_kept(self, seed: int) -> None:
        """With not a byte more on the disk, up to the first refusal."""
        rng = Random(seed)
        bench = StorageFixture(rng)
        storage = bench.begin()
        assert storage.admits(100)
        bench.disk.capacity_bytes = 0
        index = 1
        while True:
            sizes = [rng.randrange(800) for _ in range(rng.randint(1, 3))]
            entries = entries_of(index, *[bytes(size) for size in sizes])
            if not storage.admits(sum(entry.size for entry in entries)):
                break
            save(storage, entries)
            index += len(entries)
        assert index > 5
        assert bench.segments()[1:]
        assert storage.log.last_index() == index - 1

    def test_votes_are_still_kept(self) -> None:
        """A node without room takes part in elections: there is a reserve for it."""
        limits = SMALL_LIMITS._replace(reserve_bytes=6 * 1024)
        bench = StorageFixture(Random(1), limits=limits)
        storage = bench.begin()
        storage.admits(1)
        bench.disk.capacity_bytes = 0
        index = 1
        while storage.admits(100):
            save(storage, entries_of(index, b"x" * 50))
            index += 1
        votes = limits.reserve_bytes // 512
        for term in range(2, 2 + votes):
            save(storage, term=term)
        bench.disk.capacity_bytes = None
        hard_state, _ = bench.restart().log.initial_state()
        assert hard_state.term == 1 + votes

    def test_writes_resume_when_there_is_room_again(self, bench: StorageFixture) -> None:
        """Without a restart."""
        storage = bench.begin()
        bench.disk.capacity_bytes = 0
        index = 1
        while storage.admits(100):
            save(storage, entries_of(index, b"x" * 50))
            index += 1
        assert not storage.admits(100)
        bench.disk.capacity_bytes = None
        storage.admits(100)
        assert storage.admits(100)
        save(storage, entries_of(index, b"x" * 50))
        assert log_of(bench.power_cycle())[-1].index == index

    def test_no_room_is_taken_from_the_last_free_bytes(self) -> None:
        """Spare segments leave the file system what it needs."""
        limits = SMALL_LIMITS._replace(free_bytes_min=50_000, spare_segments=2)
        bench = StorageFixture(Random(1), limits=limits)
        storage = bench.begin()
        bench.disk.capacity_bytes = 50_000 + bench.disk.used_bytes
        save(storage, entries_of(1, bytes(5000)))
        assert not storage.admits(1000)
        assert bench.disk.free_bytes(bench.path) >= 50_000

    def test_a_start_without_room_says_so(self, bench: StorageFixture) -> None:
        """It must rewrite its last segment, and changes nothing where it cannot."""
        storage = bench.begin()
        save(storage, entries_of(1, b"x"))
        bench.disk.kill_process()
        for spare in spares_of(bench):
            bench.disk.unlink(f"{bench.path}/wal/{spare}")
        bench.disk.capacity_bytes = 0
        with pytest.raises(StorageError, match=r"12288 bytes have to be free in .* and 0 are"):
            bench.recover()
        bench.disk.capacity_bytes = None
        assert log_of(bench.recover()) == entries_of(1, b"x")

    def test_a_spare_left_behind_makes_room_for_the_start(self, bench: StorageFixture) -> None:
        """What was reserved for writing is used for starting."""
        storage = bench.begin()
        save(storage, entries_of(1, b"x"))
        assert any(name.endswith(".spare") for name in bench.disk.list(f"{bench.path}/wal"))
        bench.disk.kill_process()
        bench.disk.capacity_bytes = sum(
            len(bench.disk.contents(f"{bench.path}/wal/{name}"))
            for name in bench.disk.list(f"{bench.path}/wal")
        ) + len(bench.disk.contents(f"{bench.path}/identity"))
        assert log_of(bench.recover()) == entries_of(1, b"x")


class TestADiskThatOthersFilled:
    """A node on a full disk stops and starts like any other, and serves what it has."""

    @pytest.mark.parametrize("seed", range(20))
    def test_is_no_obstacle_to_any_start(self, seed: int) -> None:
        """However much is written up to the first refusal, and however the process ends."""
        rng = Random(seed)
        bench = StorageFixture(rng, limits=SMALL_LIMITS._replace(spare_segments=2))
        storage = bench.begin()
        index = 1
        for _ in range(rng.randrange(40)):
            if storage.admits(400):
                save(storage, entries_of(index, bytes(rng.randrange(400))), commit=index - 1)
                index += 1
        _fill_up(bench)
        while storage.admits(400):
            save(storage, entries_of(index, bytes(rng.randrange(400))), commit=index - 1)
            index += 1
        for _ in range(6):
            _fill_up(bench)
            if rng.random() < 0.5:
                outcome(storage.close())
            storage = rng.choice((bench.restart, bench.power_cycle))()
            assert storage.log.last_index() == index - 1
            assert spares_of(bench)
        bench.disk.capacity_bytes = None
        storage.admits(400)
        assert storage.admits(400)

    @pytest.mark.parametrize("point", ["rename spare", "write copy", "fsync copy", "rename copy"])
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_nor_to_one_after_a_start_that_was_interrupted(self, when: str, point: str) -> None:
        """The room that it had taken is there for the next one."""
        armed: list[str] = []

        def die(at: str) -> None:
            if at in armed:
                raise KeyboardInterrupt

        for seed in range(8):
            bench = StorageFixture(
                Random(seed),
                limits=SMALL_LIMITS._replace(spare_segments=2),
                wrap=lambda disk: FailpointFileSystem(disk, die),
            )
            fill_log(bench.begin(), 1, 5)
            _fill_up(bench)
            bench.disk.kill_process()
            armed.append(f"{when} {point}")
            with pytest.raises(KeyboardInterrupt):
                bench.recover()
            armed.clear()
            assert bench.power_cycle().log.last_index() == 5

    def test_costs_a_vote_its_last_room_sooner_than_the_node(self) -> None:
        """Votes are kept while there is a segment for them; only then is a start without room."""
        bench = StorageFixture(Random(1), limits=SMALL_LIMITS._replace(spare_segments=2))
        storage = bench.begin()
        _fill_up(bench)
        while storage.admits(100):
            fill_log(storage, storage.log.last_index() + 1, storage.log.last_index() + 1)
        last = storage.log.last_index()
        for term in range(2, 12):
            save(storage, term=term, commit=last - 1)
        assert spares_of(bench) == []
        with pytest.raises(StorageError, match="bytes have to be free"):
            bench.restart()


def _fill_up(bench: StorageFixture) -> None:
    """Let others take all that is free."""
    bench.disk.capacity_bytes = bench.disk.used_bytes


class TestSparesLeftBehind:
    """A start does not write again what an earlier process has reserved."""

    def test_are_used_by_the_next_start(self) -> None:
        """Whether only the process ended or the power, too; none is made before one is used."""
        points: list[str] = []
        bench = StorageFixture(
            Random(1), wrap=lambda disk: FailpointFileSystem(disk, points.append)
        )
        storage = bench.begin()
        save(storage, entries_of(1, b"x"))
        for restart in (bench.restart, bench.power_cycle):
            bench.files.fsync_dir(f"{bench.path}/wal")
            spares = spares_of(bench)
            assert len(spares) == SMALL_LIMITS.spare_segments
            points.clear()
            storage = restart()
            assert storage.admits(SMALL_LIMITS.segment_bytes // 4)
            assert spares_of(bench) == spares
            assert "before create spare" not in points

    def test_hold_the_log_that_is_written_next(self, bench: StorageFixture) -> None:
        """And what comes after them has other names."""
        storage = bench.begin()
        save(storage, entries_of(1, b"x"))
        storage = bench.restart()
        fill_log(storage, 2, 60)
        assert len(log_of(bench.power_cycle())) == 60

    def test_one_that_was_not_synced_is_no_spare(self) -> None:
        """The process was killed just before; its zeros are in the page cache alone [R4]."""
        armed: list[str] = []

        def die(point: str) -> None:
            if point in armed:
                raise InterruptedError(point)

        bench = StorageFixture(Random(1), wrap=lambda disk: FailpointFileSystem(disk, die))
        bench.begin()
        for spare in spares_of(bench):
            bench.disk.unlink(f"{bench.path}/wal/{spare}")
        storage = bench.restart()
        armed += ["before fsync spare", "before unlink spare"]
        storage.admits(1)
        armed.clear()
        assert len(spares_of(bench)) == 1
        bench.restart()
        assert spares_of(bench) == []

    def test_an_unfinished_one_is_deleted(self, bench: StorageFixture) -> None:
        """Its zeros may be in the page cache alone."""
        storage = bench.begin()
        save(storage, entries_of(1, b"x"))
        path = f"{bench.path}/wal/{unfinished_spare_name(7)}"
        bench.disk.open(path, create=True).write_at(0, bytes(SMALL_LIMITS.segment_bytes))
        bench.restart()
        assert not [name for name in spares_of(bench) if "new" in name]

    def test_one_that_was_to_become_a_segment_is_deleted(self, bench: StorageFixture) -> None:
        """Its header is written before it gets its name."""
        storage = bench.begin()
        save(storage, entries_of(1, b"x"))
        (spare,) = spares_of(bench)
        bench.disk.open(f"{bench.path}/wal/{spare}").write_at(100, b"h")
        bench.restart()
        assert spare not in spares_of(bench)

    def test_one_that_cannot_be_read_is_deleted(self) -> None:
        """A bad sector where nothing is kept is no reason not to start."""
        bad: list[str] = []
        bench = StorageFixture(Random(1), wrap=lambda disk: _BadSectors(disk, bad))
        save(bench.begin(), entries_of(1, b"x"))
        bad += spares_of(bench)
        assert bad
        storage = bench.restart()
        assert log_of(storage) == entries_of(1, b"x")
        assert not set(bad) & set(spares_of(bench))

    def test_one_that_gets_no_name_is_not_left_behind(self) -> None:
        """Each attempt would leave another one on a disk that is full."""
        is_full = False

        def full(point: str) -> None:
            if is_full and point == "before rename spare":
                raise OSError(errno.ENOSPC, "no room for a longer directory")

        bench = StorageFixture(Random(1), wrap=lambda disk: FailpointFileSystem(disk, full))
        storage = bench.begin()
        save(storage, entries_of(1, b"x"))
        for spare in spares_of(bench):
            bench.disk.unlink(f"{bench.path}/wal/{spare}")
        storage = bench.restart()
        assert spares_of(bench) == []
        is_full = True
        for _ in range(3):
            storage.admits(1)
        assert spares_of(bench) == []
        is_full = False
        storage.admits(1)
        assert len(spares_of(bench)) == SMALL_LIMITS.spare_segments

    def test_one_of_another_size_is_deleted(self, bench: StorageFixture) -> None:
        """The operator has changed the size of segments."""
        storage = bench.begin()
        save(storage, entries_of(1, b"x"))
        (spare,) = spares_of(bench)
        bench.limits = SMALL_LIMITS._replace(segment_bytes=2 * SMALL_LIMITS.segment_bytes)
        bench.restart()
        assert spare not in spares_of(bench)


class _BadSectors(FailpointFileSystem):
    """A disk that cannot read the files of these names."""

    def __init__(self, files: FileSystem, bad: list[str]) -> None:
        super().__init__(files, lambda _: None)
        self._bad = bad

    def open(self, path: str, *, create: bool = False, sectors: bool = False) -> File:
        if Path(path).name in self._bad:
            raise OSError(errno.EIO, "bad sector", path)
        return super().open(path, create=create, sectors=sectors)


def spares_of(bench: StorageFixture) -> list[str]:
    return [name for name in bench.disk.list(f"{bench.path}/wal") if name.endswith(".spare")]


class TestOneFsyncPerSave:
    """A save costs one fdatasync, and nothing else that waits for the disk."""

    def test_is_all_it_takes(self) -> None:
        """As long as the segment lasts."""
        points: list[str] = []
        bench = StorageFixture(
            Random(1), wrap=lambda disk: FailpointFileSystem(disk, points.append)
        )
        storage = bench.begin()
        storage.admits(1)
        points.clear()
        for index in range(1, 6):
            save(storage, entries_of(index, b"x"))
        after = [point for point in points if point.startswith("after")]
        assert after == ["after write log", "after fdatasync log"] * 5


class TestLimits:
    """Limits that do not nest are refused at once."""

    @pytest.mark.parametrize(
        "limits",
        [
            StorageLimits(segment_bytes=4096),
            StorageLimits(segment_bytes=100_000),
            StorageLimits(reserve_bytes=2**30),
            StorageLimits(snapshots_kept=1),
            StorageLimits(slice_bytes=0),
        ],
    )
    def test_are_checked(self, limits: StorageLimits) -> None:
        """With the name of the limit."""
        with pytest.raises(InvalidRequest):
            StorageFixture(Random(1), limits=limits).begin()

    def test_the_defaults_nest(self) -> None:
        """They are what production uses."""
        assert StorageLimits().check() == StorageLimits()


class TestIdentityAsAValue:
    """What other parts ask of it."""

    def test_names_the_member(self) -> None:
        """As the membership does."""
        identity = Identity("a", 5, 6)
        assert identity.member == MemberID("a", 5)
