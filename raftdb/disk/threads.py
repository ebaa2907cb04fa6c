"""One thread that does blocking work in order, and answers in the reactor's thread.

Storage is given two of these: the writer, whose work is an fsync, and the filler, whose work is
never urgent. One thread with a queue costs a fraction of Twisted's pool, and keeps the order.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads

from raftdb.errors import ShuttingDown

T = TypeVar("T")


class WorkThread:
    """Runs pieces of work one after the other in a thread of its own.

    The thread starts with the first piece, never before twistd has forked, and is a daemon: a disk
    that hangs for ever must not keep the process from ending.

    :param reactor: where the results are delivered
    :param name: of the thread, for debuggers
    """

    def __init__(self, reactor: IReactorFromThreads, name: str) -> None:
        self._reactor = reactor
        self._name = name
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._stopped: Deferred[None] | None = None

    def run(self, work: Callable[[], T], /) -> Deferred[T]:
        """Fire, in the reactor's thread, with what ``work`` returns or raises.

        :raises ShuttingDown: after :meth:`stop`
        """
        if self._stopped is not None:
            raise ShuttingDown
        if self._thread is None:
            self._thread = Thread(target=self._loop, name=self._name, daemon=True)
            self._thread.start()
        done: Deferred[T] = Deferred()
        answer = self._reactor.callFromThread

        def piece() -> None:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  (it travels to whoever waits)
                answer(done.errback, error)
            else:
                answer(done.callback, result)

        self._queue.put(piece)
        return done

    def stop(self) -> Deferred[None]:
        """Take nothing new; fire when all that was asked for is done."""
        if self._stopped is None:
            self._stopped = Deferred()
            if self._thread is None:
                self._stopped.callback(None)
            else:
                self._queue.put(None)
        return self._stopped

    def _loop(self) -> None:
        while (piece := self._queue.get()) is not None:
            piece()
        assert self._stopped is not None
        self._reactor.callFromThread(self._stopped.callback, None)
