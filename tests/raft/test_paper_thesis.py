"""The thesis's sentences: transfer 3.10, leases 4.2.3 and 6.2, reads 6.4, pre-vote 9.6, disks 10.2.1.

Each test quotes by section what it proves.
"""

from __future__ import annotations

import pytest

from raftdb.errors import InvalidRequest, NoLeader, NotLeader, Overloaded, ProposalDropped
from raftdb.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
    HeartbeatResponse,
    PreVote,
    PreVoteResponse,
    ReadIndex,
    ReadIndexResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from raftdb.raft.types import (
    ZERO,
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    EntryID,
    ReadID,
    Role,
)
from raftdb.simulation.cores.network import Network, member

A, B, C = member("a"), member("b"), member("c")


def _role(network: Network, name: str) -> Role:
    return network[name].role


def _pre_vote(term: int, sender: str = "b", last: EntryID = ZERO) -> PreVote:
    return PreVote(sender=member(sender), receiver=A, term=term, last=last)


def _add(name: str) -> ConfChange:
    return ConfChange((ConfChangeSingle(ConfChangeKind.ADD_VOTER, member(name)),))


class TestTransfer:
    """Thesis §3.10: leadership transfer extension."""

    def test_it_goes_to_the_chosen_one_at_once(self) -> None:
        """§3.10: the target starts an election as though its timeout had elapsed."""
        network = Network(3)
        network.elect("a")
        network["a"].transfer_leadership(B)
        network.deliver()
        assert network.leaders == ["b"]
        assert not [m for m in network.log if isinstance(m, PreVote) and m.sender == B]

    def test_leases_do_not_stand_in_its_way(self) -> None:
        """§4.2.3: a special flag in the vote request says that the leader allows it."""
        network = Network(3)
        network.elect("a")
        network.run(1)
        network["a"].transfer_leadership(B)
        network.deliver()
        requests = [m for m in network.log if isinstance(m, RequestVote) and m.sender == B]
        assert [m.transfer for m in requests] == [True, True]
        assert network.leaders == ["b"]

    def test_nor_does_a_quarantine(self) -> None:
        """A voter that has just started refuses campaigns, but not one its leader asked for."""
        network = Network(3)
        network.elect("a")
        network.restart("c")
        network.run(2)
        network["a"].transfer_leadership(B)
        network.cut("a", "b")  # so that c's vote decides
        network.cut("b", "a")
        network.heal()
        network.deliver()
        assert network.leaders == ["b"]

    def test_the_target_is_brought_up_to_date_first(self) -> None:
        """§3.10: the leader fully updates the target's log, then sends TimeoutNow."""
        network = Network(3)
        network.elect("a")
        network.isolate("b")
        network.propose("a", b"x")
        network["a"].transfer_leadership(B)
        network.deliver()
        assert not [m for m in network.log if isinstance(m, TimeoutNow)]
        network.heal()
        network.run(4)
        assert network.leaders == ["b"]
        assert network.values("b") == [b"x"]

    def test_no_proposals_meanwhile(self) -> None:
        """§3.10: the prior leader stops accepting new client requests."""
        network = Network(3)
        network.elect("a")
        network.losing = lambda m: isinstance(m, TimeoutNow)
        network["a"].transfer_leadership(B)
        with pytest.raises(ProposalDropped):
            network["a"].propose(b"x")

    def test_it_is_given_up_after_an_election_timeout(self) -> None:
        """§3.10: if it does not complete, the prior leader aborts and resumes client requests."""
        network = Network(3)
        network.elect("a")
        network.losing = lambda m: isinstance(m, TimeoutNow)
        network["a"].transfer_leadership(B)
        network.run(7)
        assert network["a"].status().transferee == B
        network.run(1)
        assert network["a"].status().transferee is None
        network.propose("a", b"x")

    def test_asking_again_does_not_prolong_it(self) -> None:
        """Otherwise an impatient operator keeps the cluster from taking proposals."""
        network = Network(3)
        network.elect("a")
        network.losing = lambda m: isinstance(m, TimeoutNow)
        network["a"].transfer_leadership(B)
        network.run(4)
        network["a"].transfer_leadership(B)
        network.run(4)
        assert network["a"].status().transferee is None

    def test_another_target_replaces_the_first_and_itself_none(self) -> None:
        """The last wish counts; the leader itself is no target."""
        network = Network(3)
        network.elect("a")
        network.losing = lambda m: isinstance(m, TimeoutNow)
        node = network["a"]
        node.transfer_leadership(B)
        node.transfer_leadership(B)
        assert node.status().transferee == B
        node.transfer_leadership(C)
        assert node.status().transferee == C
        node.transfer_leadership(A)
        assert node.status().transferee is None
        node.transfer_leadership(A)
        network.propose("a", b"x")

    def test_only_to_voters_and_only_by_the_leader(self) -> None:
        """A learner or a stranger cannot lead."""
        network = Network(3, learners="l")
        with pytest.raises(NoLeader):
            network["a"].transfer_leadership(B)
        network.elect("a")
        with pytest.raises(NotLeader):
            network["b"].transfer_leadership(C)
        for name in "lz":
            with pytest.raises(InvalidRequest):
                network["a"].transfer_leadership(member(name))

    def test_only_the_own_leader_can_order_a_campaign(self) -> None:
        """A TimeoutNow of somebody else, or late, deposes nobody."""
        network = Network(3)
        network.elect("a")
        network.ask(TimeoutNow(sender=C, receiver=B, term=1))
        assert (network["b"].term, network.leaders) == (1, ["a"])
        network.isolate("b")
        network.campaign("b")
        network.ask(TimeoutNow(sender=A, receiver=B, term=1))
        assert (_role(network, "b"), network["b"].term) == (Role.PRE_CANDIDATE, 1)


