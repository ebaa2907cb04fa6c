"""Who writes the log: the ring where it can, a thread for all the rest, in order either way."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Coroutine, Iterator
from functools import wraps
from pathlib import Path
from typing import ParamSpec, cast

import pytest
import pytest_twisted  # type: ignore[import-untyped]  # it has no stubs
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.posixbase import PosixReactorBase
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from raftdb.disk.files import WriteHandle
from raftdb.disk.io_uring import Result, Ring
from raftdb.disk.work import PositionedWrite, SplitWrite
from raftdb.disk.writer import RING_BYTES_MAX, DurableWriter, Writer
from raftdb.errors import ShuttingDown, StorageError
from raftdb.raft.ready import Ready
from raftdb.raft.types import HardState
from raftdb.simulation.disk.storage_fixture import IDENTITY, SMALL_LIMITS, entries_of, log_of
from raftdb.storage import DataDirectory, RealFileSystem, run_here

P = ParamSpec("P")
reactor = cast("PosixReactorBase", _reactor)


def in_turns(
    test: Callable[P, Coroutine[Deferred[object], object, None]],
) -> Callable[P, Deferred[None]]:
    """Let the reactor turn while a test waits."""

    @wraps(test)
    def begin(*arguments: P.args, **options: P.kwargs) -> Deferred[None]:
        return Deferred.fromCoroutine(test(*arguments, **options))

    return begin


class ToldRing:
    """A ring over a pipe that writes nothing and reports what it is told to report."""

    def __init__(self, *, refuses: int = 0, whole: bool = True) -> None:
        self._reading, self._writing = os.pipe()
        self._refuses = refuses
        self._whole = whole
        self._results: list[Result] = []
        self.asked: list[bytes] = []
        self.through: list[bool] = []
        self.closed = False

    def fileno(self) -> int:
        """Return what is readable after :meth:`tell`."""
        return self._reading

    def write(self, descriptor: int, offset: int, content: bytes, *, through: bool) -> bool:
        """Note it."""
        assert (descriptor, offset) == (0, 0)
        self.through.append(through)
        if self._refuses:
            raise OSError(self._refuses, os.strerror(self._refuses))
        self.asked.append(content)
        return self._whole

    def tell(self, written: int, synced: int | None = None) -> None:
        """Have the last write end like this; its sync is cancelled by default where it is short."""
        if synced is None:
            synced = 0 if written == len(self.asked[-1]) else -errno.ECANCELED
        self._results.append(Result(written, synced))
        os.write(self._writing, b"x")

    def take(self) -> Result | None:
        """Return what was told."""
        os.read(self._reading, 1)
        return self._results.pop()

    def close(self) -> None:
        """End."""
        if not self.closed:
            os.close(self._reading)
            os.close(self._writing)
        self.closed = True


class Step(SplitWrite):
    """Work that writes down how it was done."""

    def __init__(self, content: bytes | None, seen: list[object], *, through: bool) -> None:
        self._content = content
        self._seen = seen
        self._through = through

    def __call__(self) -> None:
        """Be done by the thread."""
        self._seen.append("called")

    @property
    def bytes_count(self) -> int:
        """Of the content."""
        return len(self._content or b"")

    def begin(self) -> PositionedWrite | None:
        """Be done by the ring, unless there is no content; nobody asks for what is large."""
        assert self.bytes_count <= RING_BYTES_MAX
        door = WriteHandle(0, through=self._through)
        return None if self._content is None else PositionedWrite(door, 0, self._content)

    def end(self, error: OSError | None) -> None:
        """Hear of it."""
        if error is not None:
            raise StorageError("it is over") from error
        self._seen.append("written")


class Bench:
    """A writer over the real reactor, and a ring that obeys."""

    def __init__(self) -> None:
        self.ring = ToldRing()
        self.rings = 0
        self.seen: list[object] = []
        self.writer = Writer(reactor, ring=self.make)
        self._more: list[Writer] = [self.writer]

    def make(self) -> DurableWriter:
        """Make the only ring."""
        self.rings += 1
        return self.ring

    def other(self, ring: Callable[[], DurableWriter], *, wanted: bool = True) -> Writer:
        """Return a second writer."""
        writer = Writer(reactor, wanted=wanted, ring=ring)
        self._more.append(writer)
        return writer

    def step(self, content: bytes | None = b"abc", *, through: bool = False) -> Step:
        """Return work of this bench."""
        return Step(content, self.seen, through=through)

    def close(self) -> None:
        """Let go of everything."""
        for writer in self._more:
            pytest_twisted.blockon(writer.stop())
        self.ring.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    """Hold a writer."""
    bench = Bench()
    yield bench
    bench.close()


class TestASmallSave:
    """Goes to the ring."""

    @in_turns
    async def test_ends_with_the_kernels_write(self, bench: Bench) -> None:
        """Not before, and by no thread."""
        saved = bench.writer.run(bench.step())
        assert bench.ring.asked == [b"abc"]
        assert not saved.called
        bench.ring.tell(3)
        await saved
        assert bench.seen == ["written"]

    @pytest.mark.parametrize("through", [True, False])
    @in_turns
    async def test_is_synced_as_its_file_needs_it(self, bench: Bench, through: bool) -> None:
        """The ring hears whether a sync has to follow."""
        saved = bench.writer.run(bench.step(through=through))
        assert bench.ring.through == [through]
        bench.ring.tell(3)
        await saved

    @pytest.mark.parametrize(
        ("written", "synced", "expected"),
        [
            (-errno.EIO, -errno.ECANCELED, errno.EIO),
            (-errno.ENOSPC, -errno.ECANCELED, errno.ENOSPC),
            (3, -errno.EIO, errno.EIO),
            (3, -errno.ENOMEM, errno.ENOMEM),
            (3, -errno.EAGAIN, errno.EAGAIN),
            (3, -errno.ECANCELED, errno.ECANCELED),
            (2, 0, errno.EIO),
            (2, -errno.EIO, errno.EIO),
            (-errno.EIO, -errno.EIO, errno.EIO),
            (-errno.EAGAIN, -errno.EAGAIN, errno.EAGAIN),
        ],
    )
    @in_turns
    async def test_that_the_disk_failed_is_not_tried_again(
        self, bench: Bench, written: int, synced: int, expected: int
    ) -> None:
        """After a failed sync nobody knows what the disk holds: a second one proves nothing."""
        saved = bench.writer.run(bench.step())
        bench.ring.tell(written, synced)
        with pytest.raises(StorageError) as caught:
            await saved
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == expected
        assert bench.seen == []

    @in_turns
    async def test_that_lost_its_sync_is_not_tried_again(self, bench: Bench) -> None:
        """The kernel took the write alone: it may come at any time, and nobody would hear of it."""
        ring = ToldRing(whole=False)
        with pytest.raises(StorageError):
            await bench.other(lambda: ring).run(bench.step())
        assert bench.seen == []

    @in_turns
    async def test_that_nobody_watches_has_failed(self, bench: Bench) -> None:
        """Whatever made the reactor let go of the ring: no save waits for ever."""
        saved = bench.writer.run(bench.step())
        reactor.removeReader(bench.writer)
        bench.writer.connectionLost(Failure(ConnectionLost()))
        with pytest.raises(StorageError):
            await saved
        await bench.writer.run(bench.step())
        assert bench.seen == ["called"]

    @pytest.mark.parametrize(
        "result", [2, 0, -errno.EAGAIN, -errno.EINTR, -errno.EINVAL, -errno.EOPNOTSUPP]
    )
    @in_turns
    async def test_that_the_ring_could_not_do_is_the_threads(
        self, bench: Bench, result: int
    ) -> None:
        """And all that follow: a short write, or an error of handing over."""
        saved = bench.writer.run(bench.step())
        bench.ring.tell(result)
        await saved
        assert bench.seen == ["called"]
        assert bench.ring.closed
        await bench.writer.run(bench.step())
        assert bench.seen == ["called", "called"]
        assert bench.rings == 1

    @in_turns
    async def test_that_the_kernel_does_not_take_is_the_threads(self, bench: Bench) -> None:
        """Nothing is under way then."""
        ring = ToldRing(refuses=errno.EBUSY)
        await bench.other(lambda: ring).run(bench.step())
        assert bench.seen == ["called"]
        assert ring.closed


class TestWithoutARing:
    """Everything goes on as ever."""

    @in_turns
    async def test_where_it_is_forbidden(self, bench: Bench) -> None:
        """It is tried once, and the log says why it is not used."""
        tried: list[None] = []

        def forbidden() -> DurableWriter:
            tried.append(None)
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

        writer = bench.other(forbidden)
        with capturedLogs() as events:
            for _ in range(3):
                await writer.run(bench.step())
        assert bench.seen == ["called"] * 3
        assert len(tried) == 1
        assert [event["why"] for event in events if "why" in event] == [os.strerror(errno.EPERM)]

    @in_turns
    async def test_where_it_is_not_wanted(self, bench: Bench) -> None:
        """``--log-writer thread``."""
        await bench.other(bench.make, wanted=False).run(bench.step())
        assert bench.seen == ["called"]
        assert bench.rings == 0


class TestOtherWork:
    """Goes to the thread, and never past what was asked for before."""

    @pytest.mark.parametrize("content", [None, b"x" * (RING_BYTES_MAX + 1)])
    @in_turns
    async def test_that_is_more_than_a_small_write(
        self, bench: Bench, content: bytes | None
    ) -> None:
        """What begins a segment, and what takes long to hash."""
        await bench.writer.run(bench.step(content))
        assert bench.seen == ["called"]
        assert await bench.writer.run(lambda: "result") == "result"

    @in_turns
    async def test_waits_for_the_ring(self, bench: Bench) -> None:
        """Closing the log behind a save, for one."""
        bench.writer.run(bench.step())
        closed = bench.writer.run(lambda: bench.seen.append("closed"))
        last = bench.writer.run(lambda: bench.seen.append("last"))
        bench.ring.tell(3)
        await closed
        await last
        assert bench.seen == ["written", "closed", "last"]

    @in_turns
    async def test_is_not_overtaken_from_a_callback(self, bench: Bench) -> None:
        """Not even by what is asked for in the moment in which a save ends."""
        asked: list[Deferred[object]] = []
        saved = bench.writer.run(bench.step())
        saved.addCallback(
            lambda _: asked.append(bench.writer.run(lambda: bench.seen.append("asked in it")))
        )
        waiting = bench.writer.run(lambda: bench.seen.append("asked before"))
        bench.ring.tell(3)
        await waiting
        await asked[0]
        assert bench.seen == ["written", "asked before", "asked in it"]

    @in_turns
    async def test_holds_up_the_ring(self, bench: Bench) -> None:
        """A small save behind a large one is the thread's, too."""
        first = bench.writer.run(lambda: bench.seen.append("first"))
        second = bench.writer.run(bench.step())
        await first
        await second
        assert bench.seen == ["first", "called"]
        third = bench.writer.run(bench.step())
        bench.ring.tell(3)
        await third
        assert bench.seen == ["first", "called", "written"]


