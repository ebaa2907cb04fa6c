"""Sentences about configurations, snapshots and clients: Paper 6, 7, 8; Thesis 4.1 to 4.3.

Each test quotes by section what it proves.
"""

from __future__ import annotations

import pytest

from raftdb.errors import (
    ConfChangeError,
    LocalProtocolError,
    MembershipBusy,
    NotLeader,
    ProposalDropped,
)
from raftdb.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    InstallSnapshot,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from raftdb.raft.ready import Applicable
from raftdb.raft.storage import MemoryStorage
from raftdb.raft.types import (
    ZERO,
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    ConfState,
    Entry,
    EntryID,
    MemberIDs,
    Role,
    SnapshotMetadata,
    Transition,
)
from raftdb.simulation.cores.network import Network, NetworkOptions, member

A, B, C, D, E = map(member, "abcde")
PLAIN = NetworkOptions(pre_vote=False, check_quorum=False)


def _change(text: str, transition: Transition = Transition.AUTO) -> ConfChange:
    """Read a change as ``+d`` (voter), ``~d`` (learner), ``-d`` (remove), separated by spaces."""
    kinds = {
        "+": ConfChangeKind.ADD_VOTER,
        "~": ConfChangeKind.ADD_LEARNER,
        "-": ConfChangeKind.REMOVE,
    }
    changes = tuple(ConfChangeSingle(kinds[word[0]], member(word[1:])) for word in text.split())
    return ConfChange(changes, transition)


def _role(network: Network, name: str) -> Role:
    return network[name].role


def _voters(network: Network, name: str) -> MemberIDs:
    return network[name].conf_state.voters


def _snapshot(term: int, index: int, *voters: str) -> SnapshotMetadata:
    conf_state = ConfState(voters=tuple(sorted(map(member, voters or ("a", "b", "c")))))
    return SnapshotMetadata(EntryID(term, index), conf_state)


def _install(snapshot: SnapshotMetadata, term: int = 5) -> InstallSnapshot:
    return InstallSnapshot(sender=B, receiver=A, term=term, snapshot=snapshot)


