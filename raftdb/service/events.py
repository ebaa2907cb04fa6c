"""Events of sockets handed on as they are, without a log context around each.

Twisted's reactor for epoll makes a context of every event, so that a message of its legacy log can
tell whose it was: eight calls and two dictionaries for each request, a tenth of what a read costs.
raftdb logs by twisted.logger, which never looks there; what others log in this process the old way
while an event is handled bears ``-`` in that place.
"""

from __future__ import annotations

from functools import partial

from twisted.logger import Logger

try:
    from twisted.internet.epollreactor import EPollReactor
except ImportError:  # not on Linux
    EPollReactor = None  # type: ignore[assignment,misc]  # no reactor is one

__all__ = ["hand_on"]

_USED = ("_poller", "_selectables", "_doReadOrWrite")
_log = Logger()


def hand_on(reactor: object) -> None:
    """Have ``reactor`` hand events on directly, if it is Twisted's for epoll; once more is harmless.

    A Twisted whose reactor for epoll is made otherwise keeps its own way.
    """
    if type(reactor) is EPollReactor and all(hasattr(reactor, name) for name in _USED):
        reactor.doIteration = partial(_iterate, reactor)  # type: ignore[method-assign]  # the seam


def _iterate(reactor: EPollReactor, timeout: float | None) -> None:
    """Wait for events and handle them: ``EPollReactor.doPoll`` but for the contexts."""
    selectables = reactor._selectables  # noqa: SLF001  # in every Twisted since epoll is
    try:
        events = reactor._poller.poll(-1 if timeout is None else timeout, len(selectables))  # noqa: SLF001
    except InterruptedError:
        return
    handle = reactor._doReadOrWrite  # noqa: SLF001
    for fd, event in events:
        selectable = selectables.get(fd)
        if selectable is None:
            continue  # it went with an earlier one of these events
        try:
            handle(selectable, fd, event)
        except Exception:  # noqa: BLE001  # one socket's trouble is no other's
            _log.failure("an event of {socket!r} could not be handled", socket=selectable)
