"""Events reach their sockets as Twisted hands them on."""

from __future__ import annotations

import select
import socket
from functools import partial
from typing import TYPE_CHECKING

import pytest
from twisted.internet.error import ConnectionLost
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from raftdb.reactor.epoll_pass import hand_on, soon

epollreactor = pytest.importorskip("twisted.internet.epollreactor", reason="Linux only")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from twisted.internet.epollreactor import EPollReactor


class End:
    """One end of a connection on which something has come."""

    def __init__(self, on_read: Callable[[], object] = lambda: None) -> None:
        self.socket, self._other = socket.socketpair()
        self._other.send(b"x")
        self._on_read = on_read
        self.reads = 0

    def fileno(self) -> int:
        """Which one it is."""
        return self.socket.fileno()

    def logPrefix(self) -> str:  # noqa: N802  # Twisted's name
        """Nobody's."""
        raise AssertionError("a context was made")

    def doRead(self) -> object:  # noqa: N802  # Twisted's name
        """Note it."""
        self.reads += 1
        return self._on_read()

    def connectionLost(self, _: object) -> None:  # Twisted's name
        """Fail."""
        raise RuntimeError("not even an end")

    def close(self) -> None:
        """End both ends."""
        self.socket.close()
        self._other.close()


class Poller:
    """Tells for how long it was to wait, and never does."""

    def __init__(self, poller: select.epoll) -> None:
        self._poller = poller
        self.waits: list[float] = []

    def poll(self, timeout: float, events_max: int) -> list[tuple[int, int]]:
        """Return what there is."""
        self.waits.append(timeout)
        return self._poller.poll(0, events_max)

    def __getattr__(self, name: str) -> object:
        return getattr(self._poller, name)


class Turns:
    """A reactor that never runs."""

    def __init__(self) -> None:
        self.reactor: EPollReactor = epollreactor.EPollReactor()
        self.poller = self.reactor._poller = Poller(self.reactor._poller)
        hand_on(self.reactor)
        self.ends: list[End] = []

    def end(self, on_read: Callable[[], object] = lambda: None) -> End:
        """Return an end that is listened to."""
        end = End(on_read)
        self.ends.append(end)
        self.reactor.addReader(end)
        return end


@pytest.fixture
def turns() -> Iterator[Turns]:
    """The reactor."""
    made = Turns()
    yield made
    for end in made.ends:
        end.close()


class TestATurn:
    """Is as Twisted's but for the log contexts."""

    def test_hands_on_what_has_come(self, turns: Turns) -> None:
        """To each socket, and again while it is not read."""
        ends = [turns.end() for _ in range(3)]
        turns.reactor.doIteration(0)
        turns.reactor.doIteration(0)
        assert [end.reads for end in ends] == [2, 2, 2]

    def test_passes_over_who_has_gone_meanwhile(self, turns: Turns) -> None:
        """Whoever is first ends all others."""

        def end_others() -> None:
            for end in ends:
                turns.reactor.removeReader(end)

        ends = [turns.end(end_others) for _ in range(3)]
        with capturedLogs() as logged:
            turns.reactor.doIteration(0)
        assert sum(end.reads for end in ends) == 1
        assert not logged

    def test_goes_on_after_one_that_fails(self, turns: Turns) -> None:
        """Even in its end, which is logged."""
        failing = [turns.end(ConnectionLost) for _ in range(2)]
        good = turns.end()
        with capturedLogs() as logged:
            turns.reactor.doIteration(0)
            turns.reactor.doIteration(0)
        assert [end.reads for end in failing] == [1, 1]
        assert good.reads == 2
        assert [str(event["log_failure"].value) for event in logged] == ["not even an end"] * 2

    def test_another_reactor_is_left_alone(self) -> None:
        """As is what is none."""
        other = SelectReactor()
        hand_on(other)
        hand_on(object())
        assert "doIteration" not in vars(other)

    def test_one_with_a_way_of_its_own_keeps_it(self) -> None:
        """What somebody derived from Twisted's may wait in another way."""
        own = type("Own", (epollreactor.EPollReactor,), {})()
        hand_on(own)
        assert "doIteration" not in vars(own)

    def test_one_made_otherwise_is_left_alone(self) -> None:
        """A later Twisted's: better slow than dead."""
        other = epollreactor.EPollReactor()
        poller = vars(other).pop("_poller")
        hand_on(other)
        assert "doIteration" not in vars(other)
        poller.close()