class TestSingleChanges:
    """Thesis §4.1: one server at a time."""

    def test_a_voter_is_added(self) -> None:
        """§4.1: the leader appends the entry and replicates it; then the new server counts."""
        network = Network(3, strangers="d")
        network.elect("a")
        network.change("a", _change("+d"))
        network.run(4)
        assert all(network[name].conf_state.voters == (A, B, C, D) for name in "abcd")
        assert network["d"].applied == network["a"].applied

    def test_a_change_is_in_force_when_applied(self) -> None:
        """Not when appended, as in the paper: an uncommitted change changes no majority."""
        network = Network(3, strangers="d")
        network.elect("a")
        for name in "bc":
            network.isolate(name)
        network.change("a", _change("+d"))
        assert _voters(network, "a") == (A, B, C)
        network.heal()
        network.run(4)
        assert _voters(network, "a") == (A, B, C, D)

    def test_one_change_at_a_time(self) -> None:
        """§4.1: a leader must not begin a change before the one before is committed."""
        network = Network(3, strangers="de")
        network.elect("a")
        network["a"].propose_conf_change(_change("+d"))
        with pytest.raises(MembershipBusy):
            network["a"].propose_conf_change(_change("+e"))
        network.deliver()
        network["a"].propose_conf_change(_change("+e"))

    def test_own_term_commit_first(self) -> None:
        """Ongaro 2015: no change before an entry of the leader's own term is committed.

        1. {A,B,C,D}; A leads term 1 and appends "add E" to itself and E alone. 2. B is elected for
        term 2 by C and D, appends "remove A", commits it by B and C under {B,C,D}. 3. A is elected for
        term 3 by D and E, in {A,B,C,D,E}, and overwrites what B committed. Had B first committed an
        entry of term 2 by three of {A,B,C,D}, A could not have been elected.
        """
        network = Network(3, strangers="d")
        network.settle()
        network.losing = lambda m: isinstance(m, AppendEntries)
        network.campaign("a")
        assert _role(network, "a") is Role.LEADER
        with pytest.raises(MembershipBusy):
            network["a"].propose_conf_change(_change("+d"))
        network.heal()
        network.run(4)
        network["a"].propose_conf_change(_change("+d"))

    def test_also_where_everything_before_was_committed(self) -> None:
        """The guard is the own term's entry, not the old log's end."""
        network = Network(3)
        network.elect("a")
        network.propose("a", b"x")
        network.run(3)
        network.losing = lambda m: isinstance(m, AppendEntries)
        network.elect("b")
        assert network["b"].commit == 2
        with pytest.raises(MembershipBusy):
            network["b"].propose_conf_change(_change("-c"))

    def test_a_change_that_makes_no_sense_gets_no_entry(self) -> None:
        """It is refused before it has an index."""
        network = Network(1)
        network.run(1)
        last = network["a"].status().last
        with pytest.raises(ConfChangeError, match="no voter"):
            network["a"].propose_conf_change(_change("-a"))
        with pytest.raises(ConfChangeError):
            network["a"].propose_conf_change(ConfChange())
        assert network["a"].status().last == last

    def test_a_follower_names_the_leader(self) -> None:
        """Only the leader changes configurations."""
        network = Network(3)
        network.elect("a")
        with pytest.raises(NotLeader):
            network["b"].propose_conf_change(_change("-c"))

    def test_a_removed_follower_gets_nothing_more(self) -> None:
        """§4.2.2: a server that is not in the latest configuration is not replicated to."""
        network = Network(3)
        network.elect("a")
        network.change("a", _change("-c"))
        before = len(network.log)
        network.propose("a", b"x")
        network.run(4)
        assert not [m for m in network.log[before:] if m.receiver == C]
        assert network["a"].commit == network["b"].commit

    def test_a_smaller_majority_commits_at_once_what_waited(self) -> None:
        """A new configuration may have what the old one still waited for."""
        network = Network(2)
        network.elect("a")
        network["a"].propose_conf_change(_change("-b"))
        # b stores the change and nothing behind it
        network.pump(network.peer("a"))
        network["a"].propose(b"x")
        network.losing = lambda m: (
            isinstance(m, AppendEntries) and any(entry.data == b"x" for entry in m.entries)
        )
        network.deliver()
        assert network.values("a") == [b"x"]

    def test_changes_are_applied_in_order_and_once(self) -> None:
        """apply_conf_change answers exactly the entries that were handed out."""
        network = Network(3)
        network.elect("a")
        with pytest.raises(LocalProtocolError):
            network["a"].apply_conf_change(_change("-c"))
        network.peer("a").applies = False
        network["a"].propose_conf_change(_change("-c"))
        network.deliver()
        network.pump(network.peer("a"))
        node = network["a"]
        while not node.take_applicable().entries:
            network.pump(network.peer("a"))
        with pytest.raises(LocalProtocolError):
            node.apply_conf_change(_change("-b"))
        with pytest.raises(LocalProtocolError):
            node.take_applicable()
        with pytest.raises(MembershipBusy):
            node.propose_conf_change(_change("-b"))
        assert node.apply_conf_change(_change("-c")).voters == (A, B)


