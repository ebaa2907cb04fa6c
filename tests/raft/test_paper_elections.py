"""The paper's sentences about terms, roles and elections: Figure 2, sections 5.1, 5.2 and 5.4.1.

Each test quotes by section what it proves.
"""

from __future__ import annotations

import pytest

from raftdb.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
    PreVote,
    RequestVote,
    RequestVoteResponse,
)
from raftdb.raft.types import ZERO, EntryID, Role
from raftdb.simulation.cores.network import Network, NetworkOptions, member

A, B, C = member("a"), member("b"), member("c")
PLAIN = NetworkOptions(pre_vote=False, check_quorum=False)
"""The paper's Raft, without the thesis's additions."""


def _request(
    term: int, last: EntryID = ZERO, sender: str = "b", *, transfer: bool = False
) -> RequestVote:
    return RequestVote(sender=member(sender), receiver=A, term=term, last=last, transfer=transfer)


def _append(term: int, sender: str = "b") -> AppendEntries:
    return AppendEntries(sender=member(sender), receiver=A, term=term, previous=ZERO)


class TestTerms:
    """Paper §5.1: terms act as a logical clock."""

    @pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE, Role.LEADER])
    def test_a_higher_term_makes_a_follower(self, role: Role) -> None:
        """§5.1: if one server's term is smaller, it updates to the larger and becomes follower."""
        network = Network(3, **PLAIN)
        if role is Role.CANDIDATE:
            network.isolate("a")
            network.campaign("a")
        elif role is Role.LEADER:
            network.elect("a")
        assert network["a"].role is role
        network.ask(_append(9))
        assert (network["a"].role, network["a"].term, network["a"].leader) == (Role.FOLLOWER, 9, B)

    def test_a_deposed_leader_waits_like_everybody(self) -> None:
        """§5.2: its timer stands where CheckQuorum last looked, and says nothing about an election.

        It hears of a higher term from somebody whose log is too old to win, so no vote stops it.
        """
        for seed in range(10):
            network = Network(3, seed=seed)
            network.elect("a")
            network.propose("a", b"x")
            network.run(7)
            network.ask(_request(9, transfer=True))
            before = len(network.log)
            network.tick("a", count=7)
            assert network["a"].role is Role.FOLLOWER
            assert network.log[before:] == [], "it campaigns within an election timeout"

    def test_a_response_with_a_higher_term_deposes_too(self) -> None:
        """Fig. 2, All Servers: RPC request *or response* contains term T > currentTerm."""
        network = Network(3, **PLAIN)
        network.elect("a")
        network.ask(AppendEntriesResponse(sender=B, receiver=A, term=7, index=0))
        assert (network["a"].role, network["a"].term, network["a"].leader) == (
            Role.FOLLOWER,
            7,
            None,
        )

    def test_a_stale_request_is_rejected(self) -> None:
        """§5.1: a server that receives a request with a stale term number rejects it."""
        network = Network(3, **PLAIN)
        network.load("a", [1], term=5)
        (answer,) = network.ask(_append(4))
        assert isinstance(answer, AppendEntriesResponse)
        assert (answer.term, answer.index) == (5, 0)
        (refusal,) = network.ask(_request(4, EntryID(4, 9)))
        assert isinstance(refusal, RequestVoteResponse)
        assert (refusal.term, refusal.granted) == (5, False)
        assert network["a"].leader is None

    def test_a_stale_response_is_ignored(self) -> None:
        """§5.1: what answers an earlier term counts for nothing in this one."""
        network = Network(3, **PLAIN)
        network.isolate("a")
        network.campaign("a")
        network.campaign("a")
        network.ask(RequestVoteResponse(sender=B, receiver=A, term=1, granted=True))
        assert (network["a"].role, network["a"].term) == (Role.CANDIDATE, 2)

    def test_a_new_term_has_no_vote_yet(self) -> None:
        """Fig. 2, votedFor: candidate that received the vote *in the current term*, or null."""
        network = Network(3, **PLAIN)
        network.load("a", [], term=3, vote="c")
        network.ask(_append(4))
        assert network["a"].status().hard_state.vote is None


