"""Corners of the rules that no sentence of the paper names; each was found by deleting a rule."""

from __future__ import annotations

import pytest

from raftdb.errors import NotLeader, Overloaded
from raftdb.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    HeartbeatResponse,
    InstallSnapshot,
    PreVote,
    PreVoteResponse,
    ReadIndex,
    ReadIndexResponse,
    RequestVote,
    TimeoutNow,
)
from raftdb.raft.ready import PeerStatus
from raftdb.raft.types import (
    ZERO,
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    ConfState,
    EntryID,
    ReadID,
    Role,
    SnapshotMetadata,
    Transition,
)
from raftdb.simulation.cores.network import Network, member

A, B, C = member("a"), member("b"), member("c")


def _remove(name: str) -> ConfChange:
    return ConfChange((ConfChangeSingle(ConfChangeKind.REMOVE, member(name)),))


def _role(network: Network, name: str) -> Role:
    return network[name].role


def _leader(network: Network, name: str) -> object:
    return network[name].leader


class TestCommitFromElections:
    """Election messages carry a commit index that everybody may believe [R2]."""

    def test_a_follower_learns_it_and_goes_on_following(self) -> None:
        """Also where the news is a change that it has still to apply."""
        network = Network(3)
        network.elect("a")
        network.peer("b").applies = False
        network.cut("b", "a")
        network.change("a", _remove("c"))
        assert (network["b"].commit, network["b"].state.log.last_index) == (1, 2)
        asking = PreVote(sender=C, receiver=B, term=2, last=EntryID(1, 2), commit=EntryID(1, 2))
        network.step(asking)
        assert network["b"].commit == 2
        assert _leader(network, "b") == A

    def test_a_candidate_goes_on_after_news_of_an_ordinary_entry(self) -> None:
        """Only a change would make it win by an old configuration."""
        network = Network(3)
        network.load("a", [1, 1])
        network["a"].campaign()
        assert _role(network, "a") is Role.PRE_CANDIDATE
        refusal = PreVoteResponse(sender=B, receiver=A, term=1, granted=False, commit=EntryID(1, 2))
        network.step(refusal)
        assert network["a"].commit == 2
        assert _role(network, "a") is Role.PRE_CANDIDATE


class TestPreCandidates:
    """Who yields to whom."""

    def test_a_pre_candidate_of_a_later_term_is_answered_by_a_greater_one(self) -> None:
        """It is not its rival: their campaigns are for different terms."""
        network = Network(3)
        network.load("c", [1], term=1)
        network["c"].campaign()
        assert _role(network, "c") is Role.PRE_CANDIDATE
        network.ask(PreVote(sender=B, receiver=C, term=3, last=EntryID(1, 1)))
        assert _role(network, "c") is Role.FOLLOWER


class TestRefusals:
    """The most useful reason comes first."""

    def test_a_follower_names_the_leader_even_for_nonsense(self) -> None:
        """Its own configuration may be out of date: only the leader can judge the change."""
        network = Network(3)
        network.elect("a")
        everybody = ConfChange(
            tuple(ConfChangeSingle(ConfChangeKind.REMOVE, who) for who in (A, B, C))
        )
        with pytest.raises(NotLeader):
            network["b"].propose_conf_change(everybody)


class TestSmallerQuorums:
    """What waited for the old majority may be decided by the new one at once."""

    def test_a_read_is_confirmed_by_the_removal_of_who_was_silent(self) -> None:
        """No further heartbeat is needed."""
        network = Network(2)
        network.elect("a")
        network.losing = lambda message: isinstance(message, HeartbeatResponse)
        network["a"].read_index()
        network.deliver()
        assert network.peer("a").reads == []
        network.change("a", _remove("b"))
        assert [state.index for state in network.peer("a").reads] == [1]


