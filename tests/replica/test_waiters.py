from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from twisted.internet.defer import CancelledError, Deferred

from raftdb.errors import Timeout
from raftdb.replica.waiters import SWEEP_MIN, Deadlines, Waiter

Outcome: TypeAlias = Callable[[Deferred[Any]], object]


class TestAWaiter:
    """Somebody is answered at most once."""

    def test_hands_over_its_result(self, outcome: Outcome) -> None:
        """The Deferred fires with what the waiter is given."""
        waiter: Waiter[int] = Waiter()
        deferred = waiter.deferred
        waiter.succeed(5)
        assert outcome(deferred) == 5

    def test_answers_once(self, outcome: Outcome) -> None:
        """A late answer after the deadline is of no interest."""
        waiter: Waiter[int] = Waiter()
        deferred = waiter.deferred
        waiter.fail(Timeout("late"))
        waiter.succeed(5)
        assert isinstance(outcome(deferred), Timeout)
        assert not waiter.waits

    def test_swallows_the_answer_of_a_cancelled_one(self, outcome: Outcome) -> None:
        """A client that hangs up ends its waiting; the answer finds nobody."""
        waiter: Waiter[int] = Waiter()
        deferred = waiter.deferred
        deferred.cancel()
        waiter.succeed(5)
        assert isinstance(outcome(deferred), CancelledError)


class TestDeadlines:
    """Deadlines are found in coarse buckets, never early."""

    @pytest.mark.parametrize("deadline_s", [0.0, 0.05, 0.051, 0.099, 0.1, 1.0])
    def test_are_never_early_and_at_most_one_granularity_late(self, deadline_s: float) -> None:
        """An item comes out between its deadline and one granularity later."""
        deadlines: Deadlines[Waiter[int]] = Deadlines(0.05)
        waiter: Waiter[int] = Waiter()
        deadlines.add(deadline_s, waiter)
        assert list(deadlines.due(deadline_s - 0.001)) == []
        assert list(deadlines.due(deadline_s + 0.05 + 1e-9)) == [waiter]

    def test_yield_each_item_once_and_the_earliest_first(self) -> None:
        """After a long pause all that is overdue comes at once, in order."""
        deadlines: Deadlines[Waiter[int]] = Deadlines(0.05)
        waiters: list[Waiter[int]] = [Waiter() for _ in range(3)]
        for place in (2, 0, 1):
            deadlines.add(place * 0.1, waiters[place])
        assert list(deadlines.due(100.0)) == waiters
        assert list(deadlines.due(200.0)) == []

    def test_keep_few_of_those_that_are_answered(self) -> None:
        """Ten seconds of writes are not remembered until the deadline of each has passed."""
        deadlines: Deadlines[Waiter[int]] = Deadlines(0.05)
        waiting: list[Waiter[int]] = []
        for number in range(10 * SWEEP_MIN):
            waiter: Waiter[int] = Waiter()
            deadlines.add(10 + number * 0.001, waiter)
            if number % 10:
                waiter.succeed(number)
            else:
                waiting.append(waiter)
            assert len(deadlines) <= max(SWEEP_MIN, 2 * len(waiting) + 1)
        assert [waiter for waiter in deadlines.due(100.0) if waiter.waits] == waiting
        assert len(deadlines) == 0

    def test_may_be_set_while_others_are_told(self) -> None:
        """Whoever is told that time is over may ask again at once, and that may sweep."""
        deadlines: Deadlines[Waiter[int]] = Deadlines(0.05)
        answered: list[Waiter[int]] = [Waiter() for _ in range(SWEEP_MIN - 1)]
        for place, waiter in enumerate(answered):
            deadlines.add(place % 2, waiter)
            waiter.succeed(0)
        late: Waiter[int] = Waiter()
        for place, _ in enumerate(deadlines.due(5.0)):
            if place == 0:
                for _ in range(SWEEP_MIN):
                    deadlines.add(10, answered[0])
                deadlines.add(10, late)
        assert late in list(deadlines.due(20.0))
        assert len(deadlines) == 0