class TestAStop:
    """Takes nothing new, and ends after what was asked for."""

    @in_turns
    async def test_waits_for_the_ring(self, bench: Bench) -> None:
        """And for what waits behind it."""
        bench.writer.run(bench.step())
        bench.writer.run(lambda: bench.seen.append("closed"))
        stopped = bench.writer.stop()
        assert not stopped.called
        with pytest.raises(ShuttingDown):
            bench.writer.run(bench.step())
        bench.ring.tell(3)
        await stopped
        assert bench.seen == ["written", "closed"]
        assert bench.ring.closed
        assert bench.writer not in reactor.getReaders()

    @in_turns
    async def test_may_be_asked_for_from_a_callback(self, bench: Bench) -> None:
        """What waits is done all the same."""
        stopped: list[Deferred[None]] = []
        saved = bench.writer.run(bench.step())
        saved.addCallback(lambda _: stopped.append(bench.writer.stop()))
        waiting = bench.writer.run(lambda: bench.seen.append("asked before"))
        bench.ring.tell(3)
        await waiting
        await stopped[0]
        assert bench.seen == ["written", "asked before"]


class TestStorage:
    """A log written by the kernel is the same log."""

    @in_turns
    async def test_is_there_after_a_restart(self, tmp_path: Path) -> None:
        """Small and large saves, and segments begun between them."""
        rings: list[Ring] = []

        def ring() -> Ring:
            rings.append(Ring(RING_BYTES_MAX))
            return rings[0]

        writer = Writer(reactor, ring=ring)
        directory = DataDirectory.open(RealFileSystem(), str(tmp_path / "data"))
        directory.create(IDENTITY, limits=SMALL_LIMITS)
        storage = directory.recover(run=writer.run, fill=run_here, crash=print, limits=SMALL_LIMITS)
        for index in range(1, 60):
            entries = entries_of(index, b"x" * (20_000 if index % 7 == 0 else 300))
            saved: Deferred[None] = storage.save(Ready(HardState(1, None, 0), entries))
            assert storage.log.last_index() == index - 1
            await saved
            assert storage.log.last_index() == index
        before = log_of(storage)
        await storage.close()
        await writer.stop()
        directory = DataDirectory.open(RealFileSystem(), str(tmp_path / "data"))
        storage = directory.recover(run=run_here, fill=run_here, crash=print, limits=SMALL_LIMITS)
        assert log_of(storage) == before
        await storage.close()