class TestSoon:
    """What is to happen behind the events."""

    def test_comes_behind_all_events_of_the_pass(self, turns: Turns) -> None:
        """In the order in which it was asked for, once."""
        told: list[str] = []
        later = soon(turns.reactor)

        def ask() -> None:
            told.append("event")
            later(lambda: told.append(f"call {len(told)}"))

        ends = [turns.end(ask) for _ in range(2)]
        turns.reactor.doIteration(0)
        assert told == ["event", "event", "call 2", "call 3"]
        for end in ends:
            turns.reactor.removeReader(end)
        turns.reactor.doIteration(0)
        assert len(told) == 4

    def test_does_not_wait_for_an_event(self, turns: Turns) -> None:
        """Whoever asks from a timer, before the pass: there need never be another event."""
        told: list[str] = []
        soon(turns.reactor)(lambda: told.append("call"))
        turns.reactor.doIteration(None)
        assert told == ["call"]
        assert turns.poller.waits == [0]

    def test_lets_the_reactor_wait_where_there_is_none(self, turns: Turns) -> None:
        """For as long as its timers say, or for ever."""
        soon(turns.reactor)(lambda: None)
        for timeout in (None, 0.5, None):
            turns.reactor.doIteration(timeout)
        assert turns.poller.waits == [0, 0.5, -1]

    def test_leaves_events_between_it_and_what_it_asks_for(self, turns: Turns) -> None:
        """Work without end does not keep sockets waiting."""
        told: list[str] = []
        later = soon(turns.reactor)

        def go_on() -> None:
            told.append("call")
            later(go_on)

        later(go_on)
        turns.end(lambda: told.append("event"))
        turns.reactor.doIteration(None)
        turns.reactor.doIteration(None)
        assert told == ["event", "call"] * 2

    def test_goes_on_after_a_call_that_fails(self, turns: Turns) -> None:
        """It is logged."""
        told: list[str] = []

        def fail() -> None:
            raise RuntimeError("no")

        soon(turns.reactor)(fail)
        soon(turns.reactor)(lambda: told.append("call"))
        with capturedLogs() as logged:
            turns.reactor.doIteration(None)
        assert told == ["call"]
        assert [str(event["log_failure"].value) for event in logged] == ["no"]

    def test_goes_on_after_one_that_is_no_ordinary_error(self, turns: Turns) -> None:
        """As Twisted's timers do: the calls behind it belong to others."""
        told: list[str] = []

        def leave() -> None:
            raise SystemExit

        soon(turns.reactor)(leave)
        soon(turns.reactor)(lambda: told.append("call"))
        with capturedLogs():
            turns.reactor.doIteration(None)
        assert told == ["call"]

    def test_is_never_lost_where_somebody_wraps_the_iteration(self, turns: Turns) -> None:
        """A profiler, say, between two nodes' starts: neither forgets its calls."""
        told: list[str] = []
        first = soon(turns.reactor)
        turns.reactor.doIteration = partial(turns.reactor.doIteration)  # type: ignore[method-assign]
        second = soon(turns.reactor)
        hand_on(turns.reactor)
        first(lambda: told.append("first"))
        second(lambda: told.append("second"))
        turns.reactor.runUntilCurrent()
        turns.reactor.doIteration(0)
        assert sorted(told) == ["first", "second"]

    def test_is_a_timer_on_any_other_clock(self) -> None:
        """As on those of tests and of the simulator."""
        clock, told = Clock(), []
        soon(clock)(lambda: told.append("call"))
        assert not told
        clock.advance(0)
        assert told == ["call"]
