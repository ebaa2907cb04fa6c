from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftdb.raft.progress import Inflights, Progress, ProgressState


def progress(
    *, match: int = 0, after: int | None = None, messages: int = 3, size: int = 1000
) -> Progress:
    """A member in PROBE whose log matches up to ``match``."""
    window = Inflights(messages_max=messages, bytes_max=size)
    return Progress(match=match, next=match + 1 if after is None else after, inflights=window)


def replicating(*, match: int = 0, messages: int = 3, size: int = 1000) -> Progress:
    """A member in REPLICATE whose log matches up to ``match``."""
    replicated = progress(match=match, messages=messages, size=size)
    replicated.become_replicate()
    return replicated


def paused(pr: Progress) -> bool:
    """``is_paused`` asked anew; a property read twice is taken as the same by mypy."""
    return pr.is_paused


class TestInflights:
    """The window of unanswered appends."""

    def test_it_is_full_at_its_number_of_messages(self) -> None:
        """Two fit into a window of two."""
        window = Inflights(messages_max=2, bytes_max=100)
        window.add(last_index=1, bytes_count=0)
        assert not window.full
        window.add(last_index=2, bytes_count=0)
        assert window.full

    def test_it_is_full_at_its_bytes(self) -> None:
        """The append that reaches the limit may go beyond; a large entry would else never fit."""
        window = Inflights(messages_max=9, bytes_max=100)
        window.add(last_index=1, bytes_count=99)
        assert not window.full
        window.add(last_index=2, bytes_count=70)
        assert window.full

    def test_an_answer_frees_all_that_it_covers(self) -> None:
        """Answers are cumulative: one for index 5 answers the appends up to 5."""
        window = Inflights(messages_max=3, bytes_max=100)
        for index in (3, 5, 8):
            window.add(last_index=index, bytes_count=index)
        window.free_to(2)
        assert (len(window), window.bytes) == (3, 16)
        window.free_to(5)
        assert (len(window), window.bytes) == (1, 8)
        window.free_to(9)
        assert (len(window), window.bytes) == (0, 0)

    def test_misuse_is_a_bug(self) -> None:
        """Sending into a full window, out of order, or with a window of nothing."""
        window = Inflights(messages_max=1, bytes_max=100)
        window.add(last_index=1, bytes_count=1)
        with pytest.raises(AssertionError):
            window.add(last_index=2, bytes_count=1)
        window = Inflights(messages_max=2, bytes_max=100)
        window.add(last_index=1, bytes_count=1)
        with pytest.raises(AssertionError):
            window.add(last_index=1, bytes_count=1)
        with pytest.raises(AssertionError):
            Inflights(messages_max=0, bytes_max=1)
        with pytest.raises(AssertionError):
            Inflights(messages_max=1, bytes_max=0)

    @given(st.lists(st.tuples(st.booleans(), st.integers(0, 40))))
    def test_it_holds_what_a_list_would(self, steps: list[tuple[bool, int]]) -> None:
        """Any order of sends and answers, against a plain list."""
        window, twin, last = Inflights(messages_max=4, bytes_max=60), list[tuple[int, int]](), 0
        for sends, number in steps:
            if sends and not window.full:
                last += 1
                window.add(last_index=last, bytes_count=number)
                twin.append((last, number))
            elif not sends:
                window.free_to(number)
                twin = [(index, size) for index, size in twin if index > number]
            assert len(window) == len(twin)
            assert window.bytes == sum(size for _, size in twin)
            assert window.full == (len(twin) >= 4 or window.bytes >= 60)


