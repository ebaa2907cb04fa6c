"""Who makes the log durable: the kernel itself where it can, else a thread, always in order.

A save that is one small write goes to Linux's io_uring (:mod:`raftdb.disk.io_uring`): whether 64 connections
write or one, a tenth more gets done. All else goes to a thread: what begins a segment, what is large, whose
hash should not hold up the reactor, and everything where io_uring is missing, forbidden (as in most
containers) or not wanted.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFDSet, IReactorFromThreads, IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from raftdb.disk.io_uring import Result, Ring
from raftdb.disk.threads import WorkThread
from raftdb.disk.work import PositionedWrite, SplitWrite
from raftdb.errors import ShuttingDown

T = TypeVar("T")

RING_BYTES_MAX = 16 * 1024
"""Of a write that is prepared in the reactor's thread; the hash of more takes longer than a thread."""

_NOT_THE_DISK = frozenset(
    {errno.EAGAIN, errno.ECANCELED, errno.EINTR, errno.EINVAL, errno.ENOMEM, errno.EOPNOTSUPP}
)
"""Errors of a write that say nothing of the disk: it was not begun, or may be begun again."""


class DurableWriter(Protocol):
    """What is asked of a :class:`~raftdb.disk.io_uring.Ring`."""

    def fileno(self) -> int:
        """Return what is readable while there is something to take."""

    def write(self, descriptor: int, offset: int, content: bytes, *, through: bool) -> bool:
        """Begin to write durably; False where only a part of that was begun."""

    def take(self) -> Result | None:
        """Return what came of it, or None."""

    def close(self) -> None:
        """Give everything back."""


class _UnderWay(NamedTuple):
    """What the kernel is writing."""

    work: SplitWrite
    bytes_count: int
    done: Deferred[None]


def _ring() -> Ring:
    return Ring(RING_BYTES_MAX)


