"""What signals do to a process that runs a reactor: stop in order, as often as it is asked; reopen.

Twisted takes care of SIGTERM and SIGINT, once: a second one while a stop is under way raises
``ReactorNotRunning`` inside the reactor. SIGHUP and SIGUSR1 would end the process on the spot.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReactorCore, IReactorFromThreads
from twisted.logger import Logger

__all__ = ["on_signal", "stop_at_hangup", "stop_more_than_once"]

_log = Logger()


def stop_more_than_once(reactor: IReactorCore) -> None:
    """Have ``reactor.stop`` do nothing while a stop is under way, instead of raising."""
    stop = reactor.stop

    def stop_once() -> None:
        with suppress(ReactorNotRunning):
            stop()

    vars(reactor)["stop"] = stop_once


def stop_at_hangup(reactor: IReactorFromThreads) -> None:
    """Stop in order at SIGHUP, and end by it; where it is ignored (``nohup``) it stays so."""

    def stop() -> None:
        _log.info("Received SIGHUP, shutting down.")
        vars(reactor)["_exitSignal"] = signal.SIGHUP  # as Twisted notes SIGTERM and SIGINT
        cast("IReactorCore", reactor).stop()

    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        on_signal(reactor, signal.SIGHUP, stop)


def on_signal(
    reactor: IReactorFromThreads, number: signal.Signals, call: Callable[[], None]
) -> None:
    """Call ``call`` in a turn of the reactor whenever the signal arrives."""
    signal.signal(number, lambda _number, _frame: reactor.callFromThread(call))
