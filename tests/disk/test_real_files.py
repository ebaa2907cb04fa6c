from __future__ import annotations

import contextlib
import os
import resource
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random
from typing import TypeVar

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import implementer

from raftdb.disk.threads import WorkThread
from raftdb.errors import ShuttingDown, StorageError
from raftdb.raft.ready import Ready
from raftdb.raft.types import EntryID, HardState
from raftdb.simulation.disk.lossy_disk import LossyDisk
from raftdb.simulation.disk.storage_fixture import (
    IDENTITY,
    SMALL_LIMITS,
    entries_of,
    fill_log,
    log_of,
    outcome,
    read_snapshot,
    sections_at,
    take_snapshot,
)
from raftdb.storage import DataDirectory, DurableStorage, FileSystem, RealFileSystem, run_here

T = TypeVar("T")


def opened(path: Path) -> DurableStorage:
    directory = DataDirectory.open(RealFileSystem(), str(path))
    if directory.identity is None:
        directory.create(IDENTITY, limits=SMALL_LIMITS)
    return directory.recover(run=run_here, fill=run_here, crash=print, limits=SMALL_LIMITS)


@pytest.mark.skipif(sys.platform == "win32", reason="limits are POSIX")
class TestWithoutDescriptors:
    """Idle connections have taken every descriptor of the process."""

    def test_the_log_goes_on_by_its_reserve(self, tmp_path: Path) -> None:
        """Segments are begun, spares made, a snapshot taken and read, a peer's included."""
        files = RealFileSystem(reserve=4)
        directory = DataDirectory.open(files, str(tmp_path))
        directory.create(IDENTITY, limits=SMALL_LIMITS)
        crashes: list[object] = []
        storage = directory.recover(
            run=run_here, fill=run_here, crash=crashes.append, limits=SMALL_LIMITS
        )
        with _all_descriptors_taken():
            fill_log(storage, 1, 60)
            take_snapshot(storage, 30)
            take_snapshot(storage, 50)
            outcome(storage.compact())
            assert read_snapshot(storage, EntryID(1, 50)) == sections_at(50)
            storage.look()
            outcome(storage.close())
        assert crashes == []
        assert len(log_of(opened(tmp_path))) >= 30
        files.release()

    def test_a_spare_waits_where_there_is_no_reserve(self, tmp_path: Path) -> None:
        """What has its descriptors goes on."""
        opened(tmp_path).close()
        for spare in (tmp_path / "wal").glob("*.spare"):
            spare.unlink()
        storage = opened(tmp_path)
        with _all_descriptors_taken():
            fill_log(storage, 1, 3)
        assert not list((tmp_path / "wal").glob("*.spare"))
        fill_log(storage, 4, 4)
        assert list((tmp_path / "wal").glob("*.spare"))
        outcome(storage.close())


@contextmanager
def _all_descriptors_taken() -> Iterator[None]:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit[0], 256), limit[1]))
    taken: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


class TestOnARealDisk:
    """The same storage over the operating system's files."""

    def test_keeps_what_it_was_given(self, tmp_path: Path) -> None:
        """Over rotation, compaction, a clean stop and two starts."""
        path = tmp_path / "deep" / "data"
        storage = opened(path)
        fill_log(storage, 1, 40, size=300)
        take_snapshot(storage, 20)
        take_snapshot(storage, 30)
        outcome(storage.compact())
        before = log_of(storage)
        outcome(storage.close())
        for _ in range(2):
            storage = opened(path)
            assert log_of(storage)[-len(before) :] == before
            assert read_snapshot(storage, EntryID(1, 30)) == sections_at(30)
            outcome(storage.close())

    @pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX")
    def test_belongs_to_its_owner_alone(self, tmp_path: Path) -> None:
        """Directories 0700, files 0600, also where the directory was there before."""
        path = tmp_path / "data"
        path.mkdir(mode=0o755)
        storage = opened(path)
        fill_log(storage, 1, 20)
        take_snapshot(storage, 5)
        for directory, _, files in os.walk(path):
            assert stat.S_IMODE(Path(directory).stat().st_mode) == 0o700
            for name in files:
                assert stat.S_IMODE((Path(directory) / name).stat().st_mode) == 0o600
        outcome(storage.close())

    def test_is_locked(self, tmp_path: Path) -> None:
        """A second opening is refused until the first is closed."""
        storage = opened(tmp_path / "data")
        with pytest.raises(StorageError, match="in use by another process"):
            opened(tmp_path / "data")
        outcome(storage.close())
        outcome(opened(tmp_path / "data").close())

    def test_a_path_that_is_a_file(self, tmp_path: Path) -> None:
        """Is refused with a reason."""
        (tmp_path / "data").write_text("something else")
        with pytest.raises(StorageError, match="cannot be used"):
            opened(tmp_path / "data")