class TestAlone:
    """One voter needs nobody, but its disk."""

    def test_it_campaigns_once_and_waits_for_its_disk(self) -> None:
        """Not once a tick, each time in a higher term."""
        network = Network(1)
        network.peer("a").saves_hang = True
        network.tick("a", count=5)
        assert (network["a"].term, _role(network, "a")) == (1, Role.CANDIDATE)

    def test_a_vote_of_before_the_restart_elects_nobody(self) -> None:
        """Whatever it saves or sends as a follower; it has to campaign first."""
        network = Network(1)
        network.elect("a")
        network.restart("a")
        network.settle()
        network.ask(RequestVote(sender=B, receiver=A, term=1, last=ZERO))
        assert _role(network, "a") is Role.FOLLOWER


def _peer(network: Network, of: str) -> PeerStatus:
    """How the leader a sees a member."""
    return network["a"].status().peers[member(of)]


def _install(last: EntryID) -> InstallSnapshot:
    conf_state = ConfState(voters=(A, B, C))
    return InstallSnapshot(
        sender=A, receiver=C, term=1, snapshot=SnapshotMetadata(last, conf_state)
    )


class TestFollowers:
    """What a follower makes of the odd message."""

    def test_a_snapshot_from_before_its_own_log_changes_nothing(self) -> None:
        """It cannot be compared any more, and need not be: it is committed here."""
        network = Network(3)
        network.elect("a")
        for _ in range(4):
            network.propose("a", b"x")
        network.snapshot("c")
        (answer,) = network.ask(_install(EntryID(1, 2)))
        assert isinstance(answer, AppendEntriesResponse)
        assert answer.index == 5
        assert network["c"].state.log.last_index == 5

    def test_an_answer_without_an_index_confirms_no_read(self) -> None:
        """The leader had no room for it: it has to be asked again."""
        network = Network(3)
        network.elect("a")
        read = network["c"].read_index()
        network.ask(ReadIndexResponse(sender=A, receiver=C, term=1, read=read, index=0))
        assert network.peer("c").reads == []

    def test_what_is_meant_for_a_leader_changes_nothing(self) -> None:
        """It comes for a leader that is none any more."""
        network = Network(3)
        network.elect("a")
        network.isolate("a")
        entry_id = network["a"].propose(b"x")
        network.tick("a", count=2, elapsed=8)
        assert _role(network, "a") is Role.FOLLOWER
        for message in (
            AppendEntriesResponse(sender=B, receiver=A, term=1, index=entry_id.index),
            AppendEntriesResponse(sender=C, receiver=A, term=1, index=entry_id.index),
            HeartbeatResponse(sender=B, receiver=A, term=1, round=1),
            ReadIndex(sender=B, receiver=A, term=1, read=ReadID(B, 0, 1)),
        ):
            assert network.ask(message) == []
        assert network["a"].commit == 1
        assert network.refused == []


class TestLeaderTicks:
    """What a leader's tick does, and what it leaves when it is none any more."""

    def test_a_ready_of_messages_alone_is_no_slow_disk(self) -> None:
        """Only a save counts: the transport may take its time."""
        network = Network(3)
        network.elect("a")
        node = network["a"]
        node.step(RequestVote(sender=B, receiver=A, term=1, last=ZERO, transfer=True))
        ready = node.ready()
        assert not ready.must_save
        for _ in range(20):
            node.tick()
        assert not node.save_overdue

    def test_the_tick_that_deposes_it_sends_no_heartbeat(self) -> None:
        """Others would take it for a leader that lives."""
        network = Network(3)
        network.elect("a")
        network.isolate("a")
        network.tick("a", elapsed=8)
        network.take_back()
        before = len(network.log)
        network.tick("a", elapsed=8)
        assert _role(network, "a") is Role.FOLLOWER
        assert network.take_back(before) == []

    def test_without_quorum_and_with_a_hung_disk_it_steps_down_once(self) -> None:
        """There is no leadership left to give away."""
        network = Network(3)
        network.elect("a")
        network.isolate("a")
        network.peer("a").saves_hang = True
        network.propose("a", b"x")
        network.tick("a", count=16)
        assert _role(network, "a") is Role.FOLLOWER
        assert network["a"].save_overdue


