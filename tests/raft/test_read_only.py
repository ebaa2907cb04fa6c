from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftdb.raft.quorum import JointConfig, MajorityConfig
from raftdb.raft.read_only import ReadOnly
from raftdb.raft.types import MemberID, ReadID, ReadState

A, B, C = (MemberID(name, 1) for name in "abc")
VOTERS = JointConfig(MajorityConfig((A, B, C)))


def read(counter: int) -> ReadID:
    """The read of this number."""
    return ReadID(A, 7, counter)


class TestRounds:
    """A round confirms what was registered before it, and nothing later (Thesis 6.4)."""

    def test_a_quorum_of_answers_confirms(self) -> None:
        """At the commit index that was fixed before the round was sent."""
        reads = ReadOnly(reads_max=9)
        reads.add(read(1))
        assert reads.begin_round(5) == 1
        reads.answered(A, 1)
        assert reads.confirm(VOTERS) == []
        reads.answered(B, 1)
        assert reads.confirm(VOTERS) == [ReadState(read(1), 5)]
        assert reads.confirm(VOTERS) == []

    def test_an_answer_to_an_older_round_does_not_count(self) -> None:
        """It says nothing about the time after it was sent."""
        reads = ReadOnly(reads_max=9)
        reads.begin_round(5)
        reads.add(read(1))
        reads.begin_round(6)
        reads.answered(A, 2)
        reads.answered(B, 1)
        reads.answered(C, 1)
        assert reads.confirm(VOTERS) == []
        assert reads.acknowledged == 1
        reads.answered(C, 2)
        assert reads.confirm(VOTERS) == [ReadState(read(1), 6)]

    def test_a_late_answer_takes_nothing_back(self) -> None:
        """Answers may overtake each other."""
        reads = ReadOnly(reads_max=9)
        for _ in range(2):
            reads.begin_round(5)
        reads.answered(A, 2)
        reads.answered(B, 2)
        reads.answered(B, 1)
        reads.confirm(VOTERS)
        assert reads.acknowledged == 2

    def test_a_later_round_confirms_earlier_ones(self) -> None:
        """Whoever answers it followed all the time; the oldest come first, each at its index."""
        reads = ReadOnly(reads_max=9)
        for counter, commit in ((1, 5), (2, 8)):
            reads.add(read(counter))
            reads.begin_round(commit)
        reads.answered(A, 2)
        reads.answered(C, 2)
        assert reads.confirm(VOTERS) == [ReadState(read(1), 5), ReadState(read(2), 8)]

    def test_a_round_without_a_known_commit_carries_no_reads(self) -> None:
        """They go on waiting for a round after an entry of the own term is committed."""
        reads = ReadOnly(reads_max=9)
        reads.add(read(1))
        reads.begin_round(None)
        for voter in (A, B, C):
            reads.answered(voter, 1)
        assert reads.confirm(VOTERS) == []
        assert reads.has_waiting
        reads.begin_round(4)
        assert not reads.has_waiting

    def test_strangers_confirm_nothing(self) -> None:
        """A learner's answer is none of a voter."""
        reads = ReadOnly(reads_max=9)
        reads.begin_round(4)
        reads.answered(A, 1)
        reads.answered(MemberID("l", 1), 1)
        reads.confirm(VOTERS)
        assert reads.acknowledged == 0

    def test_a_smaller_quorum_takes_nothing_back(self) -> None:
        """What was acknowledged stays so when the configuration changes."""
        reads = ReadOnly(reads_max=9)
        reads.begin_round(4)
        reads.answered(A, 1)
        reads.confirm(JointConfig(MajorityConfig((A,))))
        reads.confirm(VOTERS)
        assert reads.acknowledged == 1

    def test_an_empty_configuration_acknowledges_no_more_than_was_sent(self) -> None:
        """It agrees to everything."""
        reads = ReadOnly(reads_max=9)
        reads.begin_round(4)
        reads.confirm(JointConfig())
        assert reads.acknowledged == 1

    def test_an_answer_to_a_round_never_sent_is_a_bug(self) -> None:
        """The caller refuses it before."""
        reads = ReadOnly(reads_max=9)
        reads.begin_round(4)
        for number in (0, 2):
            with pytest.raises(AssertionError):
                reads.answered(A, number)


class TestLimit:
    """Reads wait in bounded number."""

    def test_beyond_the_limit_there_is_no_room(self) -> None:
        """Waiting and riding reads count; confirmed ones do not."""
        reads = ReadOnly(reads_max=2)
        assert reads.add(read(1))
        reads.begin_round(4)
        assert reads.add(read(2))
        assert not reads.add(read(3))
        assert len(reads) == 2
        reads.answered(A, 1)
        reads.answered(B, 1)
        reads.confirm(VOTERS)
        assert len(reads) == 1
        assert reads.add(read(3))


class TestAnyOrder:
    """No order of answers confirms a read too early."""

    @given(
        st.lists(
            st.one_of(
                st.just("read"),
                st.just("round"),
                st.tuples(st.sampled_from((A, B, C)), st.integers(1, 9)),
            )
        )
    )
    def test_a_read_needs_a_quorum_that_answered_a_round_begun_after_it(
        self, steps: list[str | tuple[MemberID, int]]
    ) -> None:
        """Against remembering everything."""
        reads, count = ReadOnly(reads_max=99), 0
        asked_before: dict[ReadID, int] = {}
        answers: dict[MemberID, int] = {A: 0, B: 0, C: 0}
        for step in steps:
            if step == "read":
                count += 1
                asked_before[read(count)] = reads.round
                reads.add(read(count))
            elif step == "round":
                reads.begin_round(reads.round)
            elif isinstance(step, tuple) and step[1] <= reads.round:
                reads.answered(*step)
                answers[step[0]] = max(answers[step[0]], step[1])
            quorum = sorted(answers.values())[1]
            for state in reads.confirm(VOTERS):
                assert quorum > asked_before.pop(state.id)
            assert all(not quorum > asked for asked in asked_before.values())