class TestStarting:
    """Paper §5.2: how a server begins."""

    def test_servers_start_as_followers(self) -> None:
        """§5.2: when servers start up, they begin as followers."""
        assert [peer.node.role for peer in Network(3).peers.values()] == [Role.FOLLOWER] * 3

    def test_a_leader_restarts_as_follower_in_its_term(self) -> None:
        """Fig. 2: currentTerm and votedFor persist, the role does not."""
        network = Network(3)
        network.elect("a")
        node = network.restart("a")
        assert (node.role, node.leader) == (Role.FOLLOWER, None)
        assert (node.term, node.status().hard_state.vote) == (1, A)


class TestElectionTimeouts:
    """Paper §5.2: when elections begin."""

    def test_a_follower_stays_one_while_it_hears_a_leader(self) -> None:
        """§5.2: it remains follower as long as it receives valid RPCs from a leader."""
        network = Network(3)
        network.elect("a")
        network.run(200)
        assert network.leaders == ["a"]
        assert network["a"].term == 1

    def test_silence_begins_an_election(self) -> None:
        """§5.2: no communication over the election timeout: begin an election."""
        network = Network(3, **PLAIN)
        network.isolate("a")
        network.tick("a", count=15)
        assert network["a"].role is Role.CANDIDATE

    @pytest.mark.parametrize("role", [Role.FOLLOWER, Role.CANDIDATE])
    def test_timeouts_are_drawn_between_t_and_2t(self, role: Role) -> None:
        """§5.2: randomly from a fixed interval; here [T, 2T), and every value of it occurs."""
        drawn = []
        for seed in range(120):
            network = Network(3, seed=seed, **PLAIN)
            network.isolate("a")
            if role is Role.CANDIDATE:
                network.campaign("a")
            term = network["a"].term
            ticks = 0
            while network["a"].term == term:
                network.tick("a")
                ticks += 1
            drawn.append(ticks)
        assert {*drawn} == {*range(8, 16)}

    def test_each_election_draws_anew(self) -> None:
        """§5.2: each candidate restarts its randomized timeout at the start of an election."""
        network = Network(3, **PLAIN)
        network.isolate("a")
        timeouts = []
        for _ in range(30):
            network.campaign("a")
            timeouts.append(network["a"].state.election_timeout)
        assert len({*timeouts}) > 3

    def test_split_votes_are_rare_and_end(self) -> None:
        """§5.2: randomized timeouts ensure that split votes are rare and resolved quickly."""
        for seed in range(20):
            network = Network(5, seed=seed, **PLAIN)
            network.run(60)
            assert len(network.leaders) == 1

    def test_a_granted_vote_restarts_the_timer(self) -> None:
        """Fig. 2, Followers: ... or granting vote to candidate."""
        network = Network(3, **PLAIN)
        network.tick("a", count=7)
        network.ask(_request(1))
        assert network["a"].state.election_elapsed == 0

    def test_a_refused_candidate_does_not_restart_the_timer(self) -> None:
        """Fig. 2, Followers: only AppendEntries and granted votes do."""
        network = Network(3, **PLAIN)
        network.load("a", [1, 1])
        network.tick("a", count=7)
        network.ask(_request(2, EntryID(1, 1)))
        assert network["a"].term == 2
        assert network["a"].state.election_elapsed == 7


