from __future__ import annotations

from raftdb.replica.lease import ROUNDS_MAX, Rounds


def age_s(rounds: Rounds, term: int, acknowledged: int, now_s: float) -> float | None:
    stamp = rounds.stamp(term, acknowledged)
    return None if stamp is None else now_s - stamp[0]


class TestRounds:
    """An acknowledged round is as old as its sending [R13]."""

    def test_age_counts_from_the_sending(self) -> None:
        """When the answers came does not matter."""
        rounds = Rounds()
        rounds.sent(2, 1, 10.0)
        assert age_s(rounds, 2, 1, 10.3) == 10.3 - 10.0

    def test_a_round_keeps_its_first_stamp(self) -> None:
        """Sending other messages later does not make the round younger."""
        rounds = Rounds()
        rounds.sent(2, 1, 10.0)
        rounds.sent(2, 1, 10.2)
        assert age_s(rounds, 2, 1, 10.5) == 0.5

    def test_an_older_round_is_not_taken_for_the_newest(self) -> None:
        """Only what a quorum has answered counts."""
        rounds = Rounds()
        rounds.sent(2, 1, 10.0)
        rounds.sent(2, 2, 11.0)
        assert age_s(rounds, 2, 1, 11.0) == 1.0
        assert age_s(rounds, 2, 2, 11.0) == 0.0

    def test_rounds_that_left_together_take_the_stamp_before(self) -> None:
        """Of round 2 only the sending of 1 is known to be earlier: rather too old than too young."""
        rounds = Rounds()
        rounds.sent(2, 1, 10.0)
        rounds.sent(2, 3, 11.0)
        assert age_s(rounds, 2, 2, 11.0) == 1.0

    def test_nothing_is_known_of_another_term(self) -> None:
        """A leader that was deposed and elected again begins anew."""
        rounds = Rounds()
        rounds.sent(2, 1, 10.0)
        assert age_s(rounds, 3, 1, 10.0) is None
        rounds.sent(4, 0, 10.0)
        assert age_s(rounds, 4, 0, 10.0) is None

    def test_a_new_term_counts_its_rounds_anew(self) -> None:
        """Round 1 of the second term in office was not sent in the first."""
        rounds = Rounds()
        rounds.sent(2, 1, 10.0)
        rounds.sent(2, 5, 11.0)
        rounds.sent(4, 1, 20.0)
        assert age_s(rounds, 4, 1, 20.5) == 0.5
        assert age_s(rounds, 4, 0, 20.5) is None

    def test_memory_is_bounded(self) -> None:
        """A leader that nobody answers remembers no more than it needs."""
        rounds = Rounds()
        for round_ in range(1, 2 * ROUNDS_MAX):
            rounds.sent(2, round_, float(round_))
        assert age_s(rounds, 2, 1, 1e6) is None
        assert age_s(rounds, 2, 2 * ROUNDS_MAX - 1, 2 * ROUNDS_MAX) == 1.0