class TestRemovedLeaders:
    """Thesis §4.2.2: a leader that is not in the new configuration."""

    @pytest.mark.parametrize("size", [2, 3, 4])
    def test_it_steps_down_and_the_others_go_on(self, size: int) -> None:
        """§4.2.2: it steps down once the change is committed; somebody takes over at once."""
        network = Network(size)
        network.elect("a")
        network.change("a", _change("-a"))
        assert _role(network, "a") is Role.FOLLOWER
        assert len(network.leaders) == 1
        assert any(isinstance(m, TimeoutNow) for m in network.log)
        network.propose(network.leaders[0], b"x")

    def test_a_demoted_leader_too(self) -> None:
        """A learner does not lead."""
        network = Network(3)
        network.elect("a")
        network.change("a", _change("~a"))
        network.run(2)
        assert _role(network, "a") is Role.FOLLOWER
        assert network["a"].conf_state.learners == (A,)
        network.propose(network.leaders[0], b"x")
        network.run(2)
        assert network.values("a") == [b"x"]

    def test_it_does_not_count_itself(self) -> None:
        """§4.2.2: it replicates log entries but does not count itself in majorities."""
        network = Network(3)
        network.elect("a")
        network.losing = lambda m: isinstance(m, AppendEntriesResponse) and m.sender == C
        network.change("a", _change("-a"))
        # b has everything; of {b, c} that is no majority
        assert _role(network, "a") is Role.LEADER
        with pytest.raises(ProposalDropped):
            network["a"].propose(b"x")
        network.heal()
        network.run(4)
        assert _role(network, "a") is Role.FOLLOWER

    @pytest.mark.parametrize("size", [3, 4])
    def test_it_leads_on_until_it_has_applied_its_removal(self, size: int) -> None:
        """[R2] Before, the old configuration is in force here: the commit of the change is not enough."""
        network = Network(size)
        network.elect("a")
        network.peer("a").applies = False
        index = network.change("a", _change("-a")).index
        network.run(4)
        assert network["a"].commit == index
        assert network.leaders == ["a"]
        network.peer("a").applies = True
        network.run(2)
        assert network["a"].commit > index
        assert _role(network, "a") is Role.FOLLOWER

    def test_it_goes_on_until_the_others_can_go_on_alone(self) -> None:
        """[R2] Otherwise the one that stays never hears that it may decide alone.

        1. {A,B}: the leader A is removed, applied, and gone at once. 2. The commit index never reached
        B. 3. B needs A's vote for ever.
        """
        network = Network(2)
        network.elect("a")
        network["a"].propose_conf_change(_change("-a"))
        network.losing = lambda m: isinstance(m, AppendEntries) and not m.entries
        network.deliver()
        network.heal()
        network.run(3)
        network.crash("a")
        network.run(1)
        assert network.leaders == ["b"]

    def test_without_a_quorum_it_steps_down_like_any_leader(self) -> None:
        """Thesis §6.2 holds for its last moments, too, and it counts for no quorum."""
        network = Network(2)
        network.elect("a")
        network.losing = lambda m: (
            isinstance(m, AppendEntries)
            and any(
                not entry.data and entry.change is None and entry.index > 2 for entry in m.entries
            )
        )
        network.change("a", _change("-a"))
        assert _role(network, "a") is Role.LEADER
        network.isolate("b")
        network.tick("a", count=20)
        assert _role(network, "a") is Role.FOLLOWER

    def test_who_stays_learns_the_commit_from_a_refusal(self) -> None:
        """[R2] An election's messages carry commits; else A refuses B for ever and cannot lead."""
        network = Network(2)
        network.elect("a")
        network.losing = lambda m: (
            isinstance(m, AppendEntries)
            and any(
                not entry.data and entry.change is None and entry.index > 2 for entry in m.entries
            )
        )
        network["a"].propose_conf_change(_change("-a"))
        network.pump(network.peer("a"))
        network.deliver()
        network.restart("b")  # b forgets the commit index if it had it unsaved
        network.isolate("b")
        network.tick("a", count=20)
        network.heal()
        assert network["a"].status().last.index > network["b"].status().last.index
        network.settle()
        network.run(40)
        assert network.leaders == ["b"]


