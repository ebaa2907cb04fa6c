from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from twisted.internet.defer import CancelledError, Deferred

from raftdb.errors import NoLeader, ShuttingDown, Timeout
from raftdb.raft.types import MemberID, ReadID, ReadState
from raftdb.replica.reads import Reads

ME = MemberID("a", 1)

Outcome: TypeAlias = Callable[[Deferred[Any]], object]


class TestReads:
    """A read waits for one confirmed round begun after it, then for its own state machine."""

    def setup_method(self) -> None:
        self.asked: list[ReadID] = []
        self.leaderless = False
        self.reads = Reads(self.ask, patience_s=0.4, granularity_s=0.05)

    def ask(self) -> ReadID:
        if self.leaderless:
            raise NoLeader
        self.asked.append(ReadID(ME, 9, len(self.asked) + 1))
        return self.asked[-1]

    def confirm(self, place: int, index: int) -> None:
        self.reads.confirm([ReadState(self.asked[place], index)])

    def test_of_one_turn_share_one_request(self, outcome: Outcome) -> None:
        """However many readers came since the last turn, one round serves them all."""
        both = [self.reads.wait(5.0), self.reads.wait(5.0)]
        self.reads.ask(0.0)
        assert len(self.asked) == 1
        self.confirm(0, 3)
        self.reads.release(3)
        for deferred in both:
            assert outcome(deferred) is None
        assert len(self.reads) == 0

    def test_that_come_after_the_request_wait_for_the_next(self, outcome: Outcome) -> None:
        """A round begun before a read says nothing about what was acknowledged in between."""
        self.reads.wait(5.0)
        self.reads.ask(0.0)
        late = self.reads.wait(5.0)
        self.confirm(0, 3)
        self.reads.release(3)
        assert outcome(late) == "pending"

    def test_wait_until_the_own_state_has_the_read_index(self, outcome: Outcome) -> None:
        """A confirmed index is worth nothing before it is applied here."""
        waits = self.reads.wait(5.0)
        self.reads.ask(0.0)
        self.confirm(0, 3)
        self.reads.release(2)
        assert outcome(waits) == "pending"
        self.reads.release(3)
        assert outcome(waits) is None

    def test_without_a_leader_are_refused_at_once(self, outcome: Outcome) -> None:
        """There is nobody to ask, and the client may try elsewhere."""
        self.leaderless = True
        waits = self.reads.wait(5.0)
        self.reads.ask(0.0)
        assert isinstance(outcome(waits), NoLeader)
        assert len(self.reads) == 0

    def test_without_an_answer_are_asked_again_together(self, outcome: Outcome) -> None:
        """What got lost is asked once more after an election timeout, under one new name."""
        first = self.reads.wait(5.0)
        self.reads.ask(0.0)
        second = self.reads.wait(5.0)
        self.reads.ask(0.05)
        self.reads.ask_again(0.39)
        assert len(self.asked) == 2
        self.reads.ask_again(0.5)
        assert len(self.asked) == 3
        self.confirm(2, 3)
        self.reads.release(3)
        assert outcome(first) is None
        assert outcome(second) is None

    def test_once_asked_outlive_their_leader(self, outcome: Outcome) -> None:
        """Until the deadline somebody else may be elected and confirm them."""
        waits = self.reads.wait(5.0)
        self.reads.ask(0.0)
        self.leaderless = True
        self.reads.ask_again(0.5)
        assert outcome(waits) == "pending"
        self.leaderless = False
        self.reads.ask_again(0.6, all_of_them=True)
        self.confirm(1, 3)
        self.reads.release(3)
        assert outcome(waits) is None

    def test_end_at_their_deadline(self, outcome: Outcome) -> None:
        """A client is not left without an answer."""
        waits = self.reads.wait(1.0)
        self.reads.ask(0.0)
        self.reads.expire(1.1)
        assert isinstance(outcome(waits), Timeout)

    def test_that_nobody_waits_for_are_not_asked_again(self, outcome: Outcome) -> None:
        """Cancelled reads leave with the next attempt."""
        waits = self.reads.wait(5.0)
        self.reads.ask(0.0)
        waits.cancel()
        assert isinstance(outcome(waits), CancelledError)
        self.reads.ask_again(0.5)
        assert len(self.asked) == 1
        assert len(self.reads) == 0

    def test_end_with_the_node(self, outcome: Outcome) -> None:
        """Gathered, asked or confirmed."""
        confirmed = self.reads.wait(5.0)
        self.reads.ask(0.0)
        self.confirm(0, 9)
        asked = self.reads.wait(5.0)
        self.reads.ask(0.0)
        gathered = self.reads.wait(5.0)
        self.reads.abandon(ShuttingDown())
        for deferred in (confirmed, asked, gathered):
            assert isinstance(outcome(deferred), ShuttingDown)
        assert len(self.reads) == 0
