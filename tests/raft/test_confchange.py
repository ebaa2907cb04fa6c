from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftdb.errors import ConfChangeError
from raftdb.raft import confchange
from raftdb.raft.types import (
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    ConfState,
    MemberID,
    MemberIDs,
    Transition,
)

A, B, C, D = (MemberID(name, 1) for name in "abcd")
A2 = MemberID("a", 2)
ADD, LEARN, REMOVE = ConfChangeKind.ADD_VOTER, ConfChangeKind.ADD_LEARNER, ConfChangeKind.REMOVE


def changes(*singles: tuple[ConfChangeKind, MemberID]) -> tuple[ConfChangeSingle, ...]:
    """Shorter to read."""
    return tuple(ConfChangeSingle(*single) for single in singles)


class TestSimple:
    """One step at a time (Thesis 4.1)."""

    def test_a_voter_is_added(self) -> None:
        """In sorted place."""
        after = confchange.simple(ConfState(voters=(A, C)), changes((ADD, B)))
        assert after == ConfState(voters=(A, B, C))

    def test_a_voter_is_removed(self) -> None:
        """The others stay."""
        after = confchange.simple(ConfState(voters=(A, B, C)), changes((REMOVE, B)))
        assert after == ConfState(voters=(A, C))

    def test_a_learner_is_added_promoted_demoted_and_removed(self) -> None:
        """All ways between stranger, learner and voter."""
        learning = confchange.simple(ConfState(voters=(A,)), changes((LEARN, B)))
        assert learning == ConfState(voters=(A,), learners=(B,))
        promoted = confchange.simple(learning, changes((ADD, B)))
        assert promoted == ConfState(voters=(A, B))
        assert confchange.simple(promoted, changes((LEARN, B))) == learning
        assert confchange.simple(learning, changes((REMOVE, B))) == ConfState(voters=(A,))

    def test_several_learners_are_one_step(self) -> None:
        """They count for no majority."""
        after = confchange.simple(ConfState(voters=(A,)), changes((LEARN, C), (LEARN, B)))
        assert after == ConfState(voters=(A,), learners=(B, C))

    def test_more_than_one_voter_is_refused(self) -> None:
        """Two disjoint majorities could decide."""
        with pytest.raises(ConfChangeError, match="more than one voter"):
            confchange.simple(ConfState(voters=(A, B, C)), changes((REMOVE, B), (ADD, D)))

    def test_from_a_joint_configuration_it_is_refused(self) -> None:
        """One change at a time."""
        joint = ConfState(voters=(A,), voters_outgoing=(A, B))
        with pytest.raises(ConfChangeError, match="must be left first"):
            confchange.simple(joint, changes((LEARN, C)))

    def test_the_last_voter_stays(self) -> None:
        """Nobody could ever change anything again; learners do not help."""
        with pytest.raises(ConfChangeError, match="no voter"):
            confchange.simple(ConfState(voters=(A,)), changes((REMOVE, A)))
        with pytest.raises(ConfChangeError, match="no voter"):
            confchange.simple(ConfState(voters=(A,), learners=(B,)), changes((LEARN, A)))

    def test_removing_a_stranger_changes_nothing(self) -> None:
        """The outcome asked for is there already."""
        before = ConfState(voters=(A, B))
        assert confchange.simple(before, changes((REMOVE, C))) == before

    def test_the_first_voter_comes_to_an_empty_configuration(self) -> None:
        """Bootstrap."""
        assert confchange.simple(ConfState(), changes((ADD, A))) == ConfState(voters=(A,))

    def test_a_member_named_twice_is_refused(self) -> None:
        """Such a change says two things at once."""
        with pytest.raises(ConfChangeError, match="twice"):
            confchange.simple(ConfState(voters=(A,)), changes((ADD, B), (REMOVE, B)))


class TestJoint:
    """Through C(old,new) (Thesis 4.3)."""

    def test_both_majorities_are_in_force(self) -> None:
        """The old as it was, the new as it will be."""
        after = confchange.enter_joint(
            ConfState(voters=(A, B, C)), changes((REMOVE, A), (ADD, D)), auto_leave=True
        )
        assert after == ConfState(voters=(B, C, D), voters_outgoing=(A, B, C), auto_leave=True)
        assert confchange.leave_joint(after) == ConfState(voters=(B, C, D))

    def test_a_demoted_voter_is_staged_until_the_joint_is_left(self) -> None:
        """It cannot be voter and learner at the same time."""
        after = confchange.enter_joint(
            ConfState(voters=(A, B), learners=(C,)), changes((LEARN, B)), auto_leave=False
        )
        assert after == ConfState(
            voters=(A,), voters_outgoing=(A, B), learners=(C,), learners_next=(B,)
        )
        assert confchange.leave_joint(after) == ConfState(voters=(A,), learners=(B, C))

    def test_a_joint_configuration_is_not_entered_twice(self) -> None:
        """One change at a time."""
        joint = ConfState(voters=(A,), voters_outgoing=(A, B))
        with pytest.raises(ConfChangeError, match="must be left first"):
            confchange.enter_joint(joint, changes((ADD, C)), auto_leave=True)

    def test_an_empty_configuration_cannot_become_joint(self) -> None:
        """Its outgoing half would agree to everything."""
        with pytest.raises(ConfChangeError, match="without voters"):
            confchange.enter_joint(ConfState(), changes((ADD, A)), auto_leave=True)

    def test_an_ordinary_configuration_cannot_be_left(self) -> None:
        """A second automatic leave does nothing."""
        with pytest.raises(ConfChangeError, match="no joint"):
            confchange.leave_joint(ConfState(voters=(A,)))

    def test_the_new_half_has_a_voter(self) -> None:
        """Otherwise leaving it would leave nobody."""
        with pytest.raises(ConfChangeError, match="no voter"):
            confchange.enter_joint(ConfState(voters=(A,)), changes((REMOVE, A)), auto_leave=True)


