from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from twisted.internet.defer import CancelledError, Deferred

from raftdb.errors import Timeout
from raftdb.replica.waiters import Deadlines, Waiter

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
        deadlines: Deadlines[str] = Deadlines(0.05)
        deadlines.add(deadline_s, "x")
        assert list(deadlines.due(deadline_s - 0.001)) == []
        assert list(deadlines.due(deadline_s + 0.05 + 1e-9)) == ["x"]

    def test_yield_each_item_once_and_the_earliest_first(self) -> None:
        """After a long pause all that is overdue comes at once, in order."""
        deadlines: Deadlines[int] = Deadlines(0.05)
        for number in (3, 1, 2):
            deadlines.add(number * 0.1, number)
        assert list(deadlines.due(100.0)) == [1, 2, 3]
        assert list(deadlines.due(200.0)) == []
