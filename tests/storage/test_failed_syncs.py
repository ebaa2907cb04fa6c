"""Every sync there is, and what comes of it when it fails: never a process that goes on [R9].

After a failed sync nobody knows what the disk holds; a second one that succeeds proves nothing.
"""

from __future__ import annotations

import contextlib
import errno
import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

import raftdb
from raftdb.disk.failpoints import FailpointFileSystem
from raftdb.disk.files import FailedSync
from raftdb.errors import RaftDBError, StorageError
from raftdb.raft.types import EntryID, HardState
from raftdb.simulation.disk.storage_fixture import (
    StorageFixture,
    entries_of,
    fill_log,
    metadata_at,
    outcome,
    save,
    send_snapshot,
    take_snapshot,
)
from raftdb.storage import DurableStorage
from raftdb.storage.record import Record
from raftdb.storage.segment import spare_name

CODES = (errno.EIO, errno.ENOSPC)
"""Want of room at a write passes; at a sync it is a failed sync like others."""


class Scene:
    """A data directory on a disk whose syncs of one name fail once they are armed."""

    def __init__(self, code: int) -> None:
        self.failing = ""
        self.seen: list[str] = []
        self._code = code
        self.bench = StorageFixture(
            Random(1), wrap=lambda disk: FailpointFileSystem(disk, self._failpoint)
        )

    def begin(self) -> DurableStorage:
        """Return a storage with some log, and a snapshot."""
        storage = self.bench.begin()
        fill_log(storage, 1, 40)
        take_snapshot(storage, 20)
        return storage

    def _failpoint(self, point: str) -> None:
        when, _, step = point.partition(" ")
        if when == "before" and "sync" in step:
            self.seen.append(step)
            if step == self.failing:
                raise FailedSync(self._code, "the test failed to sync", step)


Step = Callable[[DurableStorage], None]


def _peer() -> DurableStorage:
    storage = StorageFixture(Random(77)).begin()
    fill_log(storage, 1, 60)
    take_snapshot(storage, 60)
    return storage


def _saving(storage: DurableStorage) -> None:
    save(storage, entries_of(41, b"x"))


def _rotating(storage: DurableStorage) -> None:
    fill_log(storage, 41, 60)


def _taking(storage: DurableStorage) -> None:
    take_snapshot(storage, 40)


def _receiving(storage: DurableStorage) -> None:
    send_snapshot(_peer(), EntryID(1, 60), storage)


def _receiving_again(storage: DurableStorage) -> None:
    """The candidate before this one is deleted."""
    _receiving(storage)
    fill_log(peer := StorageFixture(Random(78)).begin(), 1, 70)
    take_snapshot(peer, 70)
    send_snapshot(peer, EntryID(1, 70), storage)


def _installing(storage: DurableStorage) -> None:
    save(storage, commit=60, snapshot=metadata_at(60))


def _letting_go(storage: DurableStorage) -> None:
    source = outcome(storage.open_snapshot_file(EntryID(1, 20)))
    take_snapshot(storage, 30)
    take_snapshot(storage, 40)
    source.close()


def _compacting(storage: DurableStorage) -> None:
    outcome(storage.compact())


def _nothing(_: DurableStorage) -> None:
    """Come to it as it is."""


SAVES: list[tuple[str, Step]] = [
    ("fdatasync log", _saving),
    ("fdatasync spare", _rotating),
    ("fsync_dir wal", _rotating),
]
"""What a save waits for: it fails, and the process ends by that."""

FILLS: list[tuple[str, Step, Step]] = [
    ("fsync spare", _nothing, _rotating),
    ("fdatasync part", _nothing, _taking),
    ("fsync part", _nothing, _taking),
    ("fsync_dir snapshots", _nothing, _taking),
    ("fdatasync part", _nothing, _receiving),
    ("fsync part", _nothing, _receiving),
    ("fsync_dir snapshots", _nothing, _receiving),
    ("fsync_dir snapshots", _receiving, _receiving_again),
    ("fsync_dir snapshots", _receiving, _installing),
    ("fsync_dir snapshots", _nothing, _letting_go),
    ("fsync_dir wal", _taking, _compacting),
]
"""What no save waits for: before, what fails. It ends the process besides failing who asked."""

STARTS = ("fsync_dir directory", "fsync copy", "fsync_dir wal", "fsync_dir snapshots")
"""Those of a start, which is refused."""

CREATIONS = (
    *("fsync spare", "fdatasync spare", "fsync_dir wal", "fdatasync log"),
    *("fsync identity-part", "fsync_dir directory"),
)
"""Those of the making of a directory, which stays nobody's."""


