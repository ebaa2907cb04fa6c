"""The paper's sentences about the log: Figure 2, sections 5.3, 5.4.2 and 5.5.

Each test quotes by section what it proves.
"""

from __future__ import annotations

import pytest

from raftdb.errors import NoLeader, NotLeader
from raftdb.raft.messages import AppendEntries, AppendEntriesResponse, Heartbeat
from raftdb.raft.types import ZERO, Entry, EntryID, Role
from raftdb.simulation.cores.network import Network, NetworkOptions, member

A, B, C = member("a"), member("b"), member("c")
PLAIN = NetworkOptions(pre_vote=False, check_quorum=False)


def _append(
    term: int, previous: EntryID, terms: list[int], commit: int = 0, match: int = 0
) -> AppendEntries:
    entries = tuple(
        Entry(term=entry_term, index=index, data=b"%d.%d" % (entry_term, index))
        for index, entry_term in enumerate(terms, previous.index + 1)
    )
    return AppendEntries(
        sender=B,
        receiver=A,
        term=term,
        previous=previous,
        entries=entries,
        commit=commit,
        match=match,
    )


class TestReplication:
    """Paper §5.3: the life of a command."""

    def test_a_leader_appends_and_sends_in_parallel(self) -> None:
        """§5.3: appends the command as a new entry, then issues AppendEntries in parallel."""
        network = Network(3)
        network.elect("a")
        network["a"].propose(b"x")
        network.pump(network.peer("a"))
        sent = [m for m in network.take_back() if isinstance(m, AppendEntries) and m.entries]
        assert [m.receiver for m in sent][-2:] == [B, C]
        assert sent[-1].previous == EntryID(1, 1)
        assert sent[-1].entries == (Entry(1, 2, b"x"),)

    def test_a_follower_refuses_proposals_and_names_the_leader(self) -> None:
        """§8: a server that is not the leader rejects the request and tells of the leader."""
        network = Network(3)
        with pytest.raises(NoLeader):
            network["b"].propose(b"x")
        network.elect("a")
        with pytest.raises(NotLeader) as caught:
            network["b"].propose(b"x")
        assert caught.value.leader == "a"

    @pytest.mark.parametrize(
        ("size", "acknowledged", "committed"),
        [(3, "", False), (3, "b", True), (5, "b", False), (5, "bc", True), (4, "b", False)],
    )
    def test_a_majority_commits(self, size: int, acknowledged: str, committed: bool) -> None:
        """§5.3: committed once the leader has replicated it on a majority of the servers."""
        network = Network(size)
        network.elect("a")
        for name in "bcdefgh"[: size - 1]:
            if name not in acknowledged:
                network.cut("a", name)
        entry_id = network.propose("a", b"x")
        assert (network["a"].commit >= entry_id.index) is committed

    def test_one_node_commits_alone(self) -> None:
        """§5.3: it is a majority of one."""
        network = Network(1)
        network.run(1)
        network.propose("a", b"x")
        assert network.values("a") == [b"x"]

    def test_a_commit_takes_everything_before_it(self) -> None:
        """§5.3: this also commits all preceding entries, including those of previous leaders."""
        network = Network(3, **PLAIN)
        network.load("a", [1, 1, 2])
        network.campaign("a")
        assert network["a"].role is Role.LEADER
        assert network.values("a") == [b"1.1", b"1.2", b"2.3"]

    def test_a_leader_retries_for_ever(self) -> None:
        """§5.3: it retries AppendEntries until all followers store all entries."""
        network = Network(3)
        network.elect("a")
        network.isolate("c")
        for number in range(5):
            network.propose("a", b"%d" % number)
        network.run(100)
        network.heal()
        network.run(6)
        assert network.values("c") == network.values("a")

    def test_a_follower_learns_the_commit_at_once(self) -> None:
        """§5.3: once a follower learns that an entry is committed, it applies it, in log order."""
        network = Network(3)
        network.elect("a")
        network.propose("a", b"x")
        network.propose("a", b"y")
        assert network.values("b") == [b"x", b"y"]

    @pytest.mark.parametrize(("commit", "applied"), [(0, 0), (1, 1), (2, 2), (9, 2)])
    def test_a_follower_commits_what_it_was_told_and_has(self, commit: int, applied: int) -> None:
        """Fig. 2, receiver step 5: min(leaderCommit, index of last new entry)."""
        network = Network(3)
        network.ask(_append(1, ZERO, [1, 1], commit=commit))
        assert network["a"].applied == applied

    def test_a_commit_says_nothing_about_an_unchecked_tail(self) -> None:
        """Fig. 2, step 5: the last *new* entry; what lies behind may conflict with the leader's."""
        network = Network(3)
        network.load("a", [1, 1, 1])
        network.ask(_append(2, ZERO, [1], commit=3))
        assert network["a"].commit == 1

    def test_the_commit_index_never_falls(self) -> None:
        """Fig. 2: commitIndex increases monotonically."""
        network = Network(3)
        network.ask(_append(1, ZERO, [1, 1], commit=2))
        network.ask(_append(1, EntryID(1, 2), [], commit=1))
        assert network["a"].commit == 2


