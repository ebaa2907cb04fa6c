"""Files deleted under a running node: noticed within a look, and the end of it, in one clear line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from raftdb.errors import StorageError
from raftdb.simulation.disk.storage_fixture import (
    IDENTITY,
    SMALL_LIMITS,
    StorageFixture,
    entries_of,
    fill_log,
    metadata_at,
    outcome,
    save,
    send_snapshot,
    take_snapshot,
)
from raftdb.storage import DataDirectory, DurableStorage, RealFileSystem, run_here


@pytest.fixture
def bench() -> StorageFixture:
    return StorageFixture(Random(1))


def _segment(bench: StorageFixture, at: int) -> str:
    return bench.segments()[at]


GONE: dict[str, Callable[[StorageFixture], str]] = {
    "the current segment": lambda bench: _segment(bench, -1),
    "an earlier segment": lambda bench: _segment(bench, 0),
    "a snapshot": lambda bench: f"{bench.path}/snapshots/{bench.snapshot_names()[0]}",
    "the identity": lambda bench: f"{bench.path}/identity",
}


class TestAFileThatIsGone:
    """A process would go on writing into it, and all it acknowledges would go with the process."""

    @pytest.mark.parametrize("name", list(GONE), ids=lambda name: name.replace(" ", "-"))
    def test_ends_the_process(self, bench: StorageFixture, name: str) -> None:
        """With its name; and no save succeeds any more."""
        storage = bench.begin()
        fill_log(storage, 1, 40)
        take_snapshot(storage, 30)
        storage.look()
        assert bench.crashes == []
        path = GONE[name](bench)
        bench.disk.unlink(path)
        storage.look()
        storage.look()
        (failure,) = bench.crashes
        assert isinstance(failure.value, StorageError)
        assert f"{path} is gone: somebody has deleted or moved it" in str(failure.value)
        with pytest.raises(StorageError, match="is gone"):
            save(storage, entries_of(41, b"x"))

    def test_of_a_real_directory(self, tmp_path: Path) -> None:
        """Emptied by `rm -r DATADIR/*`: the lock, too, of which the next process would make another."""
        crashes: list[BaseException | None] = []
        storage = _real(tmp_path, crashes)
        storage.look()
        assert crashes == []
        (tmp_path / "lock").unlink()
        storage.look()
        assert "lock is gone" in str(crashes[0])
        storage = _real(tmp_path / "second", crashes)
        shutil.rmtree(tmp_path / "second")
        storage.look()
        assert len(crashes) == 2


class TestWhatIsAllRight:
    """A look finds no fault with a node that deletes, renames and begins files itself."""

    def test_in_the_middle_of_everything(self, bench: StorageFixture) -> None:
        """After each step of a life with rotations, snapshots, an install and compaction."""
        storage = bench.begin()
        for index in range(1, 80):
            fill_log(storage, index, index)
            if index % 9 == 0:
                take_snapshot(storage, index)
                storage.look()
                outcome(storage.compact())
            storage.look()
        peer = StorageFixture(Random(2)).begin()
        fill_log(peer, 1, 100)
        take_snapshot(peer, 100)
        send_snapshot(peer, metadata_at(100).last, storage)
        storage.look()
        save(storage, commit=100, snapshot=metadata_at(100))
        storage.look()
        storage = bench.restart()
        storage.look()
        assert bench.crashes == []

    def test_after_the_end(self, bench: StorageFixture) -> None:
        """The next process may be at the files."""
        storage = bench.begin()
        save(storage, entries_of(1, b"x"))
        outcome(storage.close())
        bench.disk.unlink(bench.segments()[0])
        storage.look()
        assert bench.crashes == []


def _real(path: Path, crashes: list[BaseException | None]) -> DurableStorage:
    directory = DataDirectory.open(RealFileSystem(), str(path))
    directory.create(IDENTITY, limits=SMALL_LIMITS)
    return directory.recover(
        run=run_here,
        fill=run_here,
        crash=lambda failure: crashes.append(failure.value),
        limits=SMALL_LIMITS,
    )