@pytest.mark.parametrize("code", CODES)
class TestAFailedSync:
    """Of a file or of a directory, whoever waits for it."""

    @pytest.mark.parametrize(("step", "act"), SAVES)
    def test_of_a_save_fails_it_and_the_end_of_the_log(
        self, step: str, act: Step, code: int
    ) -> None:
        """Replica ends the process when a save fails."""
        scene = Scene(code)
        storage = scene.begin()
        scene.failing = step
        with pytest.raises(StorageError, match="the process has to end"):
            act(storage)
        scene.failing = ""
        with pytest.raises(StorageError, match="takes nothing more"):
            storage._wal.append(Record(None))()

    @pytest.mark.parametrize(("step", "before", "act"), FILLS)
    def test_that_no_save_waits_for_ends_the_process(
        self, step: str, before: Step, act: Step, code: int
    ) -> None:
        """At once, in words, and once; no later sync of the same directory makes it good."""
        scene = Scene(code)
        storage = scene.begin()
        before(storage)
        assert scene.bench.crashes == []
        scene.failing = step
        with contextlib.suppress(RaftDBError, OSError):
            act(storage)
        scene.failing = ""
        (failure,) = scene.bench.crashes
        assert isinstance(failure.value, StorageError)
        assert "failed to sync" in str(failure.value)
        assert "the process has to end" in str(failure.value)
        with pytest.raises(StorageError):
            save(storage, entries_of(storage.log.last_index() + 1, b"y"))

    @pytest.mark.parametrize("step", STARTS)
    def test_of_a_start_refuses_it(self, step: str, code: int) -> None:
        """The next one reads anew what is there."""
        scene = Scene(code)
        scene.begin()
        scene.bench.disk.kill_process()
        scene.failing = step
        with pytest.raises(StorageError, match="cannot be recovered"):
            scene.bench.recover()
        scene.failing = ""
        assert scene.bench.recover().log.last_index() == 40

    @pytest.mark.parametrize("step", CREATIONS)
    def test_of_a_creation_leaves_the_directory_empty(self, step: str, code: int) -> None:
        """Or whole: the identity may have its name, and the next start makes that durable."""
        scene = Scene(code)
        scene.failing = step
        with pytest.raises((StorageError, OSError)):
            scene.bench.create(HardState(1, None, 1), entries_of(1, b"x"))
        scene.failing = ""
        scene.bench.disk.kill_process()
        if "identity" not in scene.bench.disk.list(scene.bench.path):
            scene.bench.create(HardState(1, None, 1), entries_of(1, b"x"))
        assert scene.bench.recover().log.last_index() == 1


class TestTheTable:
    """It is whole."""

    def test_names_every_sync_of_a_life(self) -> None:
        """Whatever is synced anywhere is in it."""
        scene = Scene(errno.EIO)
        storage = scene.begin()
        for act in (_rotating, _taking, _compacting, _receiving):
            act(storage)
        save(storage, commit=60, snapshot=metadata_at(60))
        scene.bench.restart()
        known = {*STARTS, *CREATIONS, *(save[0] for save in SAVES), *(fill[0] for fill in FILLS)}
        assert set(scene.seen) <= known | {"fsync_dir data", "fsync_dir /"}

    def test_nobody_syncs_behind_the_back_of_the_file_system(self) -> None:
        """Only there a failure becomes a failed sync."""
        root = Path(raftdb.__file__).parent
        found = {
            path.relative_to(root).as_posix()
            for path in root.rglob("*.py")
            if re.search(r"\bos\.(fsync|fdatasync|sync)\b|F_FULLFSYNC", path.read_text())
        }
        assert found == {"disk/buffered_file.py"}


class TestAFailedWrite:
    """Want of room passes, while nothing was relied on; an error of the disk does not."""

    @pytest.mark.parametrize(
        "code", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO]
    )
    @pytest.mark.parametrize("step", ["create spare", "write spare"])
    def test_of_a_spare(self, step: str, code: int) -> None:
        """There is none now; the next write tries again."""
        armed: list[str] = []

        def failpoint(point: str) -> None:
            if point.removeprefix("before ") in armed:
                raise OSError(code, "the test's disk", step)

        bench = StorageFixture(Random(1), wrap=lambda disk: FailpointFileSystem(disk, failpoint))
        bench.begin()
        bench.disk.unlink(f"{bench.path}/wal/{spare_name(1)}")
        storage = bench.restart()
        armed.append(step)
        storage.admits(1)
        armed.clear()
        if code == errno.EIO:
            assert bench.crashes
            return
        assert not bench.crashes
        assert storage.admits(1)
        assert [name for name in bench.disk.list(f"{bench.path}/wal") if "spare" in name]
        save(storage, entries_of(1, b"x"))