class TestUnsavedCommits:
    """[R2] A change acts only when that it is committed is durable."""

    def test_a_change_survives_the_end_of_everybody_it_removed(self) -> None:
        """The history beside State.waits_for_commit_save."""
        network = Network(2)
        network.elect("b")
        network.change("b", _change("-a"))
        assert _voters(network, "b") == (B,)
        network.crash("a")
        network.restart("b")
        network.run(3)
        assert network.leaders == ["b"]

    def test_it_waits_for_the_save_and_no_longer(self) -> None:
        """While the commit is being saved, the change and what follows it wait."""
        network = Network(2)
        network.elect("b")
        peer = network.peer("b")
        network["b"].propose_conf_change(_change("-a"))
        network.pump(peer)
        peer.saves_hang = True
        network.deliver()
        assert network["b"].commit == 2
        assert _voters(network, "b") == (A, B)
        assert peer.saving is not None
        assert peer.saving.hard_state is not None
        assert peer.saving.hard_state.commit == 2
        assert not peer.saving.entries
        peer.saves_hang = False
        network.deliver()
        assert _voters(network, "b") == (B,)

    def test_a_restart_campaigns_under_what_its_log_knew(self) -> None:
        """[R2] A batch with entries carries the commit index.

        1. {A,B,C}: adding D is committed. 2. Adding E is appended at B, with the commit index of the
        first. 3. B restarts. Had it forgotten that commit, {A,B,C} were its configuration, and C's
        vote enough, while A, D and E elect somebody else.
        """
        network = Network(3, strangers="de")
        network.elect("a")
        network.change("a", _change("+d"))
        network.run(3)
        network.losing = lambda m: m.receiver not in {A, B}
        network.change("a", _change("+e"))
        node = network.restart("b")
        network.deliver()
        assert node.conf_state.voters == (A, B, C, D)


class TestUnappliedChanges:
    """[R2] Nobody campaigns while a committed change is unapplied."""

    @staticmethod
    def _behind() -> Network:
        network = Network(3)
        network.elect("a")
        network.peer("b").applies = False
        network.change("a", _change("-c"))
        assert network["b"].commit > network["b"].applied
        network.settle()
        return network

    def test_not_by_itself(self) -> None:
        """The history beside candidate.obstacle."""
        network = self._behind()
        network["b"].forget_leader()
        network.campaign("b")
        assert _role(network, "b") is Role.FOLLOWER

    def test_not_on_timeout_now(self) -> None:
        """A transfer does not make it safe."""
        network = self._behind()
        network["a"].transfer_leadership(B)
        network.deliver()
        assert any(isinstance(m, TimeoutNow) for m in network.log)
        assert _role(network, "b") is Role.FOLLOWER
        assert network.leaders == ["a"]

    def test_not_between_the_page_and_its_changes(self) -> None:
        """An entry that was handed out is not applied before the caller says so."""
        network = self._behind()
        node = network["b"]
        while not (page := node.take_applicable()).entries or page.entries[-1].change is None:
            network.pump(network.peer("b"))
        node.forget_leader()
        node.campaign()
        assert _role(network, "b") is Role.FOLLOWER
        node.apply_conf_change(page.entries[-1].change)
        node.campaign()
        assert _role(network, "b") is Role.PRE_CANDIDATE

    def test_other_entries_do_not_hinder(self) -> None:
        """Only a change can make majorities that do not meet."""
        network = Network(3)
        network.elect("a")
        network.peer("b").applies = False
        network.propose("a", b"x")
        network.crash("a")
        network["b"].forget_leader()
        network["c"].forget_leader()
        network.campaign("b")
        assert _role(network, "b") is Role.LEADER

    def test_a_commit_heard_of_ends_a_campaign(self) -> None:
        """It must not win by a configuration that it knows to be past."""
        network = Network(3)
        network.elect("a")
        network.losing = lambda m: m.receiver == B and isinstance(m, AppendEntries) and m.commit > 1
        network["a"].propose_conf_change(_change("-c"))
        network.pump(network.peer("a"))
        network.deliver()
        assert (network["b"].status().last.index, network["b"].commit) == (2, 1)
        network.settle()
        network["b"].campaign()
        assert _role(network, "b") is Role.PRE_CANDIDATE
        network.peer("b").applies = False
        refusal = RequestVote(
            sender=C, receiver=B, term=1, last=EntryID(1, 1), commit=EntryID(1, 2)
        )
        network.ask(refusal)
        assert (_role(network, "b"), network["b"].commit) == (Role.FOLLOWER, 2)


