"""Simulated time: one clock that jumps from event to event, and every node's own view of it.

Everything runs in one thread, in the order of the events' times and, at the same time, of their
scheduling: so one seed gives one history. A node's view can be paused, as a process is by a signal
or a garbage collection, and ends with the node.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

AT_ONCE_MAX = 100_000
"""Events at one instant; whoever needs more never comes to an end."""


@implementer(IReactorTime)
class SimulationClock:
    """A clock that advances exactly to the next event, never beyond it.

    :class:`twisted.internet.task.Clock` sorts all its calls at each change, which is most of a
    simulation's work; this one keeps a heap.
    """

    def __init__(self) -> None:
        self._now_s = 0.0
        self._count = 0
        self._at_once = 0
        self._heap: list[tuple[float, int, DelayedCall]] = []

    def seconds(self) -> float:
        """Return the time."""
        return self._now_s

    def callLater(  # noqa: N802  # Twisted's name
        self,
        delay: float,
        callable: Callable[..., object],  # noqa: A002  # Twisted's name
        *args: Any,
        **kw: Any,
    ) -> DelayedCall:
        """Call back after ``delay`` seconds."""
        assert delay >= 0
        due_s = self._now_s + delay
        call = DelayedCall(due_s, callable, args, kw, _ignore, self._push, self.seconds)
        self._push(call)
        return call

    def calls(self) -> list[DelayedCall]:
        """Return the pending calls, the earliest first, of equals the one scheduled first."""
        by_count = sorted(self._heap, key=lambda item: item[1])
        pending = dict.fromkeys(call for _, _, call in by_count if call.active())
        return sorted(pending, key=lambda call: call.getTime())

    def getDelayedCalls(self) -> list[IDelayedCall]:  # noqa: N802  # Twisted's name
        """Return the pending calls."""
        return list(self.calls())

    def run_until(self, when_s: float, *, stop: Callable[[], bool] = lambda: False) -> bool:
        """Let everything happen that is due until ``when_s``.

        :param stop: is asked after every event; once it says yes, time stands still
        :returns: whether ``stop`` said yes
        """
        while not stop():
            if not self._heap or self._heap[0][0] > when_s:
                self._now_s = when_s
                return False
            due_s, _, call = heappop(self._heap)
            if not call.active():
                continue
            if call.getTime() > due_s:
                self._push(call)  # it was put off meanwhile
                continue
            if due_s > self._now_s:
                self._now_s = due_s
                self._at_once = 0
            self._at_once += 1
            assert self._at_once < AT_ONCE_MAX, f"time stands still at {self._now_s}: a livelock"
            call.called = 1
            call.func(*call.args, **call.kw)
        return True

    def run_for(self, seconds: float) -> None:
        """Let everything happen that is due in the next ``seconds``."""
        self.run_until(self.seconds() + seconds)

    def _push(self, call: DelayedCall) -> None:
        self._count += 1
        heappush(self._heap, (call.getTime(), self._count, call))


def _ignore(_: object) -> None:
    """Leave a cancelled call where it is; it is passed over when its time comes."""


@implementer(IReactorTime)
class NodeClock:
    """One node's view of the clock: its calls end with it and wait while it is paused.

    :param clock: of the simulation
    :param watch: is called after each of the node's calls
    :param seconds: what the node sees as the time; the simulation's where it is not told
    """

    def __init__(
        self,
        clock: SimulationClock,
        watch: Callable[[], None] = lambda: None,
        seconds: Callable[[], float] | None = None,
    ) -> None:
        self._clock = clock
        self._seconds = seconds or clock.seconds
        self._watch = watch
        self._dead = False
        self._paused_until_s = 0.0

    def seconds(self) -> float:
        """Return the time; the same on all nodes, and monotonic."""
        return self._seconds()

    def callLater(  # noqa: N802  # Twisted's name
        self,
        delay: float,
        callable: Callable[..., object],  # noqa: A002  # Twisted's name
        *args: Any,
        **kw: Any,
    ) -> IDelayedCall:
        """Call back after ``delay`` seconds, or when the pause is over, unless the node died."""
        return self._clock.callLater(max(delay, self.pause_left_s), self._call, callable, args, kw)

    def getDelayedCalls(self) -> list[IDelayedCall]:  # noqa: N802  # Twisted's name
        """Return this node's pending calls."""
        return list(self._calls())

    def _calls(self) -> list[DelayedCall]:
        return [call for call in self._clock.calls() if call.func == self._call]

    @property
    def pause_left_s(self) -> float:
        """For how long nothing will happen on this node, 0 while it is not paused."""
        return max(0.0, self._paused_until_s - self._clock.seconds())

    def pause(self, seconds: float) -> None:
        """Let nothing happen on this node for so long; it all happens at once afterwards."""
        now_s = self._clock.seconds()
        self._paused_until_s = max(self._paused_until_s, now_s + seconds)
        for call in self._calls():
            if call.getTime() < self._paused_until_s:
                call.reset(self._paused_until_s - now_s)

    def kill(self) -> None:
        """Let nothing happen on this node ever again."""
        self._dead = True
        for call in self._calls():
            call.cancel()

    def _call(
        self, function: Callable[..., object], args: tuple[Any, ...], kw: dict[str, Any]
    ) -> None:
        if not self._dead:
            function(*args, **kw)
            self._watch()
