"""The beat: turns the clock into the core's ticks, and measures how late the reactor is.

One call is outstanding at a time and the next one is set from now on, never from when this one
should have come: after a pause a follower so gets one tick in a turn, and what its leader sent in
the meantime is read before the next [R13]. The number of ticks that really passed goes along, for a
leader must count all of them.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Ticker:
    """Calls ``tick(elapsed)`` once per ``tick_s``, with the ticks that passed, at least 1.

    :param clock: the monotonic clock
    :param tick_s: seconds per tick
    :param tick: is called with the number of ticks since the last call
    """

    def __init__(self, clock: IReactorTime, tick_s: float, tick: Callable[[int], None]) -> None:
        self._clock = clock
        self._tick_s = tick_s
        self._tick = tick
        self._call: IDelayedCall | None = None
        self._counted_s = 0.0
        self._due_s = 0.0
        self.stall_max_s = 0.0
        """The largest lateness of a tick so far: how long the reactor did not get round to it."""

    def start(self) -> None:
        """Begin to tick; the first comes after one ``tick_s``."""
        self._counted_s = self._clock.seconds()
        self._schedule(self._counted_s)

    def stop(self) -> None:
        """Tick no more."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _schedule(self, now_s: float) -> None:
        self._due_s = now_s + self._tick_s
        self._call = self._clock.callLater(self._tick_s, self._beat)

    def _beat(self) -> None:
        now_s = self._clock.seconds()
        self.stall_max_s = max(self.stall_max_s, now_s - self._due_s)
        elapsed = max(1, int((now_s - self._counted_s) / self._tick_s + _ROUNDING))
        # What is less than a tick stays for the next beat, so that ticks keep pace with the clock;
        # an early beat (elapsed forced to 1) must not put the count into the future.
        self._counted_s = min(now_s, self._counted_s + elapsed * self._tick_s)
        self._schedule(now_s)
        self._tick(elapsed)


_ROUNDING = 1e-6
"""Of a tick: a beat that floating point says came a hair too early has still come."""
