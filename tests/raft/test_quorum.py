from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftdb.raft.quorum import INDEX_MAX, JointConfig, MajorityConfig, VoteResult
from raftdb.raft.types import MemberID, MemberIDs

A, B, C, D, E, F = (MemberID(name, 1) for name in "abcdef")

members = st.lists(
    st.builds(MemberID, st.sampled_from("abcdefg"), st.integers(1, 2)), max_size=7, unique=True
).map(lambda chosen: tuple(sorted(chosen)))
indexes = st.dictionaries(
    st.builds(MemberID, st.sampled_from("abcdefg"), st.integers(1, 2)), st.integers(0, 9)
)
ballots = st.dictionaries(
    st.builds(MemberID, st.sampled_from("abcdefg"), st.integers(1, 2)), st.booleans()
)


def quorums(voters: MemberIDs) -> list[MemberIDs]:
    """Every smallest majority of ``voters``, by the definition."""
    return list(combinations(voters, len(voters) // 2 + 1))


def agree(voters: MemberIDs, who: list[MemberID]) -> bool:
    """Whether ``who`` holds a whole majority of ``voters``; the slow and obvious twin."""
    return not voters or any(all(m in who for m in quorum) for quorum in quorums(voters))


def result_by_definition(voters: MemberIDs, votes: dict[MemberID, bool]) -> VoteResult:
    """WON if the yes hold a majority, LOST if they could not even with all who are silent."""
    if agree(voters, [m for m in voters if votes.get(m) is True]):
        return VoteResult.WON
    if agree(voters, [m for m in voters if votes.get(m) is not False]):
        return VoteResult.PENDING
    return VoteResult.LOST


class TestMajority:
    """More than half of the members decide."""

    @pytest.mark.parametrize(
        ("count", "quorum"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4), (7, 4)]
    )
    def test_a_quorum_is_more_than_half(self, count: int, quorum: int) -> None:
        """Four members need three, not two."""
        assert MajorityConfig((A, B, C, D, E, F, MemberID("g", 1))[:count]).quorum == quorum

    def test_an_index_is_committed_when_a_quorum_has_it(self) -> None:
        """Of 5, 4, 3 acknowledged by three voters, 4 is at two of them."""
        acked = {A: 5, B: 4, C: 3, D: 3}
        assert MajorityConfig((A, B, C)).committed_index(lambda m: acked[m]) == 4
        assert MajorityConfig((A, B, C, D)).committed_index(lambda m: acked[m]) == 3

    def test_an_empty_majority_agrees_to_everything(self) -> None:
        """So that an ordinary configuration is a joint one with an empty half."""
        assert MajorityConfig().committed_index(lambda _: 0) == INDEX_MAX
        assert MajorityConfig().vote_result({}) is VoteResult.WON

    def test_two_incarnations_never_count_for_each_other(self) -> None:
        """A wiped disk's vote is no vote of its predecessor [R1]."""
        votes = {A: True, MemberID("b", 2): True, MemberID("c", 2): True}
        assert MajorityConfig((A, B, C)).vote_result(votes) is VoteResult.PENDING

    @pytest.mark.parametrize("wrong", [(B, A), (A, A)])
    def test_members_are_sorted_and_count_once(self, wrong: MemberIDs) -> None:
        """Anything else is a bug of the caller."""
        with pytest.raises(AssertionError):
            MajorityConfig(wrong)

    @given(members, indexes)
    def test_committed_index_is_the_highest_that_some_quorum_has(
        self, voters: MemberIDs, acked: dict[MemberID, int]
    ) -> None:
        """Against trying each quorum."""
        expected = max(
            (min(acked.get(m, 0) for m in quorum) for quorum in quorums(voters)), default=0
        )
        committed = MajorityConfig(voters).committed_index(lambda m: acked.get(m, 0))
        assert committed == (expected if voters else INDEX_MAX)

    @given(members, ballots)
    def test_a_vote_is_what_the_definition_says(
        self, voters: MemberIDs, votes: dict[MemberID, bool]
    ) -> None:
        """Against trying each quorum."""
        assert MajorityConfig(voters).vote_result(votes) is result_by_definition(voters, votes)


class TestJoint:
    """Both majorities have to agree (Thesis 4.3)."""

    def test_members_are_both_halves_sorted_once_each(self) -> None:
        """Whoever votes in both halves is asked once."""
        joint = JointConfig(MajorityConfig((B, C)), MajorityConfig((A, B)))
        assert joint.members == (A, B, C)
        assert A in joint
        assert C in joint
        assert D not in joint

    def test_the_slower_half_decides(self) -> None:
        """An index at the new majority alone is not committed."""
        joint = JointConfig(MajorityConfig((A, B, C)), MajorityConfig((D, E, F)))
        acked = {A: 9, B: 9, C: 9, D: 2, E: 1, F: 1}
        assert joint.committed_index(lambda m: acked[m]) == 1

    def test_one_lost_half_loses(self) -> None:
        """Even where the other half still waits."""
        joint = JointConfig(MajorityConfig((A,)), MajorityConfig((B,)))
        assert joint.vote_result({B: False}) is VoteResult.LOST
        assert joint.vote_result({A: False, B: True}) is VoteResult.LOST
        assert joint.vote_result({A: True}) is VoteResult.PENDING
        assert joint.vote_result({A: True, B: True}) is VoteResult.WON

    @given(members, members, indexes)
    def test_committed_index_satisfies_both_halves(
        self, incoming: MemberIDs, outgoing: MemberIDs, acked: dict[MemberID, int]
    ) -> None:
        """The highest index for which those who have it hold a majority of each half."""
        joint = JointConfig(MajorityConfig(incoming), MajorityConfig(outgoing))
        committed = joint.committed_index(lambda m: acked.get(m, 0))
        if not incoming and not outgoing:
            assert committed == INDEX_MAX
            return

        def both_have(index: int) -> bool:
            have = [m for m in (*incoming, *outgoing) if acked.get(m, 0) >= index]
            return agree(incoming, have) and agree(outgoing, have)

        assert committed == max(index for index in range(10) if both_have(index))

    @given(members, members, ballots)
    def test_a_joint_vote_is_what_the_definition_says(
        self, incoming: MemberIDs, outgoing: MemberIDs, votes: dict[MemberID, bool]
    ) -> None:
        """Won when both are won, lost when it cannot be won any more."""
        joint = JointConfig(MajorityConfig(incoming), MajorityConfig(outgoing))
        halves = [result_by_definition(half, votes) for half in (incoming, outgoing)]
        expected = VoteResult.WON
        if VoteResult.PENDING in halves:
            expected = VoteResult.PENDING
        if VoteResult.LOST in halves:
            expected = VoteResult.LOST
        assert joint.vote_result(votes) is expected