class TestCandidates:
    """Paper §5.2 and Fig. 2, Candidates."""

    def test_an_election_increments_the_term_votes_for_itself_and_asks_all(self) -> None:
        """Fig. 2, Candidates: on conversion to candidate, start election."""
        network = Network(3, **PLAIN)
        network["a"].campaign()
        network.pump(network.peer("a"))
        sent = network.take_back()
        assert network["a"].term == 1
        assert network["a"].status().hard_state.vote == A
        assert sent == [
            RequestVote(sender=A, receiver=B, term=1, last=ZERO),
            RequestVote(sender=A, receiver=C, term=1, last=ZERO),
        ]

    @pytest.mark.parametrize(
        ("size", "votes", "role"),
        [
            (1, "", Role.LEADER),
            (3, "b", Role.LEADER),
            (3, "", Role.CANDIDATE),
            (5, "bc", Role.LEADER),
            (5, "b", Role.CANDIDATE),
            (4, "b", Role.CANDIDATE),
            (4, "bc", Role.LEADER),
        ],
    )
    def test_a_majority_of_the_full_cluster_wins(self, size: int, votes: str, role: Role) -> None:
        """§5.2: votes from a majority of the servers in the full cluster for the same term."""
        network = Network(size, **PLAIN)
        network["a"].campaign()
        network.pump(network.peer("a"))
        network.take_back()
        for name in votes:
            network.ask(RequestVoteResponse(sender=member(name), receiver=A, term=1, granted=True))
        assert network["a"].role is role

    def test_one_voter_counts_once(self) -> None:
        """§5.2: each server votes for at most one candidate; repeating it adds nothing."""
        network = Network(5, **PLAIN)
        network["a"].campaign()
        network.pump(network.peer("a"))
        for _ in range(3):
            network.ask(RequestVoteResponse(sender=B, receiver=A, term=1, granted=True))
        assert network["a"].role is Role.CANDIDATE

    def test_a_majority_of_refusals_ends_it(self) -> None:
        """§5.2: who cannot win any more waits as a follower."""
        network = Network(3, **PLAIN)
        network["a"].campaign()
        network.pump(network.peer("a"))
        for name in "bc":
            network.ask(RequestVoteResponse(sender=member(name), receiver=A, term=1, granted=False))
        assert network["a"].role is Role.FOLLOWER

    @pytest.mark.parametrize("term", [1, 2])
    def test_a_leader_of_this_or_a_later_term_is_recognised(self, term: int) -> None:
        """§5.2: a leader's term at least as large: the candidate returns to follower state."""
        network = Network(3, **PLAIN)
        network["a"].campaign()
        network.pump(network.peer("a"))
        network.ask(_append(term))
        assert (network["a"].role, network["a"].leader) == (Role.FOLLOWER, B)

    def test_a_claim_of_a_smaller_term_is_rejected(self) -> None:
        """§5.2: if the term is smaller, the candidate rejects the RPC and continues."""
        network = Network(3, **PLAIN)
        network["a"].campaign()
        network["a"].campaign()
        network.pump(network.peer("a"))
        network.ask(_append(1))
        assert network["a"].role is Role.CANDIDATE

    def test_a_split_vote_times_out_into_a_new_term(self) -> None:
        """§5.2: each candidate will time out and start a new election."""
        network = Network(3, **PLAIN)
        network.isolate("a")
        network.campaign("a")
        network.tick("a", count=15)
        assert (network["a"].role, network["a"].term) == (Role.CANDIDATE, 2)

    def test_a_winner_tells_everybody_at_once(self) -> None:
        """§5.2: it then sends heartbeat messages to establish its authority."""
        network = Network(3, **PLAIN)
        network["a"].campaign()
        network.pump(network.peer("a"))
        before = len(network.log)
        network.ask(RequestVoteResponse(sender=B, receiver=A, term=1, granted=True))
        sent = [m.receiver for m in network.log[before:] if isinstance(m, AppendEntries)]
        assert sent == [B, C]

    def test_a_leader_heartbeats_every_interval(self) -> None:
        """Fig. 2, Leaders: repeat during idle periods to prevent election timeouts."""
        network = Network(3, **PLAIN)
        network.elect("a")
        before = len(network.log)
        network.tick("a", count=6)
        beats = [m.receiver for m in network.log[before:] if isinstance(m, Heartbeat)]
        assert beats == [B, C] * 3

    def test_a_late_vote_does_not_make_two_leaders(self) -> None:
        """§5.2: once a candidate wins, it is leader; further votes change nothing."""
        network = Network(3, **PLAIN)
        network.elect("a")
        last = network["a"].status().last
        network.ask(RequestVoteResponse(sender=C, receiver=A, term=1, granted=True))
        assert network["a"].status().last == last

    def test_who_leads_does_not_campaign(self) -> None:
        """Fig. 4: there is no way from leader to candidate; to ask for it changes nothing."""
        network = Network(3)
        network.elect("a")
        network.isolate("a")
        for _ in range(7):
            network.tick("a", count=2)
            network["a"].campaign()
        assert (network["a"].role, network["a"].term) == (Role.LEADER, 1)
        network.tick("a", count=2)
        network["a"].campaign()
        assert network["a"].term == 1
        assert network["a"].leader is None


