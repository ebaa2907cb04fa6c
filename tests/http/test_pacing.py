"""A share of each turn: work goes on in order, and never for long at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from raftdb.http.pacing import Pacer

if TYPE_CHECKING:
    from tests.http.conftest import Served, TurnClock


class TestATurn:
    """What fits it happens at once, the rest later, in order."""

    def test_has_time_until_its_share_is_used_up(self, clock: TurnClock) -> None:
        """Then no more until the next."""
        pacer = Pacer(clock, share_s=0.01)
        assert pacer.may_work()
        pacer.worked(0.009)
        assert pacer.may_work()
        pacer.worked(0.009)
        assert not pacer.may_work()
        waiter = pacer.turn()
        clock.turn()
        assert waiter.called
        assert pacer.may_work()

    def test_who_waits_goes_first_and_in_order(self, clock: TurnClock) -> None:
        """One expensive piece of work a turn."""
        pacer = Pacer(clock, share_s=0.01)
        done: list[int] = []

        def expensive(_: None, number: int) -> None:
            clock.work(0.02)
            pacer.worked(0.02)
            done.append(number)

        for number in range(3):
            pacer.turn().addCallback(expensive, number)
        assert done == []
        assert not pacer.may_work()
        for turn in range(3):
            clock.turn()
            assert done == list(range(turn + 1))
        assert not pacer.may_work()  # the last one has used up its turn
        waiter = pacer.turn()
        clock.turn()
        assert waiter.called
        assert pacer.may_work()

    def test_what_has_time_costs_no_call_of_the_reactor(self, clock: TurnClock) -> None:
        """Nor does counting it."""
        pacer = Pacer(clock)
        assert pacer.may_work()
        pacer.worked(0.001)
        assert clock.getDelayedCalls() == []

    def test_cheap_work_shares_a_turn(self, clock: TurnClock) -> None:
        """All of it at once."""
        pacer = Pacer(clock)
        waiters = [pacer.turn() for _ in range(5)]
        clock.turn()
        assert all(waiter.called for waiter in waiters)

    def test_who_gave_up_is_passed_over(self, clock: TurnClock) -> None:
        """A client that went."""
        pacer = Pacer(clock)
        waiter = pacer.turn()
        waiter.addErrback(lambda _: None)
        waiter.cancel()
        clock.turn()
        assert pacer.may_work()

    def test_nothing_is_left_scheduled(self, clock: TurnClock) -> None:
        """An idle node has no timer for it."""
        pacer = Pacer(clock)
        pacer.may_work()
        pacer.turn()
        for _ in range(3):
            clock.turn()
        assert clock.getDelayedCalls() == []


class TestRequests:
    """The site keeps to its share."""

    def test_what_comes_after_an_expensive_one_waits(self, served: Served) -> None:
        """And is answered in the next turn."""
        database_get = served.database.query

        def slow_get(*args: object, **kwargs: object) -> object:
            served.clock.work(0.05)
            return database_get(*args, **kwargs)  # type: ignore[arg-type]  # passed on as it came

        served.database.query = slow_get  # type: ignore[method-assign,assignment]  # made slow
        first, second, third = (served.wire() for _ in range(3))
        for wire in (first, second, third):
            wire.send(b"GET /key/k HTTP/1.1\r\n\r\n")
        assert (first.statuses, second.statuses, third.statuses) == ([200], [], [])
        assert served.site.resource.waiting == 2
        assert served.ask("GET", "/livez").status == 200
        second.lose()
        served.clock.turn()
        served.clock.turn()
        assert (second.statuses, third.statuses) == ([], [200])
        assert served.site.resource.waiting == 0
        assert len(served.database.reads) == 2

    def test_what_waited_too_long_is_refused(self, served: Served) -> None:
        """Nobody waits for it any more; surely not applied."""
        database_put = served.database.execute

        def slow_put(*args: object, **kwargs: object) -> object:
            served.clock.work(11)
            return database_put(*args, **kwargs)  # type: ignore[arg-type]  # passed on as it came

        served.database.execute = slow_put  # type: ignore[method-assign,assignment]  # made slow
        wires = [served.wire() for _ in range(3)]
        for wire in wires:
            wire.send(b"PUT /api/kv?key=k HTTP/1.1\r\nContent-Length: 1\r\n\r\nx")
        served.clock.turn()
        served.clock.turn()
        assert [wire.statuses for wire in wires] == [[200], [200], [503]]
        assert b"Raftdb-Error: overloaded\r\n" in wires[2].received
        assert len(served.database.entries) == 2