class TestJointConsensus:
    """Paper §6, Thesis §4.3: arbitrary changes through C(old,new)."""

    def test_two_voters_at_once_go_through_joint_and_leave_it(self) -> None:
        """§4.3: from C(old) to C(old,new) to C(new), the second step by itself."""
        network = Network(3, strangers="de")
        network.elect("a")
        network.change("a", _change("+d +e -b"))
        network.run(6)
        state = network["a"].conf_state
        assert (state.voters, state.is_joint) == ((A, C, D, E), False)
        changes = [entry for entry in network.peer("a").machine if entry.change is not None]
        assert [entry.change.leaves_joint for entry in changes if entry.change] == [False, True]

    def test_both_majorities_are_needed_to_commit(self) -> None:
        """§4.3: agreement requires separate majorities of the old and the new configuration."""
        network = Network(3, strangers="de")
        network.elect("a")
        network.change("a", _change("+d +e -b -c", Transition.JOINT_EXPLICIT))
        network.run(4)
        assert network["a"].conf_state.is_joint
        for cut, committed in (("bc", False), ("de", False), ("bd", True)):
            network.heal()
            network.run(3)
            for name in cut:
                network.isolate(name)
            entry_id = network.propose("a", b"x")
            assert (network["a"].commit >= entry_id.index) is committed

    def test_both_majorities_are_needed_to_win(self) -> None:
        """§4.3: elections, too."""
        network = Network(3, strangers="de", **PLAIN)
        network.elect("a")
        network.change("a", _change("+d +e -b -c", Transition.JOINT_EXPLICIT))
        network.run(6)
        network["a"].transfer_leadership(B)
        network.losing = lambda m: isinstance(m, RequestVoteResponse) and m.sender in {D, E}
        network.deliver()
        assert _role(network, "b") is not Role.LEADER
        network.heal()
        network.run(60)
        assert len(network.leaders) == 1

    def test_leaving_explicitly(self) -> None:
        """JOINT_EXPLICIT stays joint until it is told to leave, and takes no other change."""
        network = Network(3, strangers="de")
        network.elect("a")
        network.change("a", _change("+d +e", Transition.JOINT_EXPLICIT))
        network.run(9)
        assert network["a"].conf_state.is_joint
        with pytest.raises(MembershipBusy):
            network["a"].propose_conf_change(_change("-d"))
        network.change("a", ConfChange())
        assert _voters(network, "a") == (A, B, C, D, E)

    def test_a_leader_elected_in_the_middle_leaves_it(self) -> None:
        """The old leader's crash does not leave the cluster joint."""
        network = Network(3, strangers="de")
        network.elect("a")
        network.losing = lambda m: (
            isinstance(m, AppendEntries)
            and any(entry.change is not None and entry.change.leaves_joint for entry in m.entries)
        )
        network.change("a", _change("+d +e"))
        network.run(3)
        network.crash("a")
        network.heal()
        assert network["b"].conf_state.is_joint
        network.elect("b")
        network.run(4)
        assert not network["b"].conf_state.is_joint

    def test_a_transfer_only_delays_leaving(self) -> None:
        """A leader that keeps leadership after all leaves the joint configuration then."""
        network = Network(3, strangers="de")
        network.elect("a")
        network.losing = lambda m: isinstance(m, TimeoutNow)
        network["a"].propose_conf_change(_change("+d +e"))
        network["a"].transfer_leadership(B)
        network.deliver()
        network.run(3)
        assert network["a"].conf_state.is_joint
        network.run(12)
        assert not network["a"].conf_state.is_joint

    def test_a_transferee_that_is_removed_gets_nothing(self) -> None:
        """Leadership is not handed to who does not vote any more."""
        network = Network(3)
        network.elect("a")
        network.losing = lambda m: isinstance(m, TimeoutNow)
        network["a"].propose_conf_change(_change("-c"))
        network["a"].transfer_leadership(C)
        network.deliver()
        assert network["a"].status().transferee is None
        network.propose("a", b"x")

    def test_a_removed_voter_becomes_a_learner_with_the_leave(self) -> None:
        """A voter of the outgoing half is demoted when that half is left."""
        network = Network(3, strangers="d")
        network.elect("a")
        network.change("a", _change("+d ~b"))
        network.run(5)
        assert network["a"].conf_state == ConfState(voters=(A, C, D), learners=(B,))