class TestBothFileSystemsAgree:
    """What the tests believe of the simulated disk holds on the real one."""

    def test_on_the_same_operations(self, tmp_path: Path) -> None:
        """Contents, names, and errors by their class."""
        disk = LossyDisk(Random(1))
        disk.mkdir("/top")
        assert self._life(RealFileSystem(), str(tmp_path)) == self._life(disk, "/top")

    def _life(self, files: FileSystem, top: str) -> list[object]:
        seen: list[object] = []
        directory = f"{top}/d"
        files.mkdir(directory)
        files.mkdir(directory)
        file = files.open(f"{directory}/a", create=True)
        file.write_at(10, b"hello")
        file.write_at(0, b"x")
        file.fsync()
        file.fdatasync()
        seen.extend((file.size(), file.read_at(0, 12), file.read_at(14, 100), file.read_at(99, 1)))
        files.rename(f"{directory}/a", f"{directory}/b")
        files.fsync_dir(directory)
        seen.extend((files.list(directory), files.list(f"{top}/none"), file.read_at(10, 5)))
        file.close()
        for attempt in (
            lambda: files.open(f"{directory}/a"),
            lambda: files.open(f"{directory}/b", create=True),
            lambda: files.unlink(f"{directory}/a"),
            lambda: files.rename(f"{directory}/a", f"{directory}/c"),
            lambda: file.read_at(0, 1),
        ):
            with pytest.raises(OSError) as caught:  # noqa: PT011  (the class is what is compared)
                attempt()
            seen.append(caught.type)
        again = files.open(f"{directory}/b")
        seen.append(again.read_at(0, 100))
        again.close()
        sectors = files.open(f"{directory}/b", sectors=True)
        sectors.write_at(512, b"s" * 1024)
        sectors.fdatasync()
        sectors.write_at(0, b"t" * 1024)
        seen.extend((sectors.size(), sectors.read_at(0, 2000)))
        sectors.close()
        with pytest.raises(OSError) as caught:  # noqa: PT011  (the class is what is compared)
            sectors.write_at(0, b"u" * 512)
        seen.append(caught.type)
        files.unlink(f"{directory}/b")
        seen.extend((files.list(directory), files.is_dir(directory), files.is_dir(f"{top}/x")))
        lock = files.lock(f"{directory}/lock")
        with pytest.raises(BlockingIOError):
            files.lock(f"{directory}/lock")
        lock.close()
        files.lock(f"{directory}/lock").close()
        assert files.free_bytes(directory) > 0
        return seen


@implementer(IReactorFromThreads)
class Mailbox:
    """A reactor reduced to what a thread asks of it."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[tuple[Callable[..., object], object]] = SimpleQueue()

    def callFromThread(  # noqa: N802  (Twisted's name)
        self,
        callable: Callable[..., object],  # noqa: A002  (same)
        *args: object,
        **kwargs: object,
    ) -> None:
        assert not kwargs
        (argument,) = args
        self.calls.put((callable, argument))

    def deliver(self) -> None:
        """Wait for one call and make it here."""
        function, argument = self.calls.get(timeout=10)
        function(argument)

    def wait_for(self, deferred: Deferred[T]) -> T:
        """Deliver until it has fired; return what with."""
        seen: list[T] = []
        deferred.addCallback(seen.append)
        while not seen:
            self.deliver()
        return seen[0]

    def is_empty(self) -> bool:
        try:
            self.calls.get_nowait()
        except Empty:
            return True
        return False


class TestTheWorkThread:
    """Blocking work in order, answers in the reactor's thread."""

    def test_answers_in_order(self) -> None:
        """Results and failures alike, and nothing before the reactor turns."""
        mailbox = Mailbox()
        thread = WorkThread(mailbox, "writer")
        seen: list[object] = []
        for number in range(3):
            thread.run(lambda number=number: 6 // number).addBoth(seen.append)  # type: ignore[misc]  # mypy cannot infer such a lambda
        assert seen == []
        for _ in range(3):
            mailbox.deliver()
        assert seen[1:] == [6, 3]
        assert getattr(seen[0], "type", None) is ZeroDivisionError

    def test_stops_after_what_was_asked_for(self) -> None:
        """And takes nothing new."""
        mailbox = Mailbox()
        thread = WorkThread(mailbox, "writer")
        seen: list[object] = []
        thread.run(lambda: "work").addCallback(seen.append)
        stopped = thread.stop()
        stopped.addCallback(lambda _: seen.append("stopped"))
        with pytest.raises(ShuttingDown):
            thread.run(lambda: None)
        mailbox.deliver()
        mailbox.deliver()
        assert seen == ["work", "stopped"]
        assert thread.stop() is stopped
        assert mailbox.is_empty()

    def test_stops_at_once_where_it_never_started(self) -> None:
        """No thread is made for nothing."""
        assert WorkThread(Mailbox(), "writer").stop().called

    def test_carries_storage(self, tmp_path: Path) -> None:
        """A save is planned here, done there, and shown here again."""
        mailbox = Mailbox()
        writer, filler = WorkThread(mailbox, "writer"), WorkThread(mailbox, "filler")
        directory = DataDirectory.open(RealFileSystem(), str(tmp_path / "data"))
        directory.create(IDENTITY, limits=SMALL_LIMITS)
        storage = directory.recover(
            run=writer.run, fill=filler.run, crash=print, limits=SMALL_LIMITS
        )
        for index in range(1, 30):
            saved = storage.save(Ready(HardState(1, None, 0), entries_of(index, b"x" * 200)))
            assert storage.log.last_index() == index - 1
            mailbox.wait_for(saved)
            assert storage.log.last_index() == index
        mailbox.wait_for(storage.close())
        for thread in (writer, filler):
            mailbox.wait_for(thread.stop())
        before = log_of(storage)
        storage = opened(tmp_path / "data")
        assert log_of(storage) == before
        outcome(storage.close())
