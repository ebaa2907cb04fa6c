"""The watchers see what they are there to see: a state made wrong by hand is called wrong."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from raftdb.raft import invariants
from raftdb.raft.node import RawNode
from raftdb.raft.progress import ProgressState
from raftdb.raft.state import State
from raftdb.raft.storage import MemoryStorage
from raftdb.raft.types import (
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    Entry,
    EntryID,
    HardState,
    ReadID,
    ReadState,
    Role,
)
from raftdb.simulation.checks.safety import Safety
from raftdb.simulation.cores.network import Network, member

A, B, C = member("a"), member("b"), member("c")


def _leading() -> Network:
    network = Network(3)
    network.elect("a")
    network.propose("a", b"x")
    network.run(2)
    return network


def _commit_beyond(state: State) -> None:
    state.log.committed = 99


def _applied_beyond(state: State) -> None:
    state.log.applied = 99


def _applied_unsaved(state: State) -> None:
    state.log.append((Entry(1, 3),))
    state.log.commit_to(3)
    state.log.applied = 3


def _log_ahead(state: State) -> None:
    state.log.append((Entry(9, 3),))


def _terms_fall(state: State) -> None:
    state.log.append((Entry(1, 3), Entry(0, 4)))


def _disk_ahead(state: State) -> None:
    state.durable = HardState(9, None, 0)


def _vote_changed(state: State) -> None:
    state.durable = HardState(state.term, C, 0)


def _leader_follows(state: State) -> None:
    state.leader = B


def _match_beyond(state: State) -> None:
    state.tracker.progress[B].match = state.tracker.progress[B].next


def _match_beyond_the_log(state: State) -> None:
    state.tracker.progress[B].next = 99
    state.tracker.progress[B].match = 98


def _counts_unsaved(state: State) -> None:
    state.log.append((Entry(1, 3),))
    state.tracker.progress[A].next = 4
    state.tracker.progress[A].match = 3


def _told_too_much(state: State) -> None:
    state.tracker.progress[B].sent_commit = 99


def _snapshot_of_nothing(state: State) -> None:
    state.tracker.progress[B].state = ProgressState.SNAPSHOT


def _pending_without_snapshot(state: State) -> None:
    state.tracker.progress[B].pending_snapshot = 1


def _window_while_probing(state: State) -> None:
    state.tracker.progress[B].inflights.add(last_index=3, bytes_count=1)
    state.tracker.progress[B].state = ProgressState.PROBE


def _next_beyond(state: State) -> None:
    state.tracker.progress[B].next = 9


def _term_not_durable(state: State) -> None:
    state.durable = HardState(0, None, 0)


def _proposals_below_nothing(state: State) -> None:
    state.uncommitted_bytes = -1


def _rounds_before_they_begin(state: State) -> None:
    state.reads.acknowledged = 99


class TestALeader:
    """What must be true of a leader at every instant."""

    @pytest.mark.parametrize(
        "spoil",
        [
            _commit_beyond,
            _applied_beyond,
            _applied_unsaved,
            _log_ahead,
            _terms_fall,
            _disk_ahead,
            _vote_changed,
            _leader_follows,
            _match_beyond,
            _match_beyond_the_log,
            _counts_unsaved,
            _told_too_much,
            _snapshot_of_nothing,
            _pending_without_snapshot,
            _window_while_probing,
            _next_beyond,
            _term_not_durable,
            _proposals_below_nothing,
            _rounds_before_they_begin,
        ],
    )
    def test_a_wrong_state_is_called_wrong(self, spoil: Callable[[State], None]) -> None:
        """One thing at a time is made wrong."""
        state = _leading()["a"].state
        before = invariants.check(state, None)
        spoil(state)
        with pytest.raises(AssertionError):
            invariants.check(state, None)
        with pytest.raises(AssertionError):
            invariants.check(state, before)


def _follows_itself(state: State) -> None:
    state.leader = state.id


def _hands_over(state: State) -> None:
    state.transferee = A


def _confirms(state: State) -> None:
    state.reads.add(state.next_read())


def _has_proposals(state: State) -> None:
    state.uncommitted_bytes = 1


def _candidate_for_another(state: State) -> None:
    state.role, state.leader = Role.CANDIDATE, None


def _candidate_with_leader(state: State) -> None:
    state.role, state.vote, state.durable = Role.CANDIDATE, state.id, HardState()


def _pre_candidate_with_leader(state: State) -> None:
    state.role = Role.PRE_CANDIDATE


def _campaigns_with_an_unapplied_change(state: State) -> None:
    change = ConfChange((ConfChangeSingle(ConfChangeKind.REMOVE, C),))
    state.log.append((Entry(1, state.log.last_index + 1, change=change),))
    state.log.commit_to(state.log.last_index)
    state.role, state.leader = Role.PRE_CANDIDATE, None


class TestOthers:
    """What must be true of who does not lead."""

    @pytest.mark.parametrize(
        "spoil",
        [
            _follows_itself,
            _hands_over,
            _confirms,
            _has_proposals,
            _candidate_for_another,
            _candidate_with_leader,
            _pre_candidate_with_leader,
            _campaigns_with_an_unapplied_change,
        ],
    )
    def test_a_wrong_state_is_called_wrong(self, spoil: Callable[[State], None]) -> None:
        """One thing at a time is made wrong."""
        state = _leading()["b"].state
        before = invariants.check(state, None)
        spoil(state)
        with pytest.raises(AssertionError):
            invariants.check(state, None)
        with pytest.raises(AssertionError):
            invariants.check(state, before)


class TestRest:
    """Where nothing has changed, most of it need not be looked at again."""

    def test_a_state_that_is_as_before_is_not_observed_anew(self) -> None:
        """The same observation comes back, of the leader and of who follows it."""
        network = _leading()
        for name in ("a", "b"):
            before = invariants.check(network[name].state, None)
            assert invariants.check(network[name].state, before) is before

    def test_what_comes_back_is_what_would_be_observed(self) -> None:
        """Over a history of losses, elections, snapshots and restarts."""
        network = Network("abc", seed=3)
        rng = Random(3)
        known: dict[str, invariants.Observation | None] = dict.fromkeys("abc")
        rests = 0
        for number in range(1_500):
            name = rng.choice("abc")
            match rng.randrange(12):
                case 0 if number % 5 == 0:
                    network.restart(name)
                    known[name] = None
                case 1 if network[name].role is Role.LEADER:
                    network[name].propose(b"x")
                case 2 if network[name].applied > 3:
                    network.snapshot(name)
                case 3:
                    network.isolate(name)
                case 4 | 5:
                    network.heal()
                case _:
                    network.tick(name)
            for _ in range(rng.randrange(4)):
                if network.in_flight:
                    network.carry(network.in_flight.pop(0))
            for one in "abc":
                state, before = network[one].state, known[one]
                now = known[one] = invariants.check(state, before)
                assert now == invariants.observe(state)
                rests += now is before
        assert 1_000 < rests < 4_400


class TestSteps:
    """What must be true between one input and the next."""

    @pytest.mark.parametrize(
        "change",
        [
            {"term": 9},
            {"vote": C},
            {"leader": C},
            {"committed": EntryID(1, 9)},
            {"committed": EntryID(9, 1)},
            {"applied": 9},
            {"first_index": 9},
            {"durable": HardState(9, None, 0)},
        ],
    )
    def test_nothing_goes_back(self, change: dict[str, object]) -> None:
        """The observation before claims more, or other, than is there now."""
        state = _leading()["b"].state
        before = invariants.check(state, None)
        invariants.check(state, before)
        with pytest.raises(AssertionError):
            invariants.check(state, before._replace(**change))  # type: ignore[arg-type]  # any field

    @pytest.mark.parametrize(
        "change",
        [
            {"role": Role.FOLLOWER},
            {"role": Role.PRE_CANDIDATE},
            {"role": Role.CANDIDATE, "term": 0, "vote": None},
            {"term": 0, "vote": None},
            {"round": 99},
            {"last": EntryID(1, 9)},
        ],
    )
    def test_a_leader_is_elected_and_only_appends(self, change: dict[str, object]) -> None:
        """Fig. 4, and Fig. 3, Leader Append-Only."""
        state = _leading()["a"].state
        before = invariants.check(state, None)
        with pytest.raises(AssertionError):
            invariants.check(state, before._replace(**change))  # type: ignore[arg-type]  # any field


class TestSafety:
    """Fig. 3, over the whole cluster."""

    @staticmethod
    def _loaded(name: str, terms: list[int], commit: int = 0) -> RawNode:
        return Network(3).load(name, terms, commit=commit)

    def test_election_safety(self) -> None:
        """Two leaders of one term."""
        safety = Safety()
        one, other = Network(3), Network(3)
        one.elect("a")
        other.elect("b")
        safety.check(one["a"])
        with pytest.raises(AssertionError, match="Election Safety"):
            safety.check(other["b"])

    def test_log_matching_one_name_one_entry(self) -> None:
        """Two entries of one name."""
        safety = Safety()
        safety.check(self._loaded("a", [1]))
        network = Network(3)
        other = MemoryStorage(
            hard_state=HardState(1), conf_state=network.conf_state, entries=(Entry(1, 1, b"other"),)
        )
        with pytest.raises(AssertionError, match="Log Matching"):
            safety.check(network.start("b", other).node)

    def test_log_matching_one_past(self) -> None:
        """One entry behind two others."""
        safety = Safety()
        safety.check(self._loaded("a", [1, 3]))
        with pytest.raises(AssertionError, match="Log Matching"):
            safety.check(self._loaded("b", [2, 3]))

    def test_two_commits_at_one_index(self) -> None:
        """State Machine Safety, before anything is applied."""
        safety = Safety()
        safety.check(self._loaded("a", [1], commit=1))
        with pytest.raises(AssertionError, match="committed"):
            safety.check(self._loaded("b", [2], commit=1))

    def test_applying_what_was_not_committed(self) -> None:
        """State Machine Safety."""
        safety = Safety()
        safety.check(self._loaded("a", [1], commit=1))
        with pytest.raises(AssertionError, match="State Machine Safety"):
            safety.applied(Entry(2, 1))

    @pytest.mark.parametrize("terms", [[], [2]])
    def test_leader_completeness(self, terms: list[int]) -> None:
        """A leader without what was committed elsewhere."""
        safety = Safety()
        safety.check(self._loaded("a", [1], commit=1))
        network = Network(3, pre_vote=False, check_quorum=False)
        network.load("b", terms, term=5)
        network.load("a", [], term=0)
        network.safety = Safety()
        network.campaign("b")
        assert network["b"].role is Role.LEADER
        with pytest.raises(AssertionError):
            safety.check(network["b"])

    def test_a_leader_of_an_old_term_lacks_what_came_after_it(self) -> None:
        """It reads the votes that it won when another leads a later term and has committed there."""
        network = Network(3, pre_vote=False, check_quorum=False)
        network.settle()
        network["c"].campaign()
        network.pump(network.peer("c"))
        network.carry(next(sent for sent in network.in_flight if sent.receiver == A))
        vote = next(sent for sent in network.in_flight if sent.sender == A)
        network.in_flight.clear()
        network.isolate("c")
        network.elect("a")
        network.propose("a", b"x")
        assert (network["a"].commit, network["c"].role) == (2, Role.CANDIDATE)
        network.heal()
        network.carry(vote)
        assert network["c"].role is Role.LEADER
        assert network["c"].term < network["a"].term

    def test_leader_completeness_when_the_commit_comes_later(self) -> None:
        """The leader of term 5 was elected without an entry that the leader of term 1 then counts."""
        network, safety = _leading(), Safety()
        safety.check(network["a"])
        safety._begun[5] = EntryID(5, 3)
        safety.previous[EntryID(5, 3)] = EntryID(1, 2)
        safety.check(network["a"])
        network.propose("a", b"y")
        with pytest.raises(AssertionError, match="the leader of 5 has"):
            safety.check(network["a"])

    def test_an_old_term_is_not_counted(self) -> None:
        """Fig. 8: a leader of term 2 commits what is of term 1, and no more."""
        network = Network(3)
        network.load("a", [1], term=1)
        node = network["a"]
        safety = Safety()
        safety.check(node)
        node.state.role, node.state.leader = Role.LEADER, A
        node.state.term, node.state.vote = 2, A
        node.state.durable = HardState(2, A, 0)
        node.state.log.append((Entry(2, 2),))
        node.state.log.commit_to(1)
        with pytest.raises(AssertionError, match="by counting"):
            safety._check_counting(node, invariants.observe(node.state))

    def test_only_a_leader_commits_first(self) -> None:
        """A follower knows what a leader knew before."""
        network, safety = Network(3), Safety()
        node = network.load("b", [1, 1], commit=1)
        safety.check(node)
        node.state.log.commit_to(2)
        with pytest.raises(AssertionError, match="does not lead"):
            safety.check(node)

    def test_a_read_below_what_was_committed_when_it_was_asked_for(self) -> None:
        """Thesis §6.4."""
        network = _leading()
        safety, node = Safety(), network["a"]
        safety.check(node)
        read = node.read_index()
        safety.check(node)
        node.state.read_states.append(ReadState(read, node.commit))
        safety.check(node)
        node.state.read_states.append(ReadState(read, node.commit - 1))
        with pytest.raises(AssertionError, match="was committed when it asked"):
            safety.check(node)

    def test_an_answer_to_a_read_of_another_life(self) -> None:
        """Names of reads must not come back [R12]."""
        network = _leading()
        safety, node = Safety(), network["a"]
        node.state.read_states.append(ReadState(ReadID(A, 0, 1), 9))
        with pytest.raises(AssertionError, match="never asked for"):
            safety.check(node)

    def test_a_change_that_was_in_force_is_known_to_be_committed(self) -> None:
        """Over a restart, too [R2]."""
        network, safety = Network(3), Safety(remembers=True)
        change = ConfChange((ConfChangeSingle(ConfChangeKind.REMOVE, C),))
        storage = MemoryStorage(
            hard_state=HardState(1, None, 1),
            conf_state=network.conf_state,
            entries=(Entry(1, 1, change=change),),
        )
        node = network.start("a", storage).node
        node.state.log.applied = 1
        safety.check(node)
        storage.set_hard_state(HardState(1, None, 0))
        safety.restarted(A)
        with pytest.raises(AssertionError, match="is committed"):
            safety.check(network.start("a", storage).node)

    def test_all_nodes_at_once(self) -> None:
        """A healthy cluster passes."""
        network = _leading()
        network.safety.check_all({m: peer.node for m, peer in network.peers.items()})
