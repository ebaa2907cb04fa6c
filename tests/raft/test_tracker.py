from __future__ import annotations

from raftdb.raft.progress import ProgressState
from raftdb.raft.quorum import VoteResult
from raftdb.raft.tracker import Tracker
from raftdb.raft.types import ConfState, MemberID

A, B, C, D = (MemberID(name, 1) for name in "abcd")


def tracker(conf_state: ConfState, *, next_index: int = 1) -> Tracker:
    """A tracker of this configuration."""
    made = Tracker(inflight_messages_max=4, inflight_bytes_max=1000)
    made.adopt(conf_state, next_index=next_index)
    return made


class TestAdopting:
    """A configuration is put in force, and progress follows it."""

    def test_members_come_in_sorted_order(self) -> None:
        """Whatever the order in which they joined: a replay is the same byte for byte [R26]."""
        tracked = tracker(ConfState(voters=(C, D)))
        tracked.adopt(ConfState(voters=(B, D), voters_outgoing=(C, D), learners=(A,)), next_index=1)
        assert tracked.members == (A, B, C, D)
        assert list(tracked.progress) == [A, B, C, D]

    def test_who_stays_keeps_its_progress(self) -> None:
        """Nothing known about its log is lost with a change of the others."""
        tracked = tracker(ConfState(voters=(A, B)))
        kept = tracked.progress[B]
        kept.maybe_update(7)
        tracked.adopt(ConfState(voters=(A,), learners=(B,)), next_index=9)
        assert tracked.progress[B] is kept
        assert kept.match == 7

    def test_who_leaves_is_forgotten(self) -> None:
        """Another incarnation of its id begins from nothing."""
        tracked = tracker(ConfState(voters=(A, B)))
        tracked.progress[B].maybe_update(7)
        again = MemberID("b", 2)
        tracked.adopt(ConfState(voters=(A,), learners=(again,)), next_index=9)
        assert tracked.members == (A, again)
        assert tracked.progress[again].match == 0

    def test_a_new_member_is_probed_and_counts_as_active(self) -> None:
        """Otherwise CheckQuorum might depose the leader before it could answer."""
        tracked = tracker(ConfState(voters=(A,)), next_index=5)
        assert tracked.progress[A].next == 5
        assert tracked.progress[A].state is ProgressState.PROBE
        assert tracked.progress[A].recent_active

    def test_roles_follow_the_configuration(self) -> None:
        """A promoted learner is none any more, a demoted voter is one."""
        tracked = tracker(ConfState(voters=(A, B), learners=(C,)))
        assert tracked.progress[C].is_learner
        assert tracked.is_learner(C)
        assert not tracked.is_voter(C)
        tracked.adopt(ConfState(voters=(A, C), learners=(B,)), next_index=1)
        assert [pr.is_learner for pr in tracked.progress.values()] == [False, True, False]
        assert tracked.is_voter(C)
        assert not tracked.is_learner(C)

    def test_voters_of_both_halves_vote(self) -> None:
        """Until the joint configuration is left."""
        tracked = tracker(ConfState(voters=(A,), voters_outgoing=(B,)))
        assert tracked.is_voter(A)
        assert tracked.is_voter(B)

    def test_a_staged_learner_is_still_a_voter(self) -> None:
        """It becomes a learner when the joint configuration is left."""
        conf = ConfState(voters=(A,), voters_outgoing=(A, B), learners_next=(B,))
        tracked = tracker(conf)
        assert tracked.is_voter(B)
        assert not tracked.is_learner(B)
        assert not tracked.progress[B].is_learner

    def test_a_singleton_decides_alone(self) -> None:
        """One voter, learners or not, but no outgoing half."""
        assert tracker(ConfState(voters=(A,), learners=(B,))).is_singleton
        assert not tracker(ConfState(voters=(A,), voters_outgoing=(B,))).is_singleton
        assert not tracker(ConfState(voters=(A, B))).is_singleton
        assert not tracker(ConfState()).is_singleton


class TestReset:
    """A new term begins from nothing (Paper Fig. 2: reinitialized after election)."""

    def test_progress_and_votes_are_forgotten_but_not_who_learns(self) -> None:
        """What was acknowledged to another leader proves nothing about this one's log."""
        tracked = tracker(ConfState(voters=(A, B), learners=(C,)))
        tracked.progress[B].maybe_update(7)
        tracked.progress[B].become_replicate()
        tracked.record_vote(B, granted=True)
        tracked.reset(next_index=12)
        assert tracked.votes == {}
        assert tracked.members == (A, B, C)
        fresh = tracked.progress[B]
        assert (fresh.match, fresh.next, fresh.state) == (0, 12, ProgressState.PROBE)
        assert not fresh.recent_active
        assert tracked.progress[C].is_learner


class TestQuorums:
    """What a quorum has reached."""

    def test_learners_do_not_commit(self) -> None:
        """Their acknowledgement counts for nothing (Thesis 4.2.1)."""
        tracked = tracker(ConfState(voters=(A, B, C), learners=(D,)))
        for member, match in ((A, 5), (B, 3), (D, 9)):
            tracked.progress[member].maybe_update(match)
        assert tracked.committed() == 3

    def test_a_joint_configuration_commits_by_both_halves(self) -> None:
        """Thesis 4.3: separate majorities of the old and the new."""
        tracked = tracker(ConfState(voters=(A, B), voters_outgoing=(C, D)))
        for member, match in ((A, 5), (B, 4), (C, 3), (D, 2)):
            tracked.progress[member].maybe_update(match)
        assert tracked.committed() == 2

    def test_a_quorum_is_active_without_learners(self) -> None:
        """CheckQuorum counts voters only (Thesis 6.2)."""
        tracked = tracker(ConfState(voters=(A, B, C), learners=(D,)))
        tracked.reset(next_index=1)
        tracked.progress[A].recent_active = True
        tracked.progress[D].recent_active = True
        assert not tracked.quorum_active()
        tracked.progress[B].recent_active = True
        assert tracked.quorum_active()


class TestVotes:
    """A campaign's answers."""

    def test_the_first_answer_counts(self) -> None:
        """A voter has one voice in a term, however often it is heard."""
        tracked = tracker(ConfState(voters=(A, B, C)))
        tracked.record_vote(A, granted=True)
        tracked.record_vote(B, granted=False)
        tracked.record_vote(B, granted=True)
        assert tracked.tally() == (1, 1, VoteResult.PENDING)

    def test_learners_and_strangers_do_not_count(self) -> None:
        """Their answers decide nothing."""
        tracked = tracker(ConfState(voters=(A, B), learners=(C,)))
        for member in (A, C, D):
            tracked.record_vote(member, granted=True)
        assert tracked.tally() == (1, 0, VoteResult.PENDING)

    def test_a_joint_campaign_needs_both_halves(self) -> None:
        """Won only with a majority of each; lost with one lost."""
        tracked = tracker(ConfState(voters=(A, B), voters_outgoing=(C,)))
        tracked.record_vote(A, granted=True)
        tracked.record_vote(B, granted=True)
        assert tracked.tally().result is VoteResult.PENDING
        tracked.record_vote(C, granted=True)
        assert tracked.tally() == (3, 0, VoteResult.WON)

    def test_a_new_campaign_begins_with_no_votes(self) -> None:
        """Votes of an older campaign are not carried over."""
        tracked = tracker(ConfState(voters=(A, B)))
        tracked.record_vote(A, granted=True)
        tracked.reset_votes()
        assert tracked.tally() == (0, 0, VoteResult.PENDING)
