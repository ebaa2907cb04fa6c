"""Events of sockets handed on as they are, and what is to happen once all of them are.

Twisted's reactor for epoll makes a context of every event, so that a message of its legacy log can
tell whose it was: eight calls and two dictionaries for each request, a tenth of what a read costs.
raftdb logs by twisted.logger, which never looks there; what others log in this process the old way
while an event is handled bears ``-`` in that place.

A turn of the replica belongs behind the events that have come together. By ``callLater(0)`` it gets
there through a heap of all timers, thirty comparisons in Python for each write; here through a list.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

try:
    from twisted.internet.epollreactor import EPollReactor
except ImportError:  # not on Linux
    EPollReactor = None  # type: ignore[assignment,misc]  # no reactor is one

__all__ = ["hand_on", "soon"]

Soon: TypeAlias = Callable[[Callable[[], None]], object]
"""Has something called once, soon, but never before it returns itself."""

_USED = ("_poller", "_selectables", "_doReadOrWrite")


def hand_on(reactor: object) -> None:
    """Have ``reactor`` hand events on directly, if it is Twisted's for epoll; once more is harmless.

    A Twisted whose reactor for epoll is made otherwise keeps its own way.
    """
    if (
        type(reactor) is EPollReactor
        and all(hasattr(reactor, name) for name in _USED)
        and "doIteration" not in vars(reactor)  # ours, or somebody else's around it
    ):
        reactor.doIteration = _Iteration(reactor)  # type: ignore[method-assign]  # the seam


def soon(reactor: IReactorTime) -> Soon:
    """Return what has something called behind the events that ``reactor`` has at hand.

    Behind all events of its pass, in the order of asking; what is asked for meanwhile comes behind
    those of the next one, which waits for none. Where the reactor keeps its own way: ``callLater(0)``.
    """
    hand_on(reactor)
    iteration = getattr(reactor, "doIteration", None)
    return iteration.soon if isinstance(iteration, _Iteration) else partial(reactor.callLater, 0)


class _Iteration:
    """One pass: ``EPollReactor.doPoll`` but for the contexts, and then what is due behind it."""

    _log = Logger()

    def __init__(self, reactor: EPollReactor) -> None:
        self._reactor = reactor
        self._due: list[Callable[[], None]] = []

    def soon(self, call: Callable[[], None]) -> None:
        """Call it at the end of the pass, or of the next one."""
        self._due.append(call)

    def __call__(self, timeout: float | None) -> None:
        """Wait for events, unless something is due, and handle both."""
        reactor = self._reactor
        selectables = reactor._selectables  # noqa: SLF001  # in every Twisted since epoll is
        wait = 0 if self._due else -1 if timeout is None else timeout
        try:
            events = reactor._poller.poll(wait, len(selectables))  # noqa: SLF001
        except InterruptedError:
            events = []
        handle = reactor._doReadOrWrite  # noqa: SLF001
        for fd, event in events:
            selectable = selectables.get(fd)
            if selectable is None:
                continue  # it went with an earlier one of these events
            try:
                handle(selectable, fd, event)
            except Exception:  # noqa: BLE001  # one socket's trouble is no other's
                self._log.failure("an event of {socket!r} could not be handled", socket=selectable)
        due, self._due = self._due, []
        for call in due:
            try:
                call()
            except BaseException:  # noqa: BLE001  # nor is one call's, as with timers
                self._log.failure("{call!r} failed", call=call)
