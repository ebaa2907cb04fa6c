"""One thread that does blocking work, one piece after the other, and answers in the reactor.

Storage is given two of these, one that writes and one that fills segments ahead of need; it never
sees a thread itself. A dedicated thread answers in two thirds of the time a thread pool needs.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

T = TypeVar("T")


class Worker:
    """A queue and the thread that empties it, in order.

    :param reactor: where results are delivered
    :param name: the thread's, as debuggers and ``top -H`` show it
    """

    def __init__(self, reactor: IReactorFromThreads, name: str) -> None:
        self._reactor = reactor
        self._queue: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        # A daemon: an fsync that hangs for ever must not keep a process alive that gave up.
        self._thread = Thread(target=self._work, name=name, daemon=True)

    def start(self) -> None:
        """Begin to work; not before twistd has forked, for threads do not survive that."""
        self._thread.start()

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        """Queue ``work``; the Deferred fires in the reactor with its result or its failure."""
        answer: Deferred[T] = Deferred()

        def piece() -> None:
            try:
                result = work()
            except BaseException:  # noqa: BLE001  # whatever it is, it is the caller's to judge
                failure = Failure()  # type: ignore[no-untyped-call]  # Twisted has not typed it
                self._reactor.callFromThread(answer.errback, failure)
            else:
                self._reactor.callFromThread(answer.callback, result)

        self._queue.put(piece)
        return answer

    def stop(self) -> Deferred[None]:
        """Fire when everything queued so far is done; the thread ends then."""
        done = self.run(lambda: None)
        self._queue.put(None)
        return done

    def _work(self) -> None:
        while (piece := self._queue.get()) is not None:
            piece()