class TestLearners:
    """Thesis §4.2.1: servers that catch up before they count."""

    def test_a_learner_receives_and_does_not_count(self) -> None:
        """§4.2.1: non-voting servers get log entries but are not counted."""
        network = Network(3, learners="l")
        network.elect("a")
        for name in "bc":
            network.isolate(name)
        entry_id = network.propose("a", b"x")
        assert network["l"].status().last == entry_id
        assert network["a"].commit < entry_id.index

    def test_a_learner_does_not_campaign(self) -> None:
        """It is no voter."""
        network = Network(2, learners="l")
        network.run(0)
        network.tick("l", count=100)
        network.campaign("l")
        assert (_role(network, "l"), network["l"].term) == (Role.FOLLOWER, 0)

    def test_a_learner_knows_when_it_has_no_leader(self) -> None:
        """It holds no lease for a leader that is gone, and names none."""
        network = Network(1, learners="l")
        network.run(3)
        assert network["l"].leader == A
        network.crash("a")
        network.run(16)
        assert network["l"].leader is None

    def test_a_learner_answers_a_vote_request(self) -> None:
        """It may be a voter without knowing it, and an election may need it.

        1. {A}, learner B is promoted: committed by A alone, B does not know. 2. A's majority is now
        both. 3. A restarts: without B's vote nobody leads ever again.
        """
        network = Network(1, learners="l")
        request = RequestVote(sender=A, receiver=member("l"), term=1, last=ZERO)
        network.settle()
        (answer,) = network.ask(request)
        assert isinstance(answer, RequestVoteResponse)
        assert answer.granted

    def test_a_promoted_learner_that_does_not_know_keeps_the_cluster_alive(self) -> None:
        """The same history from end to end."""
        network = Network(1, learners="l")
        network.run(3)
        network.losing = lambda m: isinstance(m, AppendEntries) and not m.entries
        network.isolate("l")
        network.change("a", _change("+l"))
        assert _voters(network, "a") == (A, member("l"))
        assert network["l"].conf_state.learners == (member("l"),)
        network.restart("a")
        network.heal()
        network.run(40)
        assert network.leaders == ["a"]