class TestCheckQuorum:
    """Thesis §6.2: a leader without a quorum steps down."""

    def test_within_two_election_timeouts(self) -> None:
        """§6.2: if an election timeout elapses without a round to a majority it steps down."""
        network = Network(3)
        network.elect("a")
        network.isolate("a")
        network.tick("a", count=16)
        assert _role(network, "a") is Role.FOLLOWER
        assert network["a"].leader is None

    def test_a_late_winner_has_a_whole_election_timeout(self) -> None:
        """The time it waited for votes does not count: nobody could have answered it yet."""
        network = Network(3)
        network.settle()
        network.losing = lambda m: isinstance(m, RequestVoteResponse)
        network.campaign("a")
        assert network["a"].role is Role.CANDIDATE
        network.heal()
        network.tick("a", count=7)
        network.ask(RequestVoteResponse(sender=B, receiver=A, term=1, granted=True))
        roles = [network["a"].role]
        network.tick("a", count=7)
        roles.append(network["a"].role)
        assert roles == [Role.LEADER, Role.LEADER]

    def test_not_while_it_has_one(self) -> None:
        """A dead minority deposes nobody."""
        network = Network(3)
        network.elect("a")
        network.crash("c")
        network.run(100)
        assert network.leaders == ["a"]

    def test_by_elapsed_time(self) -> None:
        """[R13] A paused leader counts all of the pause, in one call."""
        network = Network(3)
        network.elect("a")
        network.isolate("a")
        network.tick("a", elapsed=8)
        network.tick("a", elapsed=8)
        assert _role(network, "a") is Role.FOLLOWER

    def test_a_follower_takes_one_tick_per_call(self) -> None:
        """[R13] After a pause the messages that waited are heard before anybody campaigns."""
        network = Network(3)
        network.tick("a", elapsed=1_000)
        assert network["a"].state.election_elapsed == 1

    def test_switched_off_it_reigns_on(self) -> None:
        """The paper's leader knows nothing of it."""
        network = Network(3, check_quorum=False)
        network.elect("a")
        network.isolate("a")
        network.tick("a", count=50)
        assert _role(network, "a") is Role.LEADER

    def test_a_new_member_counts_as_heard(self) -> None:
        """Otherwise the change itself might depose the leader."""
        network = Network(1, strangers="b")
        network.run(3)
        network["a"].state.election_elapsed = 7
        network.isolate("b")
        network.change("a", _add("b"))
        network.tick("a")
        assert _role(network, "a") is Role.LEADER
        network.tick("a", count=8)
        assert _role(network, "a") is Role.FOLLOWER


