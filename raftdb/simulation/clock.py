"""Simulated time: one clock that jumps from event to event, and every node's own view of it.

Everything runs in one thread, in the order of the events' times and, at the same time, of their
scheduling: so one seed gives one history. A node's view can be paused, as a process is by a signal
or a garbage collection, and ends with the node.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from twisted.internet.error import AlreadyCalled, AlreadyCancelled
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

AT_ONCE_MAX = 100_000
"""Events at one instant; whoever needs more never comes to an end."""


@implementer(IDelayedCall)
class Call:
    """A call to come; most of what a simulation makes is one of these, so there is little to it.

    :param clock: that will make it
    :param node: whose call it is, None for the simulation's own
    :ivar due_s: when it is to be made
    """

    __slots__ = (
        "_called",
        "_cancelled",
        "_clock",
        "_queued_s",
        "args",
        "due_s",
        "function",
        "kw",
        "node",
    )

    def __init__(
        self,
        clock: SimulationClock,
        due_s: float,
        function: Callable[..., object],
        args: tuple[Any, ...],
        kw: dict[str, Any],
        node: NodeClock | None,
    ) -> None:
        self._clock = clock
        self._queued_s = self.due_s = due_s
        self.function = function
        self.args = args
        self.kw = kw
        self.node = node
        self._called = self._cancelled = False

    def getTime(self) -> float:  # noqa: N802  # Twisted's name
        """Return when it is due, by the clock of the simulation."""
        return self.due_s

    def active(self) -> bool:
        """Whether it is still to come."""
        return not (self._called or self._cancelled)

    def cancel(self) -> None:
        """Make it never.

        What still runs of a node that has crashed may put its things in order: that its calls ended
        with it is the simulation's doing, and nothing it could know.
        """
        if self.node is None or not self.node.is_dead:
            self._check()
        self._cancelled = True

    def delay(self, secondsLater: float) -> None:  # noqa: N803  # Twisted's name
        """Put it off."""
        self.put(self.due_s + self._passing(secondsLater))

    def reset(self, secondsFromNow: float) -> None:  # noqa: N803  # Twisted's name
        """Let it come so long from now."""
        self.put(self._clock.seconds() + self._passing(secondsFromNow))

    def put(self, due_s: float) -> None:
        """Let it come at this time of the simulation."""
        self._check()
        self.due_s = due_s
        if due_s < self._queued_s:
            self._queued_s = due_s
            self._clock.push(self)  # where it lies now it will be found to be over

    def put_off(self, due_s: float) -> None:
        """Come later instead of now, for whoever holds it, too."""
        self._called = False
        self.due_s = self._queued_s = due_s
        self._clock.push(self)

    def _passing(self, seconds: float) -> float:
        return seconds if self.node is None else seconds / self.node.rate

    def _check(self) -> None:
        if self._cancelled:
            raise AlreadyCancelled
        if self._called:
            raise AlreadyCalled

    def make(self) -> None:
        """Make it now."""
        self._called = True
        if self.node is None:
            self.function(*self.args, **self.kw)
        else:
            self.node.make(self)


@implementer(IReactorTime)
class SimulationClock:
    """A clock that advances exactly to the next event, never beyond it.

    :class:`twisted.internet.task.Clock` sorts all its calls at each change, which is most of a
    simulation's work; this one keeps a heap, and what is due at once in a queue beside it.
    """

    def __init__(self) -> None:
        self._now_s = 0.0
        self._count = 0
        self._at_once = 0
        self._heap: list[tuple[float, int, Call]] = []
        self._soon: deque[Call] = deque()
        # Invariant: what the heap holds for this instant was scheduled before all of ``_soon``.

    def seconds(self) -> float:
        """Return the time."""
        return self._now_s

    def callLater(  # noqa: N802  # Twisted's name
        self,
        delay: float,
        callable: Callable[..., object],  # noqa: A002  # Twisted's name
        *args: Any,
        **kw: Any,
    ) -> Call:
        """Call back after ``delay`` seconds."""
        return self.schedule(delay, callable, args, kw, None)

    def schedule(
        self,
        delay_s: float,
        function: Callable[..., object],
        args: tuple[Any, ...],
        kw: dict[str, Any],
        node: NodeClock | None,
    ) -> Call:
        """Schedule a call of a node's, or of nobody's."""
        assert delay_s >= 0
        call = Call(self, self._now_s + delay_s, function, args, kw, node)
        self.push(call)
        return call

    def push(self, call: Call) -> None:
        """Put a call where it will be found when it is due."""
        if call.due_s <= self._now_s:
            self._soon.append(call)
        else:
            self._count += 1
            heappush(self._heap, (call.due_s, self._count, call))

    def calls(self) -> list[Call]:
        """Return the pending calls, the earliest first, of equals the one scheduled first."""
        by_count = sorted(self._heap, key=lambda item: item[1])
        pending = dict.fromkeys(call for _, _, call in by_count if call.active())
        pending.update(dict.fromkeys(call for call in self._soon if call.active()))
        return sorted(pending, key=lambda call: call.due_s)

    def getDelayedCalls(self) -> list[IDelayedCall]:  # noqa: N802  # Twisted's name
        """Return the pending calls."""
        return list(self.calls())

    def run_until(self, when_s: float, *, stop: Callable[[], bool] = lambda: False) -> bool:
        """Let everything happen that is due until ``when_s``.

        :param stop: is asked after every event; once it says yes, time stands still
        :returns: whether ``stop`` said yes
        """
        heap, soon = self._heap, self._soon
        while not stop():
            if soon and not (heap and heap[0][0] <= self._now_s):
                call, due_s = soon.popleft(), self._now_s
            elif heap and heap[0][0] <= when_s:
                due_s, _, call = heappop(heap)
            else:
                self._now_s = when_s
                return False
            if not call.active():
                continue
            if call.due_s > due_s:
                self.push(call)  # it was put off meanwhile
                continue
            if due_s > self._now_s:
                self._now_s = due_s
                self._at_once = 0
            self._at_once += 1
            assert self._at_once < AT_ONCE_MAX, f"time stands still at {self._now_s}: a livelock"
            call.make()
        return True

    def run_for(self, seconds: float) -> None:
        """Let everything happen that is due in the next ``seconds``."""
        self.run_until(self.seconds() + seconds)


@implementer(IReactorTime)
class NodeClock:
    """One node's view of the clock: its calls end with it and wait while it is paused.

    :param clock: of the simulation
    :param watch: is called after each of the node's calls
    :param seconds: what the node sees as the time; the simulation's where it is not told
    :param rate: how many of its own seconds pass in one of the simulation's, for what it schedules
    """

    def __init__(
        self,
        clock: SimulationClock,
        watch: Callable[[], None] = lambda: None,
        seconds: Callable[[], float] | None = None,
        rate: float = 1.0,
    ) -> None:
        self.rate = rate
        self._clock = clock
        self._seconds = seconds or clock.seconds
        self._watch = watch
        self.is_dead = False
        """Whether the node has ended."""
        self.paused_until_s = 0.0
        """When the latest pause ends or ended, by the simulation's clock."""
        self._slept_s = 0.0
        self._fell_asleep_s = self._wakes_s = 0.0

    def seconds(self) -> float:
        """Return the time: monotonic, and of no meaning to other nodes."""
        return self._seconds()

    def callLater(  # noqa: N802  # Twisted's name
        self,
        delay: float,
        callable: Callable[..., object],  # noqa: A002  # Twisted's name
        *args: Any,
        **kw: Any,
    ) -> Call:
        """Call back after ``delay`` seconds, or when the pause is over, unless the node died."""
        delay /= self.rate
        if self.paused_until_s:
            delay = max(delay, self.pause_left_s)
        return self._clock.schedule(delay, callable, args, kw, self)

    def getDelayedCalls(self) -> list[IDelayedCall]:  # noqa: N802  # Twisted's name
        """Return this node's pending calls."""
        return list(self._calls())

    def _calls(self) -> list[Call]:
        return [call for call in self._clock.calls() if call.node is self]

    @property
    def pause_left_s(self) -> float:
        """For how long nothing will happen on this node, 0 while it is not paused."""
        return max(0.0, self.paused_until_s - self._clock.seconds())

    @property
    def slept_s(self) -> float:
        """For how long its machine has been suspended until now, by the simulation's clock."""
        return self._slept_s + min(self._clock.seconds(), self._wakes_s) - self._fell_asleep_s

    def pause(self, seconds: float) -> None:
        """Let nothing happen on this node for so long; it all happens at once afterwards."""
        self._stand_still(seconds, 0.0)

    def suspend(self, seconds: float) -> None:
        """Let its machine sleep: as a pause, but who waits for a timer sleeps along.

        What arrived meanwhile is read at the wake-up. The next timer comes a moment later: it has
        been waited for by a clock that stood still.
        """
        now_s = self._clock.seconds()
        if now_s >= self._wakes_s:
            self._slept_s = self.slept_s
            self._fell_asleep_s = self._wakes_s = now_s
        self._wakes_s = max(self._wakes_s, now_s + seconds)
        next_s = min((call.due_s for call in self._calls()), default=now_s)
        # It may stand still already.
        self._stand_still(seconds, max(0.0, next_s - max(now_s, self.paused_until_s)))

    def _stand_still(self, seconds: float, timers_later_s: float) -> None:
        now_s = self._clock.seconds()
        self.paused_until_s = max(self.paused_until_s, now_s + seconds)
        for call in self._calls():
            if call.due_s < self.paused_until_s:
                call.put(self.paused_until_s + timers_later_s)

    def kill(self) -> None:
        """Let nothing happen on this node ever again."""
        self.is_dead = True
        for call in self._calls():
            call.cancel()

    def call_now(self, function: Callable[..., object], *args: object) -> None:
        """Call back at this instant, as an event of this node; when the pause is over in a pause."""
        if self.pause_left_s:
            self.callLater(0, function, *args)
        elif not self.is_dead:
            function(*args)
            self._watch()

    def make(self, call: Call) -> None:
        """Make one of this node's calls, and look at what it did."""
        if not self.is_dead:
            call.function(*call.args, **call.kw)
            self._watch()


class UnwatchedClock(NodeClock):
    """A node's clock for what does nothing to its state by itself: nobody looks after its calls.

    The timers of connections are half of all events. When one of them has something to tell the
    node, that makes a turn of the node's, which is watched.

    :param clock: of the simulation
    :param node: whose pauses and whose end these calls share
    """

    def __init__(self, clock: SimulationClock, node: NodeClock) -> None:
        super().__init__(clock, seconds=node.seconds, rate=node.rate)
        self._node = node

    def make(self, call: Call) -> None:
        """Make a call, or put it off to the end of the node's pause."""
        if self._node.pause_left_s:
            call.put_off(self._node.paused_until_s)
        elif not self._node.is_dead:
            call.function(*call.args, **call.kw)