class TestProbe:
    """Where the logs agree is a guess: one append at a time."""

    def test_one_append_pauses_until_an_answer(self) -> None:
        """More would only repeat the same guess."""
        probed = progress(match=2)
        assert not paused(probed)
        probed.sent_entries(count=3, bytes_count=10, commit=2)
        assert paused(probed)
        assert probed.next == 3
        assert probed.maybe_update(5)
        assert not paused(probed)
        assert (probed.match, probed.next) == (5, 6)

    def test_a_heartbeat_answer_lets_the_next_probe_through(self) -> None:
        """The last one may have been lost."""
        probed = progress()
        probed.sent_entries(count=0, bytes_count=0, commit=0)
        assert paused(probed)
        assert probed.heartbeat_answered()
        assert not paused(probed)

    def test_a_probe_is_no_news_of_the_commit(self) -> None:
        """It may be rejected, so the commit has to be told again."""
        probed = progress(match=5, after=9)
        probed.sent_entries(count=1, bytes_count=1, commit=5)
        assert probed.sent_commit == 0

    def test_a_rejection_moves_back_to_the_hint(self) -> None:
        """The next probe stands on the entry that the follower named."""
        probed = progress(match=2, after=10)
        probed.sent_entries(count=1, bytes_count=1, commit=0)
        assert probed.maybe_decr_to(rejected=9, hint=6)
        assert probed.next == 7
        assert not paused(probed)

    def test_a_rejection_always_moves_back(self) -> None:
        """Even with a hint that lies ahead of what was rejected."""
        probed = progress(match=2, after=10)
        assert probed.maybe_decr_to(rejected=9, hint=20)
        assert probed.next == 9

    def test_a_rejection_never_moves_back_to_what_matched(self) -> None:
        """``match < next`` whatever the follower says."""
        probed = progress(match=4, after=10)
        assert probed.maybe_decr_to(rejected=9, hint=1)
        assert probed.next == 5

    def test_a_rejection_of_another_probe_is_stale(self) -> None:
        """It was overtaken; following it would go in circles."""
        probed = progress(match=2, after=10)
        probed.sent_entries(count=1, bytes_count=1, commit=0)
        assert not probed.maybe_decr_to(rejected=7, hint=3)
        assert probed.next == 10
        assert paused(probed)


class TestReplicate:
    """The logs agree: appends run ahead of their answers."""

    def test_next_runs_ahead(self) -> None:
        """Two appends are under way at once."""
        sent = replicating(match=2)
        sent.sent_entries(count=2, bytes_count=5, commit=0)
        sent.sent_entries(count=1, bytes_count=5, commit=0)
        assert (sent.match, sent.next, len(sent.inflights)) == (2, 6, 2)
        assert not paused(sent)

    def test_a_full_window_pauses(self) -> None:
        """By messages and by bytes; an answer frees it."""
        sent = replicating(messages=2)
        sent.sent_entries(count=1, bytes_count=1, commit=0)
        sent.sent_entries(count=1, bytes_count=1, commit=0)
        assert paused(sent)
        assert sent.maybe_update(1)
        assert not paused(sent)
        sent = replicating(size=10)
        sent.sent_entries(count=1, bytes_count=10, commit=0)
        assert paused(sent)

    def test_an_answer_within_an_append_leaves_it_under_way(self) -> None:
        """The window stays full, and nothing may be sent into it."""
        sent = replicating(size=10)
        sent.sent_entries(count=3, bytes_count=10, commit=0)
        assert sent.maybe_update(1)
        assert paused(sent)

    def test_an_empty_append_takes_no_room(self) -> None:
        """It only carries the commit index."""
        sent = replicating()
        sent.sent_entries(count=0, bytes_count=0, commit=0)
        assert (sent.next, len(sent.inflights), sent.is_paused) == (1, 0, False)

    def test_an_empty_append_past_a_full_window_pauses_again(self) -> None:
        """One at a time, or every heartbeat would let the flow through."""
        sent = replicating(messages=1)
        sent.sent_entries(count=1, bytes_count=1, commit=0)
        assert not sent.heartbeat_answered()
        assert sent.heartbeat_answered()
        assert not paused(sent)
        sent.sent_entries(count=0, bytes_count=0, commit=0)
        assert paused(sent)

    def test_an_answer_leaves_what_is_under_way(self) -> None:
        """What was sent behind it is not sent again."""
        sent = replicating(match=2)
        sent.sent_entries(count=3, bytes_count=5, commit=0)
        sent.maybe_update(3)
        assert (sent.match, sent.next) == (3, 6)

    def test_trust_begins_behind_match(self) -> None:
        """Wherever the probes stood."""
        probed = progress(match=2, after=9)
        probed.sent_entries(count=1, bytes_count=1, commit=0)
        probed.become_replicate()
        assert (probed.next, paused(probed)) == (3, False)

    def test_doubt_empties_the_window(self) -> None:
        """Its messages and its bytes: nothing of it is waited for."""
        sent = replicating(size=10)
        sent.sent_entries(count=1, bytes_count=10, commit=0)
        sent.become_probe()
        sent.become_replicate()
        assert (len(sent.inflights), sent.inflights.bytes, paused(sent)) == (0, 0, False)

    def test_an_old_answer_changes_nothing(self) -> None:
        """Match never falls."""
        sent = replicating(match=5)
        sent.sent_entries(count=3, bytes_count=3, commit=0)
        assert not sent.maybe_update(5)
        assert not sent.maybe_update(2)
        assert (sent.match, sent.next, len(sent.inflights)) == (5, 9, 1)

    def test_an_answer_beyond_next_moves_next(self) -> None:
        """A follower may have more than this leader sent since its last doubt."""
        sent = replicating(match=2)
        assert sent.maybe_update(7)
        assert (sent.match, sent.next) == (7, 8)

    def test_a_rejection_at_or_below_match_is_stale(self) -> None:
        """What matched once matches for ever."""
        sent = replicating(match=5)
        sent.sent_entries(count=3, bytes_count=3, commit=0)
        assert not sent.maybe_decr_to(rejected=5, hint=1)
        assert sent.next == 9

    def test_a_real_rejection_goes_back_to_match(self) -> None:
        """An append was lost: the caller begins to probe there."""
        sent = replicating(match=5)
        sent.sent_entries(count=3, bytes_count=3, commit=8)
        assert sent.maybe_decr_to(rejected=8, hint=7)
        assert (sent.next, sent.sent_commit) == (6, 5)
        sent.become_probe()
        assert (sent.state, sent.next, len(sent.inflights)) == (ProgressState.PROBE, 6, 0)