class TestStickiness:
    """Thesis §4.2.3: a server that hears a leader grants nobody a vote."""

    def test_a_returning_node_costs_no_election(self) -> None:
        """§4.2.3, §9.6: a disruptive server changes nothing while a leader has a quorum."""
        network = Network(3)
        network.elect("a")
        network.isolate("c")
        network.run(100)
        network.heal()
        network.run(100)
        assert network.leaders == ["a"]
        assert [network[name].term for name in "abc"] == [1, 1, 1]

    @pytest.mark.parametrize("pre_vote", [True, False])
    def test_a_follower_in_its_lease_ignores_campaigns(self, pre_vote: bool) -> None:
        """§4.2.3: within the minimum election timeout of hearing from a current leader."""
        network = Network(3, pre_vote=pre_vote)
        network.elect("b")
        kind = PreVote if pre_vote else RequestVote
        request = kind(sender=C, receiver=A, term=9, last=EntryID(8, 8))
        assert network.ask(request) == []
        assert network["a"].term == 1

    def test_a_leader_with_a_quorum_ignores_them(self) -> None:
        """The leader is in its own lease."""
        network = Network(3)
        network.elect("a")
        assert network.ask(_pre_vote(9, last=EntryID(8, 8))) == []
        assert network.ask(RequestVote(sender=B, receiver=A, term=9, last=EntryID(8, 8))) == []
        assert (_role(network, "a"), network["a"].term) == (Role.LEADER, 1)

    def test_the_lease_ends(self) -> None:
        """After an election timeout of silence the voter is free."""
        network = Network(3)
        network.elect("b")
        network.tick("a", count=7)
        assert network.ask(_pre_vote(2, "c", EntryID(9, 9))) == []
        network.tick("a")
        (answer,) = network.ask(_pre_vote(2, "c", EntryID(9, 9)))
        assert isinstance(answer, PreVoteResponse)
        assert answer.granted

    def test_switched_off_there_is_no_lease(self) -> None:
        """Without CheckQuorum a lease would shut out a leaderless majority."""
        network = Network(3, check_quorum=False)
        network.elect("b")
        (answer,) = network.ask(_pre_vote(2, "c", EntryID(9, 9)))
        assert isinstance(answer, PreVoteResponse)
        assert answer.granted

    @pytest.mark.parametrize("pre_vote", [True, False])
    def test_a_restart_does_not_end_a_lease(self, pre_vote: bool) -> None:
        """The history beside State.in_quarantine."""
        network = Network(3, pre_vote=pre_vote)
        network.elect("a")
        network.run(20)
        network.restart("c")
        network.cut("a", "b")
        network.cut("b", "a")
        network["b"].forget_leader()
        network.campaign("b")
        assert network.leaders == ["a"]
        assert _role(network, "b") is not Role.LEADER

    def test_a_node_shut_out_by_a_higher_term_comes_back(self) -> None:
        """The history beside step._answer_stale (etcd issue 8501): it tells the leader, which steps down, and the next one takes it in."""
        network = Network(3)
        network.elect("a")
        network.load("c", [], term=7)
        network.run(40)
        (leader,) = network.leaders
        assert network[leader].term > 7
        network.propose(leader, b"x")
        assert network.values("c") == [b"x"]