@implementer(IReadDescriptor)
class Writer:
    """Does one piece of work after the other; a :class:`~raftdb.storage.limits.Run` in :meth:`run`.

    Invariant: while the kernel writes nothing else is begun, and while the thread works nothing is
    given to the kernel. What comes meanwhile waits, and is begun in the order it came.

    :param reactor: where results are delivered; one that watches descriptors can use a ring
    :param wanted: whether io_uring is to be tried
    :param ring: makes one, once, at the first small save; raises :class:`OSError` where it cannot
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorFromThreads,
        *,
        wanted: bool = True,
        ring: Callable[[], DurableWriter] = _ring,
    ) -> None:
        self._reactor = reactor
        self._thread = WorkThread(reactor, "raftdb-writer")
        self._make_ring = ring if wanted and IReactorFDSet.providedBy(reactor) else None
        self._ring: DurableWriter | None = None
        self._threaded = 0
        self._under_way: _UnderWay | None = None
        self._later: deque[Callable[[], None]] = deque()
        self._stopped: Deferred[None] | None = None

    def run(self, work: Callable[[], T], /) -> Deferred[T]:
        """Fire, in the reactor's thread, with what ``work`` returns or raises.

        :raises ShuttingDown: after :meth:`stop`
        """
        if self._stopped is not None:
            raise ShuttingDown
        if self._under_way is None:
            return self._begin(work)
        done: Deferred[T] = Deferred()
        self._later.append(lambda: self._begin_later(work, done))
        return done

    def stop(self) -> Deferred[None]:
        """Take nothing new; fire when all that was asked for is done."""
        if self._stopped is None:
            self._stopped = Deferred()
            self._go_on()
        return self._stopped

    # -- Twisted's side -------------------------------------------------------------------------

    def fileno(self) -> int:
        """Return the ring's descriptor, or -1 for none."""
        return -1 if self._ring is None else self._ring.fileno()

    def doRead(self) -> None:
        """Take the result."""
        assert self._ring is not None
        result = self._ring.take()
        if result is not None:
            self._ended(result)

    def connectionLost(self, reason: Failure) -> None:
        """Count what is under way as failed: the reactor watches no more, so nobody would hear of it."""
        self._make_ring = None
        if self._under_way is not None:
            self._settle(OSError(errno.EIO, f"nobody watches the ring: {reason.value}"))

    def logPrefix(self) -> str:
        """Return a name for the log."""
        return "raftdb-writer"

    # -- inside ---------------------------------------------------------------------------------

    def _begin(self, work: Callable[[], T]) -> Deferred[T]:
        """Begin work, before which nothing waits."""
        if self._make_ring is not None and not self._threaded and isinstance(work, SplitWrite):
            done = self._by_ring(work)
            if done is not None:
                return done  # type: ignore[return-value]  # T is None: it is what calling returns
        return self._in_thread(work)

    def _begin_later(self, work: Callable[[], T], done: Deferred[T]) -> None:
        self._begin(work).chainDeferred(done)

    def _by_ring(self, work: SplitWrite) -> Deferred[None] | None:
        """Hand small work to the kernel; None where it has to go to the thread."""
        if work.bytes_count > RING_BYTES_MAX:
            return None
        piece = work.begin()
        if piece is None:
            return None
        done: Deferred[None] = Deferred()
        self._under_way = _UnderWay(work, len(piece.content), done)
        if self._hand_over(piece):
            return done
        self._under_way = None
        return None

    def _hand_over(self, piece: PositionedWrite) -> bool:
        """Give a write to the kernel; False where it took nothing."""
        (descriptor, through), offset, content = piece
        try:
            if self._ring is None:
                assert self._make_ring is not None
                self._ring = self._make_ring()
                cast("IReactorFDSet", self._reactor).addReader(self)
                self._log.info("the log is written by io_uring")
            whole = self._ring.write(descriptor, offset, content, through=through)
        except OSError as error:
            self._give_up(error.strerror or str(error))
            return False
        if not whole:
            self._settle(OSError(errno.ENOMEM, "the kernel took a write without its sync"))
        return True

    def _ended(self, result: Result) -> None:
        """Go by the kernel's word; a failed sync is final, for a second one proves nothing."""
        assert self._under_way is not None
        work, bytes_count, done = self._under_way
        written, synced = result
        if written == bytes_count or synced != -errno.ECANCELED:
            code = -synced or (0 if written == bytes_count else errno.EIO)
            self._settle(OSError(code, os.strerror(code)) if code else None)
        elif written >= 0 or -written in _NOT_THE_DISK:
            self._give_up(
                f"it wrote {written} of {bytes_count} bytes"
                if written >= 0
                else os.strerror(-written)
            )
            self._in_thread(work).chainDeferred(done)
            self._under_way = None
            self._go_on()
        else:
            self._settle(OSError(-written, os.strerror(-written)))

    def _settle(self, error: OSError | None) -> None:
        """End what is under way, and begin what has waited for it."""
        assert self._under_way is not None
        work, _, done = self._under_way
        try:
            work.end(error)
        except Exception:  # noqa: BLE001  # it travels to whoever waits
            done.errback(Failure())
        else:
            done.callback(None)
        self._under_way = None
        self._go_on()

    def _go_on(self) -> None:
        """Begin what waits, as far as that goes; end where nothing is left and nothing may come."""
        while self._later and self._under_way is None:
            self._later.popleft()()
        if self._stopped is not None and self._under_way is None:
            self._let_go()
            self._thread.stop().chainDeferred(self._stopped)

    def _give_up(self, why: str) -> None:
        """Do without a ring from now on."""
        self._log.info("the log is written by a thread: io_uring: {why}", why=why)
        self._make_ring = None
        self._let_go()

    def _let_go(self) -> None:
        if self._ring is not None:
            cast("IReactorFDSet", self._reactor).removeReader(self)
            self._ring.close()
            self._ring = None

    def _in_thread(self, work: Callable[[], T]) -> Deferred[T]:
        self._threaded += 1
        return self._thread.run(work).addBoth(self._threaded_one)

    def _threaded_one(self, result: T) -> T:
        self._threaded -= 1
        return result