class TestVoters:
    """Fig. 2, RequestVote receiver, and §5.4.1."""

    @pytest.mark.parametrize(
        ("voted", "candidate", "granted"),
        [(None, "b", True), (None, "c", True), ("b", "b", True), ("b", "c", False)],
    )
    def test_first_come_first_served_within_a_term(
        self, voted: str | None, candidate: str, granted: bool
    ) -> None:
        """§5.2: each server votes for at most one candidate in a given term."""
        network = Network(3, **PLAIN)
        network.load("a", [], term=4, vote=voted)
        (answer,) = network.ask(_request(4, sender=candidate))
        assert isinstance(answer, RequestVoteResponse)
        assert answer.granted is granted

    def test_who_follows_a_leader_of_the_term_votes_for_nobody(self) -> None:
        """§5.2, Election Safety: the term has its leader already."""
        network = Network(3, **PLAIN)
        network.load("a", [], term=4)
        network.ask(_append(4, sender="c"))
        (answer,) = network.ask(_request(4))
        assert isinstance(answer, RequestVoteResponse)
        assert not answer.granted

    @pytest.mark.parametrize(
        ("terms", "last", "granted"),
        [
            ([1], EntryID(2, 1), True),
            ([1, 1], EntryID(2, 1), True),
            ([1], EntryID(1, 1), True),
            ([1], EntryID(1, 2), True),
            ([1, 1], EntryID(1, 1), False),
            ([2], EntryID(1, 2), False),
            ([2, 2], EntryID(1, 9), False),
            ([], ZERO, True),
        ],
    )
    def test_only_an_up_to_date_candidate_gets_the_vote(
        self, terms: list[int], last: EntryID, granted: bool
    ) -> None:
        """§5.4.1: compare the terms of the last entries, then the lengths."""
        network = Network(3, **PLAIN)
        network.load("a", terms)
        (answer,) = network.ask(_request(3, last))
        assert isinstance(answer, RequestVoteResponse)
        assert answer.granted is granted

    def test_an_outdated_candidate_cannot_win(self) -> None:
        """§5.4.1: a candidate must contact a majority, one of which has every committed entry."""
        network = Network(3, **PLAIN)
        network.elect("a")
        network.isolate("c")
        network.propose("a", b"x")
        network.heal()
        network.crash("a")
        network.campaign("c")
        assert network["c"].role is not Role.LEADER
        network.campaign("b")
        assert network.values("b") == [b"x"]

    def test_a_vote_survives_a_crash(self) -> None:
        """Fig. 2: votedFor is updated on stable storage before responding."""
        network = Network(3, **PLAIN)
        network.load("a", [], term=1)  # the term alone is durable already
        network.ask(_request(1, sender="b"))
        network.restart("a")
        (answer,) = network.ask(_request(1, sender="c"))
        assert isinstance(answer, RequestVoteResponse)
        assert not answer.granted

    def test_a_pre_vote_never_uses_up_the_vote(self) -> None:
        """Thesis §9.6: a pre-vote changes neither term nor vote."""
        network = Network(3, check_quorum=False)
        network.ask(PreVote(sender=B, receiver=A, term=1, last=ZERO))
        assert (network["a"].term, network["a"].status().hard_state.vote) == (0, None)