class TestPreVote:
    """Thesis §9.6: the pre-vote."""

    def test_the_term_rises_only_after_it_was_won(self) -> None:
        """§9.6: a candidate only increments its term if it first learns that it can win."""
        network = Network(3)
        network.isolate("a")
        network.run(100)
        assert network["a"].term == 0

    def test_it_asks_with_the_next_term(self) -> None:
        """The request names the term it is for, so that voters compare it like a vote."""
        network = Network(3)
        network["a"].campaign()
        network.pump(network.peer("a"))
        assert network.take_back() == [
            PreVote(sender=A, receiver=B, term=1, last=ZERO),
            PreVote(sender=A, receiver=C, term=1, last=ZERO),
        ]
        assert (_role(network, "a"), network["a"].term) == (Role.PRE_CANDIDATE, 0)

    def test_a_majority_begins_the_election(self) -> None:
        """§9.6: if it learns from a majority that they would be willing to vote for it."""
        network = Network(3)
        network["a"].campaign()
        network.ask(PreVoteResponse(sender=B, receiver=A, term=1, granted=True))
        assert (_role(network, "a"), network["a"].term) == (Role.CANDIDATE, 1)

    def test_a_majority_of_refusals_ends_it(self) -> None:
        """It waits like any follower, in its old term."""
        network = Network(3)
        network.load("a", [], term=1)
        network["a"].campaign()
        for name in "bc":
            network.ask(PreVoteResponse(sender=member(name), receiver=A, term=1, granted=False))
        assert (_role(network, "a"), network["a"].term) == (Role.FOLLOWER, 1)

    def test_an_answer_to_another_campaign_does_not_count(self) -> None:
        """A grant counts only for the term that is asked for now."""
        network = Network(3)
        network.load("a", [], term=3)
        network["a"].campaign()
        network.ask(PreVoteResponse(sender=B, receiver=A, term=9, granted=True))
        network.ask(RequestVoteResponse(sender=C, receiver=A, term=3, granted=True))
        assert (_role(network, "a"), network["a"].term) == (Role.PRE_CANDIDATE, 3)

    def test_a_refusal_of_a_higher_term_is_learned(self) -> None:
        """§5.1: the term rule holds for refusals."""
        network = Network(3)
        network["a"].campaign()
        network.ask(PreVoteResponse(sender=B, receiver=A, term=6, granted=False))
        assert (_role(network, "a"), network["a"].term) == (Role.FOLLOWER, 6)

    def test_an_old_one_is_told_the_term(self) -> None:
        """The pre-candidate of a lower term hears which one it has to be above of."""
        network = Network(3)
        network.load("a", [], term=6)
        (answer,) = network.ask(_pre_vote(3))
        assert answer == PreVoteResponse(sender=A, receiver=B, term=6, granted=False)

    def test_an_outdated_log_is_refused(self) -> None:
        """§9.6: as a voter would."""
        network = Network(3)
        network.load("a", [2, 2])
        (answer,) = network.ask(_pre_vote(3, last=EntryID(2, 1)))
        assert answer == PreVoteResponse(sender=A, receiver=B, term=2, granted=False)

    def test_two_at_once_get_theirs_from_one_voter(self) -> None:
        """A pre-vote is no vote: two may have the same one."""
        network = Network(3)
        network.settle()
        for name in "bc":
            (answer,) = network.ask(_pre_vote(1, name))
            assert isinstance(answer, PreVoteResponse)
            assert answer.granted

    def test_who_cannot_win_does_not_hinder_who_can(self) -> None:
        """§9.6 with partial connectivity: a bridge between two halves gets them a leader."""
        network = Network(5)
        network.elect("a")
        for left in "ab":
            for right in "de":
                network.cut(left, right)
                network.cut(right, left)
        network.crash("a")
        network.run(100)
        assert len(network.leaders) == 1