class TestStall:
    """A lost append is found by heartbeats, without overtaking those on their way."""

    def test_one_heartbeat_answer_proves_nothing(self) -> None:
        """The append may still be on its way on the other connection."""
        sent = replicating(messages=1)
        sent.sent_entries(count=1, bytes_count=1, commit=0)
        assert not sent.heartbeat_answered()
        assert paused(sent)

    def test_a_whole_interval_without_progress_asks(self) -> None:
        """Between two answers nothing was freed: an empty append finds out."""
        sent = replicating()
        sent.sent_entries(count=1, bytes_count=1, commit=0)
        sent.heartbeat_answered()
        assert sent.heartbeat_answered()

    def test_progress_between_two_heartbeats_is_no_stall(self) -> None:
        """Something arrived, so the rest may be under way."""
        sent = replicating()
        sent.sent_entries(count=1, bytes_count=1, commit=0)
        sent.sent_entries(count=1, bytes_count=1, commit=0)
        sent.heartbeat_answered()
        sent.maybe_update(1)
        assert not sent.heartbeat_answered()

    def test_nothing_under_way_is_no_stall(self) -> None:
        """An idle member is left alone."""
        sent = replicating(match=4)
        assert [sent.heartbeat_answered() for _ in range(3)] == [False, False, False]

    def test_what_was_sent_after_the_answer_has_not_stalled(self) -> None:
        """The interval counts from the first answer that found it under way."""
        sent = replicating(match=4)
        assert not sent.heartbeat_answered()
        sent.sent_entries(count=1, bytes_count=1, commit=0)
        assert not sent.heartbeat_answered()
        assert sent.heartbeat_answered()

    def test_doubt_forgets_the_stall(self) -> None:
        """After probing, the first heartbeat answer proves nothing again."""
        sent = replicating()
        sent.sent_entries(count=1, bytes_count=1, commit=0)
        sent.heartbeat_answered()
        sent.become_probe()
        sent.become_replicate()
        sent.sent_entries(count=1, bytes_count=1, commit=0)
        assert not sent.heartbeat_answered()


class TestSnapshot:
    """A snapshot is under way: no appends."""

    def test_it_pauses_all_appends(self) -> None:
        """They would be rejected until the snapshot is there; a heartbeat changes nothing."""
        sent = replicating(match=2)
        sent.sent_entries(count=2, bytes_count=2, commit=0)
        sent.become_snapshot(10)
        assert (sent.state, sent.pending_snapshot, sent.next) == (ProgressState.SNAPSHOT, 10, 11)
        assert len(sent.inflights) == 0
        assert not sent.heartbeat_answered()
        assert paused(sent)
        with pytest.raises(AssertionError):
            sent.sent_entries(count=1, bytes_count=1, commit=0)

    def test_delivered_probing_goes_on_behind_it(self) -> None:
        """The report of the transport may come before the follower's own answer."""
        sent = progress(match=2)
        sent.become_snapshot(10)
        sent.become_probe()
        assert (sent.state, sent.next, sent.pending_snapshot) == (ProgressState.PROBE, 11, 0)

    def test_failed_probing_goes_back_to_match(self) -> None:
        """Nothing arrived."""
        sent = progress(match=2)
        sent.become_snapshot(10)
        sent.snapshot_failed()
        assert (sent.state, sent.next, sent.sent_commit) == (ProgressState.PROBE, 3, 2)
        with pytest.raises(AssertionError):
            sent.snapshot_failed()

    def test_an_answer_from_before_it_does_not_end_it(self) -> None:
        """A late rejection belongs to an older append."""
        sent = progress(match=2)
        sent.become_snapshot(10)
        assert not sent.maybe_decr_to(rejected=10, hint=1)
        assert sent.next == 11

    def test_a_snapshot_leads_forward(self) -> None:
        """Where entries would do, a snapshot is a bug."""
        with pytest.raises(AssertionError):
            progress(match=2).become_snapshot(2)

    def test_the_followers_own_answer_replicates_from_there(self) -> None:
        """Its match is at the snapshot's index."""
        sent = progress(match=2)
        sent.become_snapshot(10)
        assert sent.maybe_update(10)
        sent.become_replicate()
        assert (sent.match, sent.next, sent.is_paused) == (10, 11, False)