class TestAnswers:
    """What a leader makes of answers."""

    def test_a_strangers_heartbeat_answer_counts_for_nothing(self) -> None:
        """A removed member may still answer."""
        network = Network(3)
        network.elect("a")
        network.run(2)
        stranger = HeartbeatResponse(sender=member("z"), receiver=A, term=1, round=1)
        assert network.ask(stranger) == []

    def test_a_repeated_answer_does_not_repeat_the_invitation(self) -> None:
        """One TimeoutNow is enough."""
        network = Network(3)
        network.elect("a")
        network["a"].transfer_leadership(B)
        answer = AppendEntriesResponse(sender=B, receiver=A, term=1, index=1)
        sent = [*network.ask(answer), *network.ask(answer)]
        assert [type(message) for message in network.log].count(TimeoutNow) == 1
        assert TimeoutNow not in [type(message) for message in sent[1:]]

    def test_probing_goes_on_from_the_hint(self) -> None:
        """Not from match, which would send the whole log again (Paper §5.3, end)."""
        network = Network(3)
        network.load("a", [1, 1, 1, 2, 2], term=2)
        network.load("b", [1, 1, 1, 2, 2], term=2)
        network.load("c", [1, 1, 1], term=2)
        network.elect("a")
        to_c = [m for m in network.log if isinstance(m, AppendEntries) and m.receiver == C]
        assert [message.previous.index for message in to_c][:2] == [5, 3]

    def test_an_overtaken_answer_does_not_end_probing(self) -> None:
        """It says nothing about where the logs agree now."""
        network = Network(3)
        network.elect("a")
        network.propose("a", b"x")
        network.isolate("c")
        network.propose("a", b"y")
        network["a"].report_unreachable(C)
        network.ask(AppendEntriesResponse(sender=C, receiver=A, term=1, index=1))
        assert _peer(network, "c").state == "probe"

    def test_the_limit_of_uncommitted_bytes_can_be_reached_exactly(self) -> None:
        """Only what goes beyond is refused."""
        network = Network(3, uncommitted_bytes_max=66)
        network.elect("a")
        network.isolate("a")
        network["a"].propose(b"x")
        network["a"].propose(b"y")
        with pytest.raises(Overloaded):
            network["a"].propose(b"z")

    def test_a_larger_quorum_may_have_less_than_the_compacted_log(self) -> None:
        """A new voter without anything takes the quorum's index back to 0, the commit not."""
        network = Network(1, strangers="b")
        network.elect("a")
        network.propose("a", b"x")
        network.snapshot("a")
        network.isolate("b")
        network.change("a", ConfChange((ConfChangeSingle(ConfChangeKind.ADD_VOTER, B),)))
        assert network["a"].conf_state.voters == (A, B)
        assert network["a"].commit == 3