class TestLogMatching:
    """Paper §5.3: the consistency check and what follows from it."""

    @pytest.mark.parametrize(
        ("previous", "accepted"),
        [
            (ZERO, True),
            (EntryID(1, 1), True),
            (EntryID(2, 2), True),
            (EntryID(1, 2), False),
            (EntryID(4, 2), False),
            (EntryID(3, 3), False),
        ],
    )
    def test_the_entry_before_must_be_there(self, previous: EntryID, accepted: bool) -> None:
        """Fig. 2, receiver step 2: reply false without an entry at prevLogIndex with its term."""
        network = Network(3)
        network.load("a", [1, 2])
        (answer,) = network.ask(_append(5, previous, [5]))
        assert isinstance(answer, AppendEntriesResponse)
        assert answer.rejected is not accepted
        assert answer.index == previous.index + accepted

    @pytest.mark.parametrize(
        ("previous", "sent", "kept"),
        [
            (EntryID(2, 2), [3], [1, 2, 3]),
            (EntryID(1, 1), [3, 4], [1, 3, 4]),
            (ZERO, [1], [1, 2]),
            (ZERO, [3], [3]),
            (EntryID(1, 1), [2], [1, 2]),
            (EntryID(1, 1), [2, 4], [1, 2, 4]),
        ],
    )
    def test_only_conflicts_are_cut_away(
        self, previous: EntryID, sent: list[int], kept: list[int]
    ) -> None:
        """Fig. 2, steps 3 and 4: delete what conflicts and all behind it, append what is new."""
        network = Network(3)
        network.load("a", [1, 2])
        network.ask(_append(5, previous, sent))
        assert network.terms("a") == kept

    def test_a_late_short_append_takes_nothing_back(self) -> None:
        """Fig. 2, step 3: *if an existing entry conflicts*; an old message does not."""
        network = Network(3)
        network.ask(_append(1, ZERO, [1, 1, 1]))
        network.ask(_append(1, ZERO, [1]))
        assert network.terms("a") == [1, 1, 1]

    def test_what_is_committed_is_not_even_compared(self) -> None:
        """§5.4, Leader Completeness: every leader has it."""
        network = Network(3)
        network.load("a", [1, 1, 1], commit=2)
        (answer,) = network.ask(_append(2, EntryID(1, 1), []))
        assert isinstance(answer, AppendEntriesResponse)
        assert (answer.rejected, answer.index) == (False, 2)

    @pytest.mark.parametrize(
        "terms",
        [
            [1, 1, 1, 4, 4, 5, 5, 6, 6],
            [1, 1, 1, 4],
            [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
            [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
            [1, 1, 1, 4, 4, 4, 4],
            [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
        ],
        ids=list("abcdef"),
    )
    def test_figure_7(self, terms: list[int]) -> None:
        """§5.3, Fig. 7: the leader brings each of these logs into agreement with its own."""
        network = Network(3, **PLAIN)
        network.load("a", [1, 1, 1, 4, 4, 5, 5, 6, 6, 6], term=7)
        network.load("b", terms, term=7)
        network.crash("c")
        network.start("c", Network(3).peer("c").storage)
        network.campaign("a")
        assert network["a"].role is Role.LEADER
        network.run(4)
        assert network.terms("b") == network.terms("a") == [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 8]

    def test_a_conflict_costs_a_round_trip_per_term(self) -> None:
        """§5.3, end: one AppendEntries per conflicting term rather than per entry."""
        network = Network(3, **PLAIN)
        network.load("a", [1, *[3] * 100], term=5)
        network.load("b", [1, *[2] * 100], term=5)
        network.isolate("c")
        network.campaign("a")
        network.heal()
        network.isolate("c")
        network.run(3)
        rejections = [m for m in network.log if isinstance(m, AppendEntriesResponse) and m.rejected]
        assert network.terms("b") == network.terms("a")
        assert len(rejections) <= 2

    def test_the_hint_names_the_latest_entry_that_may_agree(self) -> None:
        """§5.3, end: the follower includes the term of the conflicting entry."""
        network = Network(3)
        network.load("a", [1, 1, 2, 2, 2])
        (answer,) = network.ask(_append(4, EntryID(1, 5), []))
        assert isinstance(answer, AppendEntriesResponse)
        assert answer.hint == EntryID(1, 2)
        (answer,) = network.ask(_append(4, EntryID(3, 9), []))
        assert isinstance(answer, AppendEntriesResponse)
        assert answer.hint == EntryID(2, 5)


class TestEarlierTerms:
    """Paper §5.4.2 and Fig. 8: when an entry of an earlier term is committed."""

    def test_it_is_never_committed_by_counting(self) -> None:
        """§5.4.2: only entries of the leader's current term are committed by counting replicas."""
        network = Network(3, **PLAIN)
        network.load("a", [1], term=1)
        network["a"].campaign()
        network.pump(network.peer("a"))
        network.losing = lambda m: (
            isinstance(m, AppendEntries) and any(entry.term == 2 for entry in m.entries)
        )
        network.deliver()
        # b stores (1,1) but never (2,2): a majority has (1,1), and still it may be overwritten
        network.ask(AppendEntriesResponse(sender=B, receiver=A, term=2, index=1))
        assert network["a"].role is Role.LEADER
        assert network["a"].commit == 0

    @pytest.mark.parametrize("replicated", [False, True])
    def test_figure_8(self, replicated: bool) -> None:
        """Fig. 8: (d) may overwrite what a majority stored, (e) may not: it has the own term's."""
        network = Network(5, pre_vote=False, check_quorum=False, append_bytes_max=1)
        network.load("a", [1, 2], term=3)
        network.load("b", [1, 2], term=3)
        network.load("c", [1], term=3)
        network.load("d", [1], term=3)
        network.load("e", [1, 3], term=3)
        # (c): a leads term 4 and replicates (2,2) to c, but (4,3) to nobody
        network.isolate("e")
        network.losing = lambda m: (
            isinstance(m, AppendEntries)
            and any(entry.term == 4 for entry in m.entries)
            and network.terms(m.receiver.id) == [1, 2]
        )
        network.campaign("a")
        network.run(2)
        assert network.terms("c") == network.terms("d") == [1, 2]
        assert network["a"].commit == 0
        if replicated:
            # (e): a gets (4,3) to a majority before it crashes: e cannot win any more
            network.losing = lambda _: False
            network.run(3)
            assert network["a"].commit == 3
        # (d): a crashes, e may lead and overwrite
        network.heal()
        network.crash("a")
        network.campaign("e")
        network.campaign("e")
        network.run(3)
        assert (network["e"].role is Role.LEADER) is not replicated
        assert network.terms("b") == ([1, 2, 4] if replicated else [1, 3, 5])

    def test_the_own_entry_commits_the_old_ones(self) -> None:
        """§5.4.2: all prior entries are committed indirectly, because of Log Matching."""
        network = Network(3, **PLAIN)
        network.load("a", [1, 1], term=1)
        network.campaign("a")
        assert network["a"].commit == 3

    def test_a_new_leader_opens_its_term_with_an_entry(self) -> None:
        """§8: each leader commits a blank no-op entry at the start of its term."""
        network = Network(3)
        network.elect("a")
        assert network.peer("a").machine == [Entry(1, 1)]


class TestCrashes:
    """Paper §5.5: followers and candidates that crash."""

    def test_appends_are_idempotent(self) -> None:
        """§5.5: a follower ignores entries that are already in its log."""
        network = Network(3)
        append = _append(1, ZERO, [1, 1], commit=2)
        answers = [network.ask(append) for _ in range(3)]
        assert answers[0] == answers[1] == answers[2]
        assert network.values("a") == [b"1.1", b"1.2"]

    def test_a_follower_that_crashed_before_answering_gets_it_again(self) -> None:
        """§5.5: it will receive the same RPC again after it restarts."""
        network = Network(3)
        network.elect("a")
        network.peer("b").saves_hang = True
        network.propose("a", b"x")
        network.restart("b")
        network.run(6)
        assert network.values("b") == [b"x"]


class TestOrderAndLoss:
    """Messages may be lost, duplicated and reordered, also between two connections of one pair."""

    def test_a_lost_append_is_found_by_heartbeats(self) -> None:
        """Nothing tells the leader of the loss but that a heartbeat interval brings no answer."""
        network = Network(3)
        network.elect("a")
        network.losing = lambda m: m.receiver == C and isinstance(m, AppendEntries)
        network.propose("a", b"x")
        network.heal()
        network.run(8)
        assert network.values("c") == [b"x"]

    def test_a_commit_that_overtakes_its_entries_is_not_rejected(self) -> None:
        """A commit index travels on its own connection: it names what the follower surely has."""
        network = Network(3)
        network.elect("a")
        network.run(6)
        network["a"].propose(b"x")
        network.pump(network.peer("a"))
        held = [m for m in network.in_flight if m.receiver == C]
        network.in_flight = [m for m in network.in_flight if m.receiver != C]
        network.deliver()
        overtaking = [m for m in network.in_flight if m.receiver == C]
        assert not overtaking
        before = len(network.log)
        network["a"].tick(2)
        network.pump(network.peer("a"))
        network.deliver()
        network.in_flight.extend(held)
        network.deliver()
        answers = [m for m in network.log[before:] if isinstance(m, AppendEntriesResponse)]
        assert not any(m.rejected for m in answers)
        assert network.values("c") == [b"x"]

    def test_a_stale_rejection_is_ignored(self) -> None:
        """A rejection at or below the match was overtaken by an acceptance."""
        network = Network(3)
        network.elect("a")
        network.propose("a", b"x")
        before = network["a"].status().peers[B]
        stale = AppendEntriesResponse(
            sender=B, receiver=A, term=1, index=1, rejected=True, hint=ZERO
        )
        network.ask(stale)
        assert network["a"].status().peers[B] == before

    def test_many_proposals_of_one_turn_are_one_append(self) -> None:
        """Appends are computed when messages are taken."""
        network = Network(3)
        network.elect("a")
        before = len(network.log)
        for number in range(50):
            network["a"].propose(b"%d" % number)
        network.pump(network.peer("a"))
        appends = [m for m in network.log[before:] if isinstance(m, AppendEntries)]
        assert [len(m.entries) for m in appends] == [50, 50]

    def test_a_window_bounds_what_is_in_flight(self) -> None:
        """A slow follower gets no more than its window, and all of it in the end."""
        network = Network(3, append_bytes_max=40, inflight_messages_max=3, inflight_bytes_max=900)
        network.elect("a")
        network.run(3)
        before = len(network.log)
        for number in range(9):
            network["a"].propose(b"%d" % number)
        network.pump(network.peer("a"))
        flying = [
            m for m in network.log[before:] if isinstance(m, AppendEntries) and m.receiver == B
        ]
        assert len(flying) == 3
        network.deliver()
        assert len(network.values("b")) == 9

    def test_a_lost_full_window_is_probed(self) -> None:
        """Also when the window is full an empty append finds out what was lost."""
        network = Network(3, append_bytes_max=40, inflight_messages_max=2)
        network.elect("a")
        network.losing = lambda m: m.receiver == C and isinstance(m, AppendEntries)
        for number in range(9):
            network.propose("a", b"%d" % number)
        network.heal()
        network.run(10)
        assert len(network.values("c")) == 9

    def test_unreachable_means_probing(self) -> None:
        """What the transport dropped is not waited for."""
        network = Network(3)
        network.elect("a")
        network.losing = lambda m: m.receiver == C
        network.propose("a", b"x")
        network.heal()
        network["a"].report_unreachable(C)
        assert network["a"].status().peers[C].state == "probe"
        network.deliver()
        assert network.values("c") == [b"x"]

    def test_where_everything_agrees_there_is_nothing_to_doubt(self) -> None:
        """An idle follower whose link broke for a moment is not probed."""
        network = Network(3)
        network.elect("a")
        network["a"].report_unreachable(C)
        assert network["a"].status().peers[C].state == "replicate"
        before = len(network.log)
        network.run(4)
        assert not [m for m in network.log[before:] if isinstance(m, AppendEntries)]

    def test_news_of_a_commit_is_not_answered(self) -> None:
        """The leader knows what the follower has; an answer would only cost a message each."""
        network = Network(3)
        network.elect("a")
        before = len(network.log)
        network.propose("a", b"x")
        kinds = [type(m).__name__ for m in network.log[before:]]
        assert kinds.count("AppendEntries") == 4
        assert kinds.count("AppendEntriesResponse") == 2

    def test_a_late_acknowledgement_from_before_the_log(self) -> None:
        """What a slow follower acknowledges may be compacted away: no commit can name it."""
        network = Network(3, append_bytes_max=1)
        network.elect("a")
        network.run(2)
        for number in range(3):
            network["a"].propose(b"%d" % number)
        network.pump(network.peer("a"))
        held = [m for m in network.in_flight if m.receiver == C]
        network.in_flight = [m for m in network.in_flight if m.receiver != C]
        network.deliver()
        network.snapshot("a")
        network.in_flight.append(held[0])
        network.deliver()
        assert network["a"].status().peers[C].match == 2
        network.in_flight.extend(held[1:])
        network.deliver()
        assert network.values("c") == [b"0", b"1", b"2"]

    def test_a_report_about_a_stranger_or_by_a_follower_changes_nothing(self) -> None:
        """The transport reports what it sees; the core knows what it means."""
        network = Network(3)
        network.elect("a")
        before = network["a"].status()
        network["a"].report_unreachable(member("z"))
        network["a"].report_snapshot(member("z"), True)
        network["a"].report_snapshot(B, True)
        network["b"].report_unreachable(A)
        assert network["a"].status() == before

    def test_a_heartbeat_carries_the_commit_no_further_than_the_match(self) -> None:
        """It may overtake appends, so it commits only what is known to be there."""
        network = Network(3)
        network.elect("a")
        network.isolate("c")
        network.propose("a", b"x")
        network.tick("a", count=2)
        beats = {m.receiver: m for m in network.log if isinstance(m, Heartbeat)}
        assert (beats[B].commit, beats[B].match) == (2, 2)
        assert (beats[C].commit, beats[C].match) == (1, 1)