class TestReadIndex:
    """Thesis §6.4: linearizable reads without writing to the log."""

    def test_the_own_terms_entry_comes_first(self) -> None:
        """§6.4 step 1: wait until it has marked an entry of its current term committed."""
        network = Network(3)
        network.losing = lambda m: isinstance(m, AppendEntries)
        network.elect("a")
        read = network["a"].read_index()
        network.run(4)
        assert network.peer("a").reads == []
        network.heal()
        network.run(4)
        (state,) = network.peer("a").reads
        assert (state.id, state.index) == (read, 1)

    def test_the_index_is_fixed_before_the_round(self) -> None:
        """§6.4 step 2: the commit index is saved, then a round of heartbeats is exchanged."""
        network = Network(3)
        network.elect("a")
        network["a"].read_index()
        network.pump(network.peer("a"))
        network.in_flight, held = [], network.in_flight
        network["a"].propose(b"x")
        network.deliver()
        network.in_flight = held
        network.deliver()
        assert [state.index for state in network.peer("a").reads] == [1]

    def test_without_a_majority_there_is_no_answer(self) -> None:
        """§6.4 step 3: the leader makes sure that it was not superseded."""
        network = Network(3)
        network.elect("a")
        network.isolate("a")
        network["a"].read_index()
        network.deliver()
        network.tick("a", count=2)
        assert network.peer("a").reads == []

    def test_an_answer_to_an_earlier_round_confirms_nothing(self) -> None:
        """Each round has its own number: an old answer says nothing about now."""
        network = Network(5)
        network.elect("a")
        network.run(2)
        old = network["a"].round
        network["a"].read_index()
        network.pump(network.peer("a"))
        network.take_back()
        for name in "bcde":
            network.ask(HeartbeatResponse(sender=member(name), receiver=A, term=1, round=old))
        assert network.peer("a").reads == []
        for name in "bc":
            network.ask(HeartbeatResponse(sender=member(name), receiver=A, term=1, round=old + 1))
        assert len(network.peer("a").reads) == 1

    def test_a_later_round_confirms_an_earlier_read(self) -> None:
        """Who follows now has followed all the time."""
        network = Network(3)
        network.elect("a")
        network.isolate("a")
        network["a"].read_index()
        network.deliver()
        network.heal()
        network.run(2)
        assert len(network.peer("a").reads) == 1

    def test_one_round_for_all_reads_of_a_turn(self) -> None:
        """§6.4: the leader can accumulate any number of read-only queries."""
        network = Network(3)
        network.elect("a")
        before = network["a"].round
        for _ in range(100):
            network["a"].read_index()
        network.deliver()
        assert network["a"].round == before + 1
        assert len(network.peer("a").reads) == 100

    def test_a_round_is_a_heartbeat_to_everybody(self) -> None:
        """The answer to either is the same, so both keep the leases."""
        network = Network(3, learners="l")
        network.elect("a")
        before = len(network.log)
        network["a"].read_index()
        network.pump(network.peer("a"))
        beats = [m for m in network.log[before:] if isinstance(m, Heartbeat)]
        assert [m.receiver.id for m in beats] == ["b", "c", "l"]

    def test_alone_it_is_confirmed_at_once(self) -> None:
        """A majority of one needs nobody."""
        network = Network(1)
        network.run(1)
        network["a"].read_index()
        network.deliver()
        assert len(network.peer("a").reads) == 1

    def test_a_learners_answer_confirms_nothing(self) -> None:
        """It counts for no majority."""
        network = Network(3, learners="l")
        network.elect("a")
        network.isolate("b")
        network.isolate("c")
        network["a"].read_index()
        network.deliver()
        assert network.peer("a").reads == []

    def test_a_follower_asks_the_leader_and_answers_itself(self) -> None:
        """§6.4, end: followers can help offload the processing of read-only queries."""
        network = Network(3, learners="l")
        network.elect("a")
        network.propose("a", b"x")
        for name in "bl":
            read = network[name].read_index()
            network.deliver()
            (state,) = network.peer(name).reads
            assert (state.id, state.index) == (read, 2)

    def test_without_a_leader_there_is_nobody_to_ask(self) -> None:
        """It may try again."""
        network = Network(3)
        with pytest.raises(NoLeader):
            network["a"].read_index()

    def test_a_restart_repeats_no_name(self) -> None:
        """[R12] An answer to the process before must not answer the process after."""
        network = Network(3)
        network.elect("a")
        old = network["b"].read_index()
        network.restart("b")
        network.run(2)
        new = network["b"].read_index()
        assert (old.requester, old.counter) == (new.requester, new.counter)
        assert old != new
        network.deliver()
        network.ask(ReadIndexResponse(sender=A, receiver=B, term=1, read=old, index=1))
        assert [state.id for state in network.peer("b").reads] == [new]

    def test_an_answer_to_somebody_else_is_not_taken(self) -> None:
        """[R12] The name says whose it is."""
        network = Network(3)
        network.elect("a")
        foreign = ReadID(C, network["b"].state.config.boot, 1)
        network.ask(ReadIndexResponse(sender=A, receiver=B, term=1, read=foreign, index=1))
        assert network.peer("b").reads == []

    def test_a_refusal_is_no_index(self) -> None:
        """Index 0 means: ask again."""
        network = Network(3)
        network.elect("a")
        read = network["b"].read_index()
        network.ask(ReadIndexResponse(sender=A, receiver=B, term=1, read=read, index=0))
        assert network.peer("b").reads == []

    def test_too_many_are_refused(self) -> None:
        """Waiting reads are bounded; a follower is told to ask again."""
        network = Network(3, reads_max=2)
        network.elect("a")
        network["a"].read_index()
        network["b"].read_index()
        network.pump(network.peer("b"))
        for message in network.take_back():
            if isinstance(message, ReadIndex):
                network["a"].step(message)
        with pytest.raises(Overloaded):
            network["a"].read_index()
        forwarded = ReadIndex(sender=B, receiver=A, term=1, read=ReadID(B, 1, 9))
        network["a"].step(forwarded)
        network.deliver()
        (refusal,) = [m for m in network.log if isinstance(m, ReadIndexResponse) and m.index == 0]
        assert refusal.read.counter == 9
        assert len(network.peer("a").reads) == 1
        for _ in range(2):
            network["a"].read_index()
        network.deliver()
        assert len(network.peer("a").reads) == 3

    def test_a_leader_that_loses_its_term_loses_its_reads(self) -> None:
        """They are asked again by whoever waits."""
        network = Network(3)
        network.elect("a")
        network.isolate("a")
        network["a"].read_index()
        network.deliver()
        network.tick("a", count=20)
        network.heal()
        network.run(40)
        assert network.peer("a").reads == []

    def test_a_strangers_question_is_not_answered(self) -> None:
        """Only members ask."""
        network = Network(3)
        network.elect("a")
        stranger = member("z")
        sent = network.ask(
            ReadIndex(sender=stranger, receiver=A, term=1, read=ReadID(stranger, 1, 1))
        )
        assert sent == []

    def test_rounds_are_told(self) -> None:
        """What `default` reads go by: the latest round begun, and the latest acknowledged."""
        network = Network(3)
        network.elect("a")
        assert network["a"].round == 0
        network.tick("a", count=2)
        assert (network["a"].round, network["a"].round_acknowledged) == (1, 0)
        network.deliver()
        assert network["a"].round_acknowledged == 1