class TestSnapshotReports:
    """A snapshot under way ends by the member's own answer or by the transport's report."""

    @staticmethod
    def _under_way() -> Network:
        """Return a network whose leader a has just sent c a snapshot; a knows c's match as 1."""
        network = Network(3)
        network.elect("a")
        network.isolate("c")
        for _ in range(3):
            network.propose("a", b"x")
        network.snapshot("a")
        network["a"].report_unreachable(C)
        network.pump(network.peer("a"))
        assert _peer(network, "c").state == "snapshot"
        network.take_back()
        return network

    def test_unreachable_does_not_end_it(self) -> None:
        """It travels on a connection of its own."""
        network = self._under_way()
        network["a"].report_unreachable(C)
        assert _peer(network, "c").state == "snapshot"

    def test_the_members_answer_ends_it(self) -> None:
        """Also where the report comes later, or never."""
        network = self._under_way()
        network.ask(AppendEntriesResponse(sender=C, receiver=A, term=1, index=4))
        assert _peer(network, "c") == ("replicate", 4, 5, True, False)

    def test_an_answer_of_before_does_not(self) -> None:
        """The member still lacks what is compacted."""
        network = self._under_way()
        answer = AppendEntriesResponse(sender=C, receiver=A, term=1, index=2)
        assert network.ask(answer) == []
        assert _peer(network, "c").state == "snapshot"

    def test_at_the_edge_entries_follow(self) -> None:
        """A member that has just the last compacted entry needs no snapshot."""
        network = self._under_way()
        network["a"].propose(b"y")
        network.ask(AppendEntriesResponse(sender=C, receiver=A, term=1, index=4))
        assert _peer(network, "c").next == 6

    def test_delivered_probing_goes_on_behind_it(self) -> None:
        """The answer may be lost: without the report the member would wait for ever."""
        network = self._under_way()
        network["a"].report_snapshot(C, True)
        assert _peer(network, "c")[:3] == ("probe", 1, 5)

    def test_failed_probing_goes_on_before_it(self) -> None:
        """Behind it there is nothing to stand on."""
        network = self._under_way()
        network["a"].report_snapshot(C, False)
        assert _peer(network, "c")[:3] == ("probe", 1, 2)

    def test_unreachable_does_not_hurry_a_probe(self) -> None:
        """A dead member is probed once a heartbeat's answer at most, not once a report."""
        network = Network(3)
        network.elect("a")
        network.isolate("c")
        network.propose("a", b"x")
        network["a"].report_unreachable(C)
        network.deliver()
        before = len(network.log)
        network["a"].report_unreachable(C)
        network.deliver()
        assert len(network.log) == before


class TestTransfers:
    """Giving leadership away, again and again."""

    def test_asking_again_does_not_prolong_it(self) -> None:
        """A transfer blocks proposals for one election timeout at most."""
        network = Network(3)
        network.elect("a")
        network.isolate("c")
        network["a"].transfer_leadership(C)
        network.tick("a", count=5)
        network["a"].transfer_leadership(C)
        network.tick("a", count=3)
        assert network["a"].status().transferee is None

    def test_the_second_has_as_long_as_the_first(self) -> None:
        """What the one that failed has used up is not counted."""
        network = Network(3)
        network.elect("a")
        network.isolate("c")
        for _ in range(2):
            network["a"].transfer_leadership(C)
            network.run(7)
            assert network["a"].status().transferee == C
            network.run(1)
            assert network["a"].status().transferee is None

    def test_a_hung_disk_gives_to_a_voter(self) -> None:
        """A learner that has as much is none."""
        network = Network(3, learners="d")
        network.elect("a")
        network.peer("a").saves_hang = True
        network.propose("a", b"x")
        network.run(10)
        assert network.leaders == ["c"]


class TestLeavingJoint:
    """The automatic leave is the leader's, and it is proposed once."""

    CHANGE = ConfChange(
        (ConfChangeSingle(ConfChangeKind.REMOVE, C),), transition=Transition.JOINT_IMPLICIT
    )

    @staticmethod
    def _leaves(network: Network, name: str) -> int:
        log = network[name].state.log
        entries = log.entries(1, log.last_index + 1, 1 << 20)
        return sum(entry.change is not None and entry.change.leaves_joint for entry in entries)

    def test_it_is_not_repeated_while_it_is_not_committed(self) -> None:
        """One leave is enough; the second would find nothing to leave."""
        network = Network(3)
        network.elect("a")
        network["a"].propose_conf_change(self.CHANGE)
        network.losing = lambda _: self._leaves(network, "a") > 0
        network.deliver()
        network.tick("a", count=5)
        assert network["a"].conf_state.is_joint
        assert self._leaves(network, "a") == 1

    def test_a_follower_never_proposes_it(self) -> None:
        """It applies entries while joint, a page each, and its log stays the leader's."""
        network = Network(3, apply_bytes_max=1)
        network.elect("a")
        network["a"].propose_conf_change(self.CHANGE)
        network["a"].propose(b"x")
        network["a"].propose(b"y")
        network.deliver()
        assert network.values("b") == [b"x", b"y"]
        assert self._leaves(network, "b") == 1
        assert network["b"].status().last == network["a"].status().last