class TestSnapshots:
    """Paper §7 and Fig. 13."""

    def test_a_follower_too_far_behind_gets_one(self) -> None:
        """§7: when the leader has already discarded the next log entry that it needs to send."""
        network = Network(3)
        network.elect("a")
        network.isolate("c")
        for number in range(5):
            network.propose("a", b"%d" % number)
        snapshot = network.snapshot("a")
        network.heal()
        network.run(4)
        assert network.peer("c").restored_to == snapshot
        network.propose("a", b"x")
        assert network.values("c") == [b"x"]

    def test_a_dead_follower_gets_none(self) -> None:
        """To a peer that was not heard of, a snapshot would be streamed in vain."""
        network = Network(3)
        network.elect("a")
        network.crash("c")
        network.run(20)
        network.propose("a", b"x")
        network.snapshot("a")
        network["a"].report_unreachable(C)
        network.run(20)
        assert network["a"].status().peers[C].state == "probe"
        assert not [m for m in network.log if isinstance(m, InstallSnapshot)]

    def test_one_at_a_time(self) -> None:
        """While a snapshot is under way nothing else is sent."""
        network = Network(3)
        network.elect("a")
        network.isolate("c")
        network.propose("a", b"x")
        network.snapshot("a")
        network.heal()
        held = []
        for _ in range(6):
            network.tick()
            while network.in_flight:
                message = network.in_flight.pop(0)
                if isinstance(message, InstallSnapshot):
                    held.append(message)
                else:
                    network.carry(message)
        assert len(held) == 1
        assert network["a"].status().peers[C].state == "snapshot"
        # its acknowledgement may come before the transport's report
        network.step(held[0])
        network.deliver()
        assert network["a"].status().peers[C].state == "replicate"
        network["a"].report_snapshot(C, True)
        assert network["a"].status().peers[C].state == "replicate"

    def test_a_failed_one_is_tried_again(self) -> None:
        """The transport reports it; the next heartbeat's answer starts another."""
        network = Network(3)
        network.elect("a")
        network.isolate("c")
        network.propose("a", b"x")
        network.snapshot("a")
        network.heal()
        network.losing = lambda m: isinstance(m, InstallSnapshot)
        network.run(4)
        progress = network["a"].status().peers[C]
        assert (progress.state, progress.next) == ("probe", progress.match + 1)
        network.heal()
        network.run(4)
        assert network["c"].applied == network["a"].applied

    def test_it_replaces_a_conflicting_log(self) -> None:
        """Fig. 13, step 7: discard the entire log."""
        network = Network(3)
        network.load("a", [1, 1, 1])
        snapshot = _snapshot(3, 2)
        (answer,) = network.ask(_install(snapshot))
        assert isinstance(answer, AppendEntriesResponse)
        assert answer.index == 2
        status = network["a"].status()
        assert (status.first_index, status.last, status.applied) == (3, EntryID(3, 2), 2)
        assert network.peer("a").restored_to == snapshot

    def test_what_the_log_has_is_not_installed(self) -> None:
        """Fig. 13, step 6: same index and term: retain the log entries following it."""
        network = Network(3)
        network.load("a", [1, 1, 1])
        (answer,) = network.ask(_install(_snapshot(1, 2)))
        assert isinstance(answer, AppendEntriesResponse)
        assert answer.index == 2
        assert network.terms("a") == [1, 1, 1]
        assert network["a"].commit == 2
        assert network.peer("a").restored_to == SnapshotMetadata()

    def test_an_old_one_changes_nothing(self) -> None:
        """What is committed is not taken back."""
        network = Network(3)
        network.load("a", [1, 1, 1], commit=3)
        (answer,) = network.ask(_install(_snapshot(1, 2)))
        assert isinstance(answer, AppendEntriesResponse)
        assert answer.index == 3
        assert network["a"].applied == 3

    def test_one_from_before_the_own_log_changes_nothing(self) -> None:
        """It cannot even be compared any more."""
        network = Network(3)
        network.elect("a")
        network.propose("a", b"x")
        network.propose("a", b"y")
        network.snapshot("b")
        old = InstallSnapshot(sender=A, receiver=B, term=1, snapshot=_snapshot(1, 1))
        (answer,) = network.ask(old)
        assert isinstance(answer, AppendEntriesResponse)
        assert answer.index == 3

    def test_it_brings_its_configuration(self) -> None:
        """§7: the snapshot includes the latest configuration as of the last included index."""
        network = Network(3)
        network.ask(_install(_snapshot(1, 9, "a", "b")))
        assert _voters(network, "a") == (A, B)

    def test_one_that_does_not_name_the_receiver_is_taken(self) -> None:
        """The newest snapshot may be older than the entry that adds the receiver."""
        network = Network(3, strangers="d")
        network.elect("a")
        network.propose("a", b"x")
        network.snapshot("a")
        network.change("a", _change("~d"))
        network.run(6)
        assert network.peer("d").restored_to.last == EntryID(1, 2)
        assert network["d"].conf_state.learners == (D,)

    def test_a_node_that_was_never_told_of_any_begins_with_one(self) -> None:
        """An empty configuration, until the first snapshot."""
        network = Network(3)
        network.elect("a")
        network.propose("a", b"x")
        network.snapshot("a")
        network.start("d", MemoryStorage())
        network.change("a", _change("~d"))
        network.run(6)
        assert network["d"].applied == network["a"].applied

    def test_acknowledged_when_durable(self) -> None:
        """Fig. 13: the answer promises it, as an append's does."""
        network = Network(3)
        network.peer("a").saves_hang = True
        assert network.ask(_install(_snapshot(1, 9))) == []
        assert network["a"].applied == 0
        network.peer("a").saves_hang = False
        network.pump(network.peer("a"))
        assert network["a"].applied == 9

    def test_no_entries_while_one_is_pending(self) -> None:
        """[R7d] Entries behind it are not handed out before the state machine stands at it."""
        network = Network(3)
        network.peer("a").applies = False
        network.safety.commit_max = 10  # b, whom nobody runs here, has counted that
        network.ask(_install(_snapshot(1, 9)))
        append = AppendEntries(
            sender=B,
            receiver=A,
            term=5,
            previous=EntryID(1, 9),
            entries=(Entry(5, 10),),
            commit=10,
        )
        network.ask(append)
        node = network["a"]
        page = node.take_applicable()
        assert page.snapshot == _snapshot(1, 9)
        assert page.entries == ()
        assert not node.has_applicable()
        assert node.take_applicable() == Applicable()
        node.restored(_snapshot(1, 9))
        assert [entry.index for entry in node.take_applicable().entries] == [10]

    def test_a_node_does_not_campaign_while_one_is_pending(self) -> None:
        """Its state and its configuration are of two times."""
        network = Network(3)
        network.peer("a").applies = False
        network.ask(_install(_snapshot(1, 9)))
        network.settle()
        network.campaign("a")
        roles = [_role(network, "a")]
        network.peer("a").applies = True
        network["a"].campaign()
        roles.append(_role(network, "a"))
        network.deliver()
        network["a"].campaign()
        roles.append(_role(network, "a"))
        assert roles == [Role.FOLLOWER, Role.FOLLOWER, Role.PRE_CANDIDATE]

    def test_nor_while_one_is_not_durable(self) -> None:
        """Its log is neither the one on the disk nor the snapshot's."""
        network = Network(3)
        network.settle()
        network.peer("a").saves_hang = True
        network.ask(_install(_snapshot(1, 9)))
        network["a"].campaign()
        assert _role(network, "a") is Role.FOLLOWER
        network.peer("a").saves_hang = False
        network.deliver()
        network["a"].campaign()
        assert _role(network, "a") is Role.PRE_CANDIDATE

    def test_a_second_one_overtakes_the_first(self) -> None:
        """While the first is being loaded a newer one arrives: one after the other."""
        network = Network(3)
        network.peer("a").applies = False
        first, second = _snapshot(1, 9), _snapshot(1, 19)
        network.safety.commit_max = 19  # by whom nobody runs here
        network.ask(_install(first))
        node = network["a"]
        assert node.take_applicable().snapshot == first
        network.ask(_install(second))
        assert not node.has_applicable()
        node.restored(first)
        assert node.applied == 9
        assert node.take_applicable().snapshot == second
        node.restored(second)
        assert node.applied == 19

    def test_only_the_one_handed_out_can_be_restored(self) -> None:
        """A caller that mixes them up hears of it."""
        with pytest.raises(LocalProtocolError):
            Network(3)["a"].restored(_snapshot(1, 9))

    def test_a_restart_hands_the_newest_one_out_first(self) -> None:
        """The state machine of a new process is empty."""
        network = Network(3)
        network.elect("a")
        network.propose("a", b"x")
        snapshot = network.snapshot("a")
        network.restart("a")
        assert not network["a"].state.log.has_next_committed()
        network.deliver()
        assert network.peer("a").restored_to == snapshot
