from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from twisted.internet.defer import Deferred

from raftdb.errors import CompareFailed, LeadershipLost, ProposalDropped, Timeout
from raftdb.raft.types import EntryID
from raftdb.replica.proposals import Proposals

Outcome: TypeAlias = Callable[[Deferred[Any]], object]


class TestAProposal:
    """A proposal is decided by what is applied at its index, and by nothing else [R28]."""

    def setup_method(self) -> None:
        self.proposals = Proposals(0.05)

    def wait(self, term: int, index: int) -> Deferred[object]:
        return self.proposals.wait(EntryID(term, index), deadline_s=5.0)

    def test_ends_with_the_result_of_its_entry(self, outcome: Outcome) -> None:
        """The entry of the same term is the one that was proposed."""
        waits = self.wait(2, 7)
        self.proposals.applied(2, 7, "done")
        self.proposals.settle()
        assert outcome(waits) == "done"
        assert len(self.proposals) == 0

    def test_is_not_applied_where_another_term_is(self, outcome: Outcome) -> None:
        """Another leader's entry stands at the index for ever: ours surely did not happen."""
        waits = self.wait(2, 7)
        self.proposals.applied(3, 7, "done")
        self.proposals.settle()
        assert isinstance(outcome(waits), ProposalDropped)

    def test_is_not_applied_behind_an_entry_of_a_later_term(self, outcome: Outcome) -> None:
        """Terms never fall along a log: whatever comes to stand there, it is not ours."""
        ours, newer = self.wait(2, 9), self.wait(4, 9)
        later = self.wait(5, 10)
        self.proposals.applied(2, 7, "of our term")
        self.proposals.settle()
        assert outcome(ours) == "pending"
        self.proposals.applied(4, 8, "of a later term")
        self.proposals.settle()
        assert isinstance(outcome(ours), ProposalDropped)
        assert (outcome(newer), outcome(later)) == ("pending", "pending")
        self.proposals.applied(4, 9, "newer")
        self.proposals.settle()
        assert outcome(newer) == "newer"
        assert len(self.proposals) == 1

    def test_is_not_applied_behind_a_snapshot_of_a_later_term(self, outcome: Outcome) -> None:
        """What the snapshot hides is unknown; what could only come behind it is not."""
        hidden, behind = self.wait(2, 7), self.wait(2, 8)
        self.proposals.jumped(EntryID(3, 7))
        self.proposals.settle()
        assert isinstance(outcome(hidden), LeadershipLost)
        assert isinstance(outcome(behind), ProposalDropped)

    def test_waits_on_beside_a_later_one_at_its_index(self, outcome: Outcome) -> None:
        """An entry that its proposer lost may still be committed by somebody who kept it."""
        older, newer = self.wait(2, 7), self.wait(4, 7)
        assert outcome(older) == "pending"
        self.proposals.applied(2, 7, "the older one")
        self.proposals.settle()
        assert outcome(older) == "the older one"
        assert isinstance(outcome(newer), ProposalDropped)

    def test_fails_with_an_error_that_is_its_result(self, outcome: Outcome) -> None:
        """A command that every replica refuses alike is refused to its proposer."""
        waits = self.wait(2, 7)
        results: list[object] = []
        waits.addCallback(results.append)
        self.proposals.applied(2, 7, CompareFailed("no"))
        self.proposals.settle()
        assert isinstance(outcome(waits), CompareFailed)
        assert results == []

    def test_calls_nobody_before_the_page_is_applied(self, outcome: Outcome) -> None:
        """A callback that reads the state must find the whole page in it."""
        waits = self.wait(2, 7)
        self.proposals.applied(2, 7, "done")
        assert outcome(waits) == "pending"
        self.proposals.settle()
        assert outcome(waits) == "done"

    def test_is_unknown_where_a_snapshot_jumps_over_it(self, outcome: Outcome) -> None:
        """The snapshot does not tell whose entry stood there; what lies beyond goes on waiting."""
        below, at, beyond = self.wait(2, 6), self.wait(2, 7), self.wait(2, 8)
        self.proposals.jumped(EntryID(2, 7))
        assert isinstance(outcome(below), LeadershipLost)
        assert isinstance(outcome(at), LeadershipLost)
        assert outcome(beyond) == "pending"

    def test_is_unknown_at_its_deadline(self, outcome: Outcome) -> None:
        """It stays in the log; who waited is told that nothing is known."""
        waits = self.wait(2, 7)
        self.proposals.expire(4.9)
        assert outcome(waits) == "pending"
        self.proposals.expire(5.1)
        assert isinstance(outcome(waits), Timeout)

    def test_counts_while_somebody_waits(self) -> None:
        """A client that hung up or timed out frees its place; its entry counts as uncommitted [R30]."""
        self.wait(2, 7).addErrback(lambda _: None).cancel()
        self.wait(2, 8).addErrback(lambda _: None)
        assert len(self.proposals) == 1
        self.proposals.expire(5.1)
        assert len(self.proposals) == 0
        later = self.wait(2, 9)
        assert len(self.proposals) == 1
        for index in (7, 8, 9):
            self.proposals.applied(2, index, None)
        self.proposals.settle()
        assert later.called
        assert len(self.proposals) == 0

    def test_ends_with_the_node(self, outcome: Outcome) -> None:
        """All of them, the older ones at an index too."""
        older, newer = self.wait(2, 7), self.wait(4, 7)
        self.proposals.abandon(LeadershipLost("stopped"))
        assert isinstance(outcome(older), LeadershipLost)
        assert isinstance(outcome(newer), LeadershipLost)