class TestCommitNews:
    """A member hears of a commit once, on what it surely has."""

    def test_what_an_append_carried_is_not_told_again(self) -> None:
        """Its follower commits up to the append's last entry."""
        sent = replicating(match=3)
        sent.sent_entries(count=1, bytes_count=1, commit=3)
        assert sent.sent_commit == 3
        sent.maybe_update(4)
        assert not sent.can_bump_commit(3)
        assert sent.can_bump_commit(4)
        sent.sent_commit_only(4)
        assert not sent.can_bump_commit(4)

    def test_an_append_tells_no_more_than_its_last_entry(self) -> None:
        """The follower caps the commit at what the append brought (Fig. 2, step 5)."""
        sent = replicating(match=3)
        sent.sent_entries(count=2, bytes_count=1, commit=9)
        assert sent.sent_commit == 5
        sent.sent_entries(count=0, bytes_count=0, commit=4)
        assert sent.sent_commit == 5

    def test_beyond_match_there_is_no_news(self) -> None:
        """An empty append stands on match, so it can commit no more than that."""
        sent = replicating(match=3)
        assert sent.can_bump_commit(9)
        sent.sent_commit_only(9)
        assert sent.sent_commit == 3
        assert not sent.can_bump_commit(9)
        sent.sent_commit_only(1)
        assert sent.sent_commit == 3

    def test_what_was_told_is_no_more_than_the_commit(self) -> None:
        """What is beyond it has to be told later."""
        sent = replicating(match=5)
        sent.sent_commit_only(3)
        assert sent.sent_commit == 3
        assert sent.can_bump_commit(4)

    def test_doubt_takes_back_what_was_told(self) -> None:
        """The appends that carried it may be lost."""
        sent = replicating(match=3)
        sent.sent_entries(count=4, bytes_count=1, commit=7)
        sent.become_probe()
        assert sent.sent_commit == 3

    def test_a_snapshot_brings_its_own_commit(self) -> None:
        """It stands at a committed index."""
        sent = progress(match=3)
        sent.become_snapshot(8)
        assert sent.sent_commit == 8
        assert not sent.can_bump_commit(8)


class TestInvariants:
    """What the fields promise holds after any history."""

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(
                    ["send", "ok", "reject", "beat", "probe", "trust", "snapshot", "failed", "tell"]
                ),
                st.integers(0, 12),
                st.integers(0, 12),
            )
        )
    )
    def test_the_fields_keep_their_promises(self, steps: list[tuple[str, int, int]]) -> None:
        """Any order of any inputs that a leader might give."""
        pr = progress()
        for step, one, two in steps:
            match_before = pr.match
            _step(pr, step, one, two)
            assert match_before <= pr.match < pr.next
            assert pr.sent_commit < pr.next
            snapshot = pr.state is ProgressState.SNAPSHOT
            assert (pr.pending_snapshot > 0) == snapshot
            assert not snapshot or pr.next > pr.pending_snapshot
            assert len(pr.inflights) == 0 or pr.state is ProgressState.REPLICATE
            if step in {"send", "ok"}:
                assert pr.is_paused or not pr.inflights.full

    def test_match_lies_before_next_from_the_start(self) -> None:
        """Anything else is a bug of the caller."""
        with pytest.raises(AssertionError):
            progress(match=3, after=3)


def _step(pr: Progress, step: str, one: int, two: int) -> None:  # noqa: C901 - a flat table
    match step:
        case "send" if not pr.is_paused:
            count = 0 if pr.inflights.full else one
            pr.sent_entries(count=count, bytes_count=count * 100, commit=two)
        case "ok":
            pr.maybe_update(min(one, pr.next - 1))
        case "reject":
            if pr.maybe_decr_to(rejected=one, hint=two) and pr.state is ProgressState.REPLICATE:
                pr.become_probe()
        case "beat":
            pr.heartbeat_answered()
        case "probe":
            pr.become_probe()
        case "trust":
            pr.become_replicate()
        case "snapshot" if one > pr.match:
            pr.become_snapshot(one)
        case "failed" if pr.state is ProgressState.SNAPSHOT:
            pr.snapshot_failed()
        case "tell":
            pr.sent_commit_only(one)
        case _:
            pass