class TestParallelDisks:
    """Thesis §10.2.1: the leader's disk works in parallel with its followers'."""

    def test_appends_leave_before_the_own_save(self) -> None:
        """§10.2.1: the leader can write to its disk in parallel with replicating."""
        network = Network(3)
        network.elect("a")
        network.peer("a").saves_hang = True
        entry_id = network.propose("a", b"x")
        assert network["b"].status().last == entry_id

    def test_followers_may_commit_without_the_leaders_disk(self) -> None:
        """§10.2.1: even before it is written to the leader's own disk."""
        network = Network(3)
        network.elect("a")
        network.peer("a").saves_hang = True
        entry_id = network.propose("a", b"x")
        assert network["a"].commit == entry_id.index
        assert network.values("b") == [b"x"]

    def test_the_leader_counts_itself_only_when_saved(self) -> None:
        """[R7b] Otherwise one follower would be a majority with a disk that has nothing.

        1. A appends x, sends it to B, which saves it. 2. A counts itself and B: committed, answered.
        3. A crashes without x, B is destroyed: A and C go on without x.
        """
        network = Network(3)
        network.elect("a")
        network.isolate("c")
        network.peer("a").saves_hang = True
        entry_id = network.propose("a", b"x")
        assert network["a"].commit < entry_id.index
        network.peer("a").saves_hang = False
        network.deliver()
        assert network["a"].commit == entry_id.index

    def test_a_follower_answers_only_when_saved(self) -> None:
        """Fig. 2: persistent state is updated on stable storage before responding to RPCs."""
        network = Network(3)
        network.elect("a")
        network.peer("b").saves_hang = True
        network.peer("c").saves_hang = True
        before = len(network.log)
        entry_id = network.propose("a", b"x")
        assert not [m for m in network.log[before:] if isinstance(m, AppendEntriesResponse)]
        assert network["a"].commit < entry_id.index
        network.peer("b").saves_hang = False
        network.deliver()
        assert network["a"].commit == entry_id.index
