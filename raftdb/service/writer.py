"""Who makes the log durable: the kernel itself where it can, else a thread, always in order.

A save that is one small write goes to Linux's io_uring (:mod:`raftdb.ring`): at one connection a
write costs three nodes a sixth less, and comes back a sixth sooner. All else goes to a thread: what
begins a segment, what is large, whose hash should not hold up the reactor, and everything where
io_uring is missing, forbidden (as in most containers) or not wanted.
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

from raftdb.errors import ShuttingDown
from raftdb.ring import Ring
from raftdb.storage.limits import InHalves, Placed
from raftdb.threads import WorkThread

T = TypeVar("T")

DIRECT_BYTES_MAX = 16 * 1024
"""Of a write that is prepared in the reactor's thread; the hash of more takes longer than a thread."""

_NOT_THE_DISK = frozenset(
    {errno.EAGAIN, errno.ECANCELED, errno.EINTR, errno.EINVAL, errno.ENOMEM, errno.EOPNOTSUPP}
)
"""Errors of handing over, not of writing: nothing was synced in vain, so the thread may do it."""


class Handover(Protocol):
    """What is asked of a :class:`~raftdb.ring.Ring`."""

    def fileno(self) -> int:
        """Return what is readable while a result can be taken."""

    def write(self, descriptor: int, offset: int, content: bytes) -> None:
        """Begin to write durably."""

    def take(self) -> int | None:
        """Return the bytes written or a negative error, or None."""

    def close(self) -> None:
        """Give everything back."""


class _UnderWay(NamedTuple):
    """What the kernel is writing."""

    work: InHalves
    bytes_count: int
    done: Deferred[None]


@implementer(IReadDescriptor)
class Writer:
    """Does one piece of work after the other; a :class:`~raftdb.storage.limits.Run` in :meth:`run`.

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
        ring: Callable[[], Handover] = Ring,
    ) -> None:
        self._reactor = reactor
        self._thread = WorkThread(reactor, "raftdb-writer")
        self._make_ring = ring if wanted and IReactorFDSet.providedBy(reactor) else None
        self._ring: Handover | None = None
        self._threaded = 0
        self._under_way: _UnderWay | None = None
        self._later: deque[Callable[[], object]] = deque()
        self._stopped: Deferred[None] | None = None

    def run(self, work: Callable[[], T], /) -> Deferred[T]:
        """Fire, in the reactor's thread, with what ``work`` returns or raises.

        :raises ShuttingDown: after :meth:`stop`
        """
        if self._stopped is not None:
            raise ShuttingDown
        if self._under_way is None and not self._threaded:
            if self._make_ring is not None and isinstance(work, InHalves):
                direct = self._directly(work)
                if direct is not None:
                    return cast("Deferred[T]", direct)
            return self._in_thread(work)
        if self._under_way is None:
            return self._in_thread(work)
        done: Deferred[T] = Deferred()
        self._later.append(lambda: self._in_thread(work).chainDeferred(done))
        return done

    def stop(self) -> Deferred[None]:
        """Take nothing new; fire when all that was asked for is done."""
        if self._stopped is None:
            self._stopped = Deferred()
            if self._under_way is None:
                self._end()
        return self._stopped

    # -- Twisted's side -------------------------------------------------------------------------

    def fileno(self) -> int:
        """Return the ring's descriptor, or -1 for none."""
        return -1 if self._ring is None else self._ring.fileno()

    def doRead(self) -> None:
        """Take the result."""
        assert self._ring is not None
        result = self._ring.take()
        if result is None:
            return
        assert self._under_way is not None
        (work, bytes_count, done), self._under_way = self._under_way, None
        if result == bytes_count:
            self._settle(work, done, None)
        elif result >= 0 or -result in _NOT_THE_DISK:
            self._give_up(errno.EIO if result >= 0 else -result)
            self._in_thread(work).chainDeferred(done)
        else:
            self._settle(work, done, OSError(-result, os.strerror(-result)))
        while self._later:
            self._later.popleft()()
        if self._stopped is not None:
            self._end()

    def connectionLost(self, reason: Failure) -> None:
        """Do without: the reactor watches it no more."""

    def logPrefix(self) -> str:
        """Return a name for the log."""
        return "raftdb-writer"

    # -- inside ---------------------------------------------------------------------------------

    def _directly(self, work: InHalves) -> Deferred[None] | None:
        """Hand small work to the kernel; None where it has to go to the thread."""
        piece = work.begin()
        if piece is None or len(piece.content) > DIRECT_BYTES_MAX:
            return None
        if not self._hand_over(piece):
            return None
        done: Deferred[None] = Deferred()
        self._under_way = _UnderWay(work, len(piece.content), done)
        return done

    def _hand_over(self, piece: Placed) -> bool:
        try:
            if self._ring is None:
                assert self._make_ring is not None
                self._ring = self._make_ring()
                cast("IReactorFDSet", self._reactor).addReader(self)
                self._log.info("the log is written by io_uring")
            self._ring.write(*piece)
        except OSError as error:
            self._give_up(error.errno or errno.EIO)
            return False
        return True

    def _give_up(self, code: int) -> None:
        """Do without a ring from now on."""
        self._log.info("the log is written by a thread: io_uring: {error}", error=os.strerror(code))
        self._make_ring = None
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

    def _settle(self, work: InHalves, done: Deferred[None], error: OSError | None) -> None:
        try:
            work.end(error)
        except Exception:  # noqa: BLE001  # it travels to whoever waits
            done.errback(Failure())
        else:
            done.callback(None)

    def _end(self) -> None:
        assert self._stopped is not None
        if self._ring is not None:
            cast("IReactorFDSet", self._reactor).removeReader(self)
            self._ring.close()
            self._ring = None
        self._thread.stop().chainDeferred(self._stopped)
