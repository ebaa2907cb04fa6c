"""What a node wants of Twisted's reactor: the one type of it, and the clock that it goes by."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from twisted.internet.interfaces import IReactorCore, IReactorFromThreads, IReactorTime


class Reactor(IReactorCore, IReactorTime, IReactorFromThreads):
    """A clock, sockets by way of endpoints, and calls from threads."""


def running_seconds() -> Callable[[], float]:
    """Return the monotonic clock, in seconds, that counts the time a machine was suspended.

    1. The leader's machine is suspended for 30 s. 2. The others elect a leader and acknowledge
    writes. 3. It wakes up. By Linux's CLOCK_MONOTONIC, which stood still, no time has passed, and
    the leader answers from a lease that ended long ago. CLOCK_BOOTTIME went on, and every timer is
    overdue at the wake-up, as after a pause of the process. Where there is no such clock it is
    Python's monotonic one.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):
        return partial(time.clock_gettime, time.CLOCK_BOOTTIME)
    return time.monotonic