class TestTransition:
    """The way a change takes."""

    def test_auto_takes_a_single_step_where_that_is_safe(self) -> None:
        """One voter and any number of learners."""
        change = ConfChange(changes((ADD, B), (LEARN, C)))
        assert confchange.apply(ConfState(voters=(A,)), change) == ConfState(
            voters=(A, B), learners=(C,)
        )

    def test_auto_goes_through_a_joint_configuration_where_it_must(self) -> None:
        """And leaves it by itself."""
        change = ConfChange(changes((ADD, B), (ADD, C)))
        after = confchange.apply(ConfState(voters=(A,)), change)
        assert after.is_joint
        assert after.auto_leave
        assert confchange.apply(after, ConfChange()) == ConfState(voters=(A, B, C))

    @pytest.mark.parametrize(
        ("transition", "auto_leave"),
        [(Transition.JOINT_IMPLICIT, True), (Transition.JOINT_EXPLICIT, False)],
    )
    def test_joint_is_joint_also_for_one_voter(
        self, transition: Transition, auto_leave: bool
    ) -> None:
        """As was asked for."""
        after = confchange.apply(ConfState(voters=(A,)), ConfChange(changes((ADD, B)), transition))
        assert after == ConfState(voters=(A, B), voters_outgoing=(A,), auto_leave=auto_leave)

    @pytest.mark.parametrize("transition", list(Transition))
    def test_a_second_change_within_a_joint_is_refused(self, transition: Transition) -> None:
        """Whatever its way."""
        joint = ConfState(voters=(A,), voters_outgoing=(A, B))
        with pytest.raises(ConfChangeError, match="must be left first"):
            confchange.apply(joint, ConfChange(changes((LEARN, C)), transition))

    def test_leaving_what_is_not_joint_is_refused(self) -> None:
        """The empty AUTO change means: leave."""
        with pytest.raises(ConfChangeError, match="no joint"):
            confchange.apply(ConfState(voters=(A,)), ConfChange())


class TestIncarnations:
    """A wiped disk comes back as another member [R1]."""

    def test_the_new_replaces_the_old_as_a_learner_in_one_change(self) -> None:
        """It votes only once it has caught up."""
        after = confchange.apply(
            ConfState(voters=(A, B, C)), ConfChange(changes((REMOVE, A), (LEARN, A2)))
        )
        assert after == ConfState(voters=(B, C), learners=(A2,))

    def test_the_replacement_may_be_joint(self) -> None:
        """The old incarnation votes in the outgoing half while the new one learns."""
        change = ConfChange(changes((REMOVE, A), (LEARN, A2)), Transition.JOINT_IMPLICIT)
        after = confchange.apply(ConfState(voters=(A, B, C)), change)
        assert after.voters_outgoing == (A, B, C)
        assert after.learners == (A2,)
        assert confchange.leave_joint(after) == ConfState(voters=(B, C), learners=(A2,))

    def test_the_new_does_not_vote_at_once(self) -> None:
        """An empty log would make a majority without what was acknowledged."""
        with pytest.raises(ConfChangeError, match="must begin as a learner"):
            confchange.apply(
                ConfState(voters=(A, B, C)), ConfChange(changes((REMOVE, A), (ADD, A2)))
            )

    def test_the_learning_replacement_is_promoted_later(self) -> None:
        """It is a member of its own by then."""
        before = ConfState(voters=(B, C), learners=(A2,))
        after = confchange.apply(before, ConfChange(changes((ADD, A2))))
        assert after == ConfState(voters=(A2, B, C))

    @pytest.mark.parametrize(
        "before",
        [ConfState(voters=(A, B)), ConfState(voters=(B,), learners=(A,))],
        ids=["voter", "learner"],
    )
    def test_two_incarnations_are_not_members_together(self, before: ConfState) -> None:
        """Removing the old is part of the same change."""
        with pytest.raises(ConfChangeError, match="two incarnations of a"):
            confchange.apply(before, ConfChange(changes((LEARN, A2))))

    def test_a_staged_learner_counts_as_to_come(self) -> None:
        """Leaving the joint configuration would bring both."""
        change = ConfChange(changes((LEARN, A), (LEARN, A2)), Transition.JOINT_IMPLICIT)
        with pytest.raises(ConfChangeError, match="two incarnations of a"):
            confchange.apply(ConfState(voters=(A, B)), change)


