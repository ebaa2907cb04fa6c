"""Who takes part: the configuration in force, every member's progress, the votes of a campaign.

It holds the three together and in step; how a configuration may change is
:mod:`raftdb.raft.confchange`'s question, what to send :mod:`raftdb.raft.leader`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from raftdb.raft.progress import Inflights, Progress
from raftdb.raft.quorum import JointConfig, MajorityConfig, VoteResult
from raftdb.raft.types import ConfState, MemberID, MemberIDs


class Tally(NamedTuple):
    """How a campaign stands.

    :param granted: voters that said yes
    :param rejected: voters that said no
    """

    granted: int
    rejected: int
    result: VoteResult


class Tracker:
    """The configuration, and what is known about each member in it.

    Invariant: the keys of ``progress`` are ``conf_state.members``, in that (sorted) order, so that
    iterating over it is the same in every process [R26].

    :param inflight_messages_max: unanswered appends per member
    :param inflight_bytes_max: their bytes per member
    """

    def __init__(self, *, inflight_messages_max: int, inflight_bytes_max: int) -> None:
        self._inflight_messages_max = inflight_messages_max
        self._inflight_bytes_max = inflight_bytes_max
        self.conf_state = ConfState()
        self.voters = JointConfig()
        self.progress: dict[MemberID, Progress] = {}
        self.votes: dict[MemberID, bool] = {}

    # -- the configuration --

    def adopt(self, conf_state: ConfState, *, next_index: int) -> None:
        """Put a checked configuration in force.

        Who stays keeps its progress. Who is new counts as active, otherwise CheckQuorum might
        depose the leader before the new one had a chance to answer.

        :param next_index: where probing a new member begins, 1 or more
        """
        before = self.progress
        self.progress = {}
        for member in conf_state.members:
            progress = before.get(member)
            if progress is None:
                progress = self._new_progress(next_index)
                progress.recent_active = True
            progress.is_learner = member in conf_state.learners
            self.progress[member] = progress
        self.conf_state = conf_state
        self.voters = JointConfig(
            MajorityConfig(conf_state.voters), MajorityConfig(conf_state.voters_outgoing)
        )

    def reset(self, *, next_index: int) -> None:
        """Forget all progress and votes: a new term begins (Paper Fig. 2, reinitialized).

        :param next_index: the last index of the log, plus one
        """
        self.votes = {}
        for member, old in self.progress.items():
            fresh = self._new_progress(next_index)
            fresh.is_learner = old.is_learner
            self.progress[member] = fresh

    def _new_progress(self, next_index: int) -> Progress:
        inflights = Inflights(
            messages_max=self._inflight_messages_max, bytes_max=self._inflight_bytes_max
        )
        return Progress(next=next_index, inflights=inflights)

    @property
    def members(self) -> MemberIDs:
        """Everybody who takes part, sorted."""
        return tuple(self.progress)

    @property
    def is_singleton(self) -> bool:
        """Whether one voter decides alone."""
        return len(self.conf_state.voters) == 1 and not self.conf_state.is_joint

    def is_voter(self, member: MemberID) -> bool:
        """Whether it votes in one of the majorities."""
        return member in self.voters

    def is_learner(self, member: MemberID) -> bool:
        """Whether it receives entries and counts for nothing."""
        return member in self.conf_state.learners

    # -- what a quorum has reached --

    def committed(self) -> int:
        """Return the highest index durable at a quorum (Paper 5.3), for a leader to commit."""
        progress = self.progress
        return self.voters.committed_index(lambda member: progress[member].match)

    def quorum_active(self) -> bool:
        """Whether a quorum was heard from since the last look (Thesis 6.2, CheckQuorum).

        The leader itself must have been marked active by the caller.
        """
        return self._is_quorum(lambda progress: progress.recent_active)

    def quorum_stores(self) -> bool:
        """Whether a quorum was heard from that can store entries [R6]."""
        return self._is_quorum(lambda progress: progress.recent_active and progress.stores)

    def quorum_might_store(self) -> bool:
        """Whether those would be a quorum, were everybody good who was not heard from."""
        return self._is_quorum(lambda progress: progress.stores or not progress.recent_active)

    def quorum_reached(self, last_index: int) -> bool:
        """Whether a quorum was heard from that entries get to [R6]."""
        return self._is_quorum(
            lambda progress: progress.recent_active and progress.is_reached(last_index)
        )

    def _is_quorum(self, counts: Callable[[Progress], bool]) -> bool:
        said = {member: counts(self.progress[member]) for member in self.voters.members}
        return self.voters.vote_result(said) is VoteResult.WON

    # -- votes --

    def reset_votes(self) -> None:
        """Begin a campaign with no votes."""
        self.votes = {}

    def record_vote(self, member: MemberID, *, granted: bool) -> None:
        """Note an answer; the first one of each member counts."""
        self.votes.setdefault(member, granted)

    def tally(self) -> Tally:
        """Count the votes; a stranger's or a learner's does not count."""
        counted = [self.votes[member] for member in self.voters.members if member in self.votes]
        granted = sum(counted)
        return Tally(granted, len(counted) - granted, self.voters.vote_result(self.votes))