class TestCheck:
    """What makes no sense is refused, also when it comes from a snapshot."""

    @pytest.mark.parametrize(
        "conf",
        [
            ConfState(),
            ConfState(voters=(A,), learners=(B,)),
            ConfState(
                voters=(A, D),
                voters_outgoing=(A, B),
                learners=(C,),
                learners_next=(B,),
                auto_leave=True,
            ),
        ],
    )
    def test_sense_is_returned(self, conf: ConfState) -> None:
        """Empty, ordinary and joint."""
        assert confchange.check(conf) is conf

    @pytest.mark.parametrize(
        ("conf", "reason"),
        [
            (ConfState(voters=(B, A)), "sorted"),
            (ConfState(voters=(A, A)), "sorted"),
            (ConfState(voters=(A,), learners=(C, B)), "sorted"),
            (ConfState(voters=(A,), voters_outgoing=(B, A)), "sorted"),
            (
                ConfState(voters=(C,), voters_outgoing=(A, B), learners_next=(B, A)),
                "sorted",
            ),
            (ConfState(voters=(A, B), learners=(B,)), "voter and learner at once"),
            (
                ConfState(voters=(A,), voters_outgoing=(A, B), learners=(B,)),
                "voter and learner at once",
            ),
            (
                ConfState(voters=(A,), voters_outgoing=(A, B), learners_next=(C,)),
                "does not vote any more",
            ),
            (
                ConfState(voters=(A, B), voters_outgoing=(A, B), learners_next=(B,)),
                "votes in the new majority",
            ),
            (ConfState(voters=(A,), auto_leave=True), "belongs to a joint"),
            (ConfState(voters=(A, A2)), "two incarnations"),
            (ConfState(voters=(A,), learners=(A2,)), "two incarnations"),
            (ConfState(learners=(A,)), "no voter"),
            (ConfState(voters_outgoing=(A,)), "no voter"),
        ],
    )
    def test_nonsense_is_refused(self, conf: ConfState, reason: str) -> None:
        """Each kind by its name."""
        with pytest.raises(ConfChangeError, match=reason):
            confchange.check(conf)

    def test_staged_learners_need_a_joint_configuration(self) -> None:
        """Without an outgoing half nobody would ever move them on."""
        with pytest.raises(ConfChangeError, match="does not vote any more"):
            confchange.check(ConfState(voters=(A,), learners_next=(B,)))


singles = st.builds(
    ConfChangeSingle,
    st.sampled_from(ConfChangeKind),
    st.builds(MemberID, st.sampled_from("abcd"), st.integers(1, 2)),
)
confchanges = st.builds(
    ConfChange,
    st.lists(singles, max_size=4).map(tuple),
    st.sampled_from(Transition),
)


def majorities(voters: MemberIDs) -> list[frozenset[MemberID]]:
    """Every smallest majority; one empty for no voters."""
    if not voters:
        return [frozenset()]
    return [frozenset(q) for q in combinations(voters, len(voters) // 2 + 1)]


def quorums(conf: ConfState) -> list[frozenset[MemberID]]:
    """Every smallest set of members that decides."""
    return [
        incoming | outgoing
        for incoming in majorities(conf.voters)
        for outgoing in majorities(conf.voters_outgoing)
    ]


def follow(before: ConfState, change: ConfChange) -> ConfState:
    """The configuration after ``change``, or the same where it is refused."""
    try:
        return confchange.apply(before, change)
    except ConfChangeError:
        return before


class TestAnyHistory:
    """What holds for every sequence of changes."""

    @given(st.lists(confchanges, max_size=12))
    def test_quorums_before_and_after_always_meet(self, history: list[ConfChange]) -> None:
        """The reason for every rule here: no two leaders of one term (Thesis 4.1, Fig. 4.3)."""
        conf = ConfState(voters=(A, B))
        for change in history:
            after = follow(conf, change)
            assert all(one & two for one in quorums(conf) for two in quorums(after))
            assert confchange.check(after) == after
            conf = after

    @given(st.lists(confchanges, max_size=8), st.lists(singles, max_size=4).map(tuple))
    def test_a_joint_change_ends_where_its_steps_would(
        self, history: list[ConfChange], wanted: tuple[ConfChangeSingle, ...]
    ) -> None:
        """Entering and leaving equals carrying out the changes one after the other."""
        conf = ConfState(voters=(A, B))
        for change in history:
            conf = follow(conf, change)
        if conf.is_joint:
            conf = confchange.leave_joint(conf)
        try:
            joint = confchange.enter_joint(conf, wanted, auto_leave=True)
        except ConfChangeError:
            return
        twin = dict.fromkeys(conf.voters, True) | dict.fromkeys(conf.learners, False)
        for kind, member in wanted:
            twin.pop(member, None)
            if kind is not REMOVE:
                twin[member] = kind is ADD
        assert confchange.leave_joint(joint) == ConfState(
            voters=tuple(sorted(m for m, votes in twin.items() if votes)),
            learners=tuple(sorted(m for m, votes in twin.items() if not votes)),
        )
