"""The numbered rules that live in the core, each with the history that breaks without it."""

from __future__ import annotations

import pytest

from raftdb.errors import (
    DataLost,
    InvalidRequest,
    LocalProtocolError,
    Overloaded,
    ProposalDropped,
    RemoteProtocolError,
)
from raftdb.raft import transfer
from raftdb.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    PreVote,
    PreVoteResponse,
    ReadIndex,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from raftdb.raft.node import RawNode
from raftdb.raft.storage import MemoryStorage
from raftdb.raft.types import (
    TERM_MAX,
    ZERO,
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    ConfState,
    Entry,
    EntryID,
    HardState,
    ReadID,
    Role,
    SnapshotMetadata,
)
from raftdb.simulation.cores.network import Network, member

A, B, C = member("a"), member("b"), member("c")
VOTERS = ConfState(voters=(A, B, C))


def _role(network: Network, name: str) -> Role:
    return network[name].role


def _append(term: int, previous: EntryID, *entries: Entry, **more: int) -> AppendEntries:
    return AppendEntries(
        sender=B, receiver=A, term=term, previous=previous, entries=entries, **more
    )


class TestLostData:
    """[R1] A node that lost what it acknowledged stops itself."""

    @pytest.mark.parametrize("kind", [AppendEntries, Heartbeat])
    def test_a_match_beyond_the_log_stops_the_node(self, kind: type[Message]) -> None:
        """The leader knows what we acknowledged in its term; we have less."""
        network = Network(3)
        network.load("a", [1, 1], term=1)
        message: Message = _append(1, EntryID(1, 3), match=3)
        if kind is Heartbeat:
            message = Heartbeat(sender=B, receiver=A, term=1, commit=0, match=3, round=1)
        with pytest.raises(DataLost):
            network["a"].step(message)

    def test_also_if_the_term_was_lost_with_it(self) -> None:
        """Who acknowledged in a term had saved that term."""
        network = Network(3)
        network.load("a", [1, 1], term=1)
        with pytest.raises(DataLost):
            network["a"].step(_append(2, EntryID(1, 2), match=3))

    def test_from_end_to_end(self) -> None:
        """A disk that forgets the last entry is found out by the next message."""
        network = Network(3)
        network.elect("a")
        network.propose("a", b"x")
        storage = network.crash("b")
        hard_state, _ = storage.initial_state()
        forgetful = MemoryStorage(
            hard_state=HardState(hard_state.term, hard_state.vote, 0),
            conf_state=VOTERS,
            entries=storage.entries(1, 2, 1_000),
        )
        network.start("b", forgetful)
        with pytest.raises(DataLost):
            network.run(3)

    def test_a_match_that_is_there_is_no_reason(self) -> None:
        """The comparison does not err at the edge."""
        network = Network(3)
        network.load("a", [1, 1], term=1)
        network.ask(_append(1, EntryID(1, 2), match=2))
        network.safety.commit_max = 2  # b, whom nobody runs here, has counted that
        network.ask(Heartbeat(sender=B, receiver=A, term=1, commit=2, match=2, round=1))
        assert network["a"].commit == 2

    def test_a_stale_leaders_claim_is_not_looked_at(self) -> None:
        """In a later term a log may have shrunk rightly."""
        network = Network(3)
        network.load("a", [1, 1], term=4)
        network.ask(_append(3, EntryID(3, 9), match=9))

    def test_a_commit_beyond_the_recovered_log_stops_the_start(self) -> None:
        """What is committed here was durable here."""
        with pytest.raises(DataLost):
            Network(3).load("a", [1], commit=2)

    def test_a_log_beyond_the_recovered_term_stops_the_start(self) -> None:
        """The vote of that term is lost: it might be given twice."""
        with pytest.raises(DataLost):
            Network(3).load("a", [1, 2], term=1)


class TestSlowDisk:
    """[R6] A leader whose save hangs for longer than an election timeout gives way."""

    @staticmethod
    def _hung(size: int = 3) -> Network:
        network = Network(size)
        network.elect("a")
        network.peer("a").saves_hang = True
        network.propose("a", b"x")
        return network

    def test_it_takes_no_proposals(self) -> None:
        """They could never be answered."""
        network = self._hung(1)
        network.tick("a", count=8)
        network["a"].propose(b"y")
        network.tick("a")
        assert network["a"].save_overdue
        with pytest.raises(ProposalDropped):
            network["a"].propose(b"z")

    def test_the_first_save_has_as_long(self) -> None:
        """The clock of a save begins with it, also of the first after a start."""
        network = Network(1)
        network.peer("a").saves_hang = True
        network["a"].campaign()
        network.deliver()
        network.tick("a", count=8)
        overdue = [network["a"].save_overdue]
        network.tick("a")
        overdue.append(network["a"].save_overdue)
        assert overdue == [False, True]

    def test_it_hands_leadership_over(self) -> None:
        """The followers' disks are fine."""
        network = self._hung()
        network.run(9)
        network.run(1)
        assert [name for name in network.leaders if name != "a"]
        assert any(isinstance(m, TimeoutNow) for m in network.log)
        assert network.values(network.leaders[-1]) == [b"x"]

    def test_a_follower_that_cannot_save_keeps_nobody_in_office(self) -> None:
        """The history beside follower.handle_heartbeat: heartbeats would, appends never commit."""
        network = Network(3)
        network.elect("a")
        for ends in (("a", "c"), ("c", "a")):
            network.cut(*ends)
        network.peer("b").saves_hang = True
        network.propose("a", b"x")
        network.run(9 + 2 * 8)
        assert _role(network, "a") is Role.FOLLOWER
        assert network.values("a") == []

    def test_else_it_steps_down_and_is_silent(self) -> None:
        """The history beside transfer.watch_disk: heartbeats wait for no disk."""
        network = self._hung()
        network.losing = lambda m: isinstance(m, TimeoutNow)
        network.run(17)
        assert _role(network, "a") is Role.FOLLOWER
        before = len(network.log)
        network.run(40)
        assert not [m for m in network.log[before:] if m.sender == A and isinstance(m, Heartbeat)]
        (leader,) = network.leaders
        network.propose(leader, b"y")

    def test_each_time_it_hangs_it_tries_anew(self) -> None:
        """A transfer that was tried for an earlier save says nothing about this one."""
        network = self._hung()
        network.losing = lambda m: isinstance(m, TimeoutNow)
        for _ in range(2):
            network.run(9)
            assert network["a"].status().transferee is not None
            network.peer("a").saves_hang = False
            network.run(9)
            network.peer("a").saves_hang = True
            network.propose("a", b"y")
        assert network.leaders == ["a"]

    def test_alone_it_stays(self) -> None:
        """Nobody could do better."""
        network = self._hung(1)
        network.tick("a", count=50)
        assert _role(network, "a") is Role.LEADER
        network.peer("a").saves_hang = False
        network.deliver()
        network.propose("a", b"y")
        assert network.values("a") == [b"x", b"y"]

    def test_it_does_not_campaign(self) -> None:
        """Such a node does not pre-vote either, nor on TimeoutNow."""
        network = Network(3)
        network.elect("b")
        network.peer("a").saves_hang = True
        network.propose("b", b"x")
        network.run(10)
        network["b"].transfer_leadership(A)
        network.isolate("b")
        network.tick("a", count=50)
        network["a"].forget_leader()
        network.campaign("a")
        assert _role(network, "a") is Role.FOLLOWER

    def test_a_save_in_time_resets_the_clock(self) -> None:
        """Only one save that takes too long counts, not many."""
        network = Network(3)
        network.elect("a")
        peer = network.peer("a")
        for _ in range(5):
            peer.saves_hang = True
            network.propose("a", b"x")
            network.run(6)
            peer.saves_hang = False
            network.deliver()
        assert network.leaders == ["a"]

    def test_a_paused_process_is_not_a_slow_disk(self) -> None:
        """The save counts one tick per call: after a pause its end may just not be seen yet."""
        network = self._hung()
        network["a"].tick(3)
        network["a"].tick(4)
        assert network["a"].state.save_elapsed == 2


class TestQuarantine:
    """A node keeps the lease that it may have had before its restart."""

    def test_lasts_an_election_timeout(self) -> None:
        """Not a tick less: the leader may have been heard in the instant before the crash."""
        network = Network(3, pre_vote=False)
        network.elect("a")
        network.run(3)
        network.restart("c")
        ask = RequestVote(sender=B, receiver=C, term=5, last=EntryID(4, 9))
        network.tick("c", count=7)
        assert network.ask(ask) == []
        network.tick("c")
        assert network.ask(ask)


class TestFullDisks:
    """[R6] Members that cannot store keep nobody in office while others might commit."""

    @staticmethod
    def _stuck(*full: str, gone: str = "de") -> Network:
        """Five voters; a leads, some are full, some are gone; an entry waits."""
        network = Network(5)
        network.elect("a")
        for name in gone:
            network.isolate(name)
        for name in full:
            network.peer(name).full = True
        network.propose("a", b"x")
        return network

    def test_the_pauses_between_the_attempts_grow(self) -> None:
        """Nobody could commit: each election would cost the full disk a little of its last room."""
        network = self._stuck("c")
        network.run(100)
        early = network["c"].term
        assert early > 1, "it was tried"
        network.run(2000)
        late = network["c"].term
        network.run(2000)
        assert late - early <= 2 * 7  # a and b, at 4, 8, 16, … election timeouts
        assert network["c"].term - late <= 2 * 2
        assert network.leaders

    def test_it_is_tried_anew_after_a_commit(self) -> None:
        """An old trouble does not make the next one last longer."""
        network = self._stuck("c")
        network.run(2000)
        network.heal()
        network.peer("c").full = False
        network["c"].report_full(False)
        network.run(50)
        for name in "abcde":
            assert network.values(name) == [b"x"]
            assert network[name].state.handover_pause == 0 or name not in network.leaders
        assert not network["c"].state.handover_wait

    def test_who_is_full_is_no_successor(self) -> None:
        """Its log is shorter, and would stay so."""
        network = Network(5)
        network.elect("a")
        for name in "cde":
            network.peer(name).full = True
            network[name].report_full(True)
        network.run(2)
        assert network["a"].status().peers[member("e")].full
        assert transfer.successor(network["a"].state) == B

    def test_a_majority_that_stores_needs_nobody_else(self) -> None:
        """One full member of three is no reason for anything."""
        network = Network(3)
        network.elect("a")
        network.peer("c").full = True
        network.propose("a", b"x")
        network.isolate("b")
        network.run(6)
        network.propose("a", b"y")
        network.heal()
        network.run(40)
        assert (network.leaders, network["a"].term) == (["a"], 1)
        assert network.values("b") == [b"x", b"y"]

    def test_where_nothing_waits_nothing_is_done(self) -> None:
        """An election would cost the full disk room, and bring nobody anything."""
        network = Network(5)
        network.elect("a")
        network.peer("c").full = True
        network.propose("a", b"x")
        assert network.values("b") == [b"x"]
        network.run(2)
        for name in "de":
            network.isolate(name)
        network.run(60)
        assert (network.leaders, network["a"].term) == (["a"], 1)

    @staticmethod
    def _behind_a_snapshot() -> Network:
        """Five voters; a leads and reaches b, and c, which needs a snapshot; b reaches them all."""
        network = Network(5)
        network.elect("a")
        network.isolate("c")
        network.propose("a", b"x")
        network.snapshot("a")
        network.heal()
        for name in "de":
            network.cut("a", name)
            network.cut(name, "a")
        return network

    def test_who_no_snapshot_gets_to_keeps_nobody_in_office(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its disk hangs while it saves nothing, so it answers heartbeats; b, d and e could commit."""
        network = self._behind_a_snapshot()
        lost = network.lost
        monkeypatch.setattr(network, "lost", lambda m: isinstance(m, InstallSnapshot) or lost(m))
        network.propose("a", b"y")
        network.run(60)
        assert network.values("d") == [b"x", b"y"]
        assert "a" not in network.leaders

    def test_a_snapshot_under_way_is_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another leader would have to begin it anew, and perhaps the next one, too."""
        network = self._behind_a_snapshot()
        carry = network.carry
        under_way: list[InstallSnapshot] = []

        def slowly(message: Message) -> None:
            if isinstance(message, InstallSnapshot):
                under_way.append(message)
            else:
                carry(message)

        monkeypatch.setattr(network, "carry", slowly)
        network.propose("a", b"y")
        network.run(60)
        assert (network.leaders, network["a"].term) == (["a"], 1)
        (message,) = under_way
        carry(message)
        network.run(10)
        assert network.values("b") == [b"x", b"y"]

    def test_who_stores_again_counts_again(self) -> None:
        """Until the next snapshot fails."""
        network = self._behind_a_snapshot()
        progress = network["a"].state.tracker.progress[C]
        network.in_flight.clear()
        progress.become_snapshot(progress.match + 1)
        network["a"].report_snapshot(C, False)
        assert not progress.stores
        network.propose("a", b"y")
        network.run(10)
        assert network.values("c")[-1:] == [b"y"]
        assert progress.stores

    def test_who_is_full_gets_the_commit_and_no_entries(self) -> None:
        """Otherwise a megabyte with each heartbeat, to be dropped; a commit takes no room."""
        network = Network(3, append_bytes_max=1)
        network.elect("a")
        network.peer("b").saves_hang = True
        network.propose("a", b"x")  # c has it, b has not yet
        network.run(2)
        network.peer("c").full = True
        network.propose("a", b"y")
        network.run(6)
        before = len(network.log)
        network.propose("a", b"z")
        network.run(20)
        sent = [m for m in network.log[before:] if isinstance(m, AppendEntries) and m.receiver == C]
        assert not any(m.entries for m in sent)
        network.peer("c").full = False
        network["c"].report_full(False)
        network.peer("b").saves_hang = False
        network.run(6)
        assert network.values("c") == [b"x", b"y", b"z"]

    def test_nobody_is_asked_who_is_full_himself(self) -> None:
        """A reaches only full members: then it stays and confirms reads, and asks nobody."""
        network = self._stuck("b", "c")
        network.run(100)
        assert not [m for m in network.log if isinstance(m, TimeoutNow)]
        assert (network.leaders, network["a"].term) == (["a"], 1)


class TestOutputs:
    """[R7] What leaves when."""

    def test_a_nobody_leads_before_its_vote_is_durable(self) -> None:
        """(a) Also alone: the history beside State.become_leader."""
        network = Network(1)
        network.peer("a").saves_hang = True
        network.campaign("a")
        assert _role(network, "a") is Role.CANDIDATE
        network.peer("a").saves_hang = False
        network.deliver()
        assert _role(network, "a") is Role.LEADER

    def test_a_an_older_save_does_not_count(self) -> None:
        """(a) The vote of an earlier term says nothing about this one."""
        network = Network(1)
        network.peer("a").saves_hang = True
        network.campaign("a")
        network.campaign("a")
        assert network["a"].term == 2
        network.save(network.peer("a"))
        assert _role(network, "a") is Role.CANDIDATE

    def test_b_the_leaders_match_moves_with_advance(self) -> None:
        """(b) Never with the append itself."""
        network = Network(3)
        network.elect("a")
        network.peer("a").saves_hang = True
        network["a"].propose(b"x")
        network.pump(network.peer("a"))
        assert network["a"].status().peers[A].match == 1

    def test_c_only_what_still_is_the_log_becomes_stable(self) -> None:
        """(c) The history beside RaftLog.stable_entries."""
        network = Network(3)
        peer = network.peer("a")
        peer.saves_hang = True
        network.ask(_append(1, ZERO, Entry(1, 1), Entry(1, 2)))
        first = peer.saving
        network.ask(_append(2, EntryID(1, 1), Entry(2, 2)))
        assert peer.saving is first
        network.save(peer)
        assert network["a"].state.log.durable == 1
        network.pump(peer)
        assert peer.saving is not None
        assert peer.saving.entries == (Entry(2, 2),)

    def test_d_is_proved_with_the_snapshots(self) -> None:
        """(d) No entries while a snapshot is pending: see test_paper_membership.py."""
        network = Network(3)
        network.peer("a").applies = False
        snapshot = SnapshotMetadata(EntryID(1, 5), VOTERS)
        network.ask(InstallSnapshot(sender=B, receiver=A, term=1, snapshot=snapshot))
        assert network["a"].take_applicable().entries == ()

    def test_e_a_leader_applies_only_what_its_own_disk_has(self) -> None:
        """(e) The history beside RaftLog.next_committed."""
        network = Network(3)
        network.elect("a")
        network.peer("a").saves_hang = True
        entry_id = network.propose("a", b"x")
        assert network["a"].commit == entry_id.index
        assert network.values("a") == []
        network.peer("a").saves_hang = False
        network.deliver()
        assert network.values("a") == [b"x"]

    def test_news_of_a_commit_may_ride_on_the_next_append(self) -> None:
        """Held back it is sent by nobody, and told with what comes next, or when it is asked for."""
        network = Network(3)
        network.elect("a")
        node = network["a"]
        for data in (b"x", b"y"):
            entry = network["a"].propose(data)
            network.pump(network.peer("a"))
            for follower in (B, C):
                node.step(AppendEntriesResponse(follower, A, node.term, entry.index))
        assert node.commit == entry.index
        assert node.has_messages()
        assert node.pending_sends() == (False, True)
        assert not node.has_messages(news=False)
        assert node.take_messages(news=False) == []
        node.propose(b"z")
        told = [
            (each.commit, len(each.entries))
            for each in node.take_messages(news=False)
            if isinstance(each, AppendEntries)
        ]
        assert told == [(entry.index, 1)] * 2
        assert node.pending_sends() == (False, False)

    def test_e_a_follower_too(self) -> None:
        """(e) Others' disks do not help after a crash of all."""
        network = Network(3)
        network.elect("a")
        network.peer("b").saves_hang = True
        network.propose("a", b"x")
        network.run(4)
        assert network.values("b") == []

    def test_f_heartbeat_answers_do_not_wait_for_a_disk(self) -> None:
        """(f) They promise nothing, and a leader would be deposed by a slow disk elsewhere."""
        network = Network(3)
        network.peer("a").saves_hang = True
        beat = Heartbeat(sender=B, receiver=A, term=3, commit=0, match=0, round=1)
        assert network.ask(beat) == [HeartbeatResponse(sender=A, receiver=B, term=3, round=1)]

    @pytest.mark.parametrize(
        "message",
        [
            RequestVote(sender=B, receiver=A, term=1, last=ZERO),
            _append(1, ZERO, Entry(1, 1)),
        ],
    )
    def test_f_promises_wait(self, message: Message) -> None:
        """(f) A vote and an acknowledgement leave after the save."""
        network = Network(3)
        network.settle()
        network.peer("a").saves_hang = True
        assert network.ask(message) == []
        network.peer("a").saves_hang = False
        before = len(network.log)
        network.pump(network.peer("a"))
        assert len(network.log) == before + 1

    @pytest.mark.parametrize("forced", [False, True])
    def test_g_vote_requests_wait(self, forced: bool) -> None:
        """(g) The history beside PERSISTED; also one forced by TimeoutNow."""
        network = Network(3, pre_vote=False)
        network.elect("b")
        network.peer("a").saves_hang = True
        before = len(network.log)
        if forced:
            network.step(TimeoutNow(sender=B, receiver=A, term=1))
        else:
            network["a"].campaign()
            network.pump(network.peer("a"))
        assert _role(network, "a") is Role.CANDIDATE
        assert not [m for m in network.log[before:] if isinstance(m, RequestVote)]
        network.save(network.peer("a"))
        assert [m.transfer for m in network.log if isinstance(m, RequestVote) and m.term == 2] == [
            forced
        ] * 2

    def test_a_ready_with_entries_carries_the_commit(self) -> None:
        """[R2] The history beside candidate.obstacle."""
        network = Network(3)
        network.peer("a").saves_hang = True
        network.ask(_append(1, ZERO, Entry(1, 1), commit=1))
        saving = network.peer("a").saving
        assert saving is not None
        assert saving.hard_state == HardState(1, None, 1)

    def test_a_ready_without_news_visits_no_disk(self) -> None:
        """An answer that rests on what is durable already waits for nothing."""
        network = Network(3)
        network.load("a", [1])
        network["a"].step(_append(1, ZERO, Entry(1, 1, b"1.1"), commit=1))
        node = network["a"]
        assert node.has_ready()
        ready = node.ready()
        assert not ready.must_save
        assert ready.hard_state is None
        assert isinstance(ready.persisted_messages[0], AppendEntriesResponse)

    def test_one_ready_is_outstanding(self) -> None:
        """What arrives meanwhile forms the next: group commit for nothing."""
        network = Network(1)
        network.run(1)
        node = network["a"]
        node.propose(b"x")
        first = node.ready()
        assert not node.has_ready()
        with pytest.raises(LocalProtocolError):
            node.ready()
        for number in range(3):
            node.propose(b"%d" % number)
        network.peer("a").storage.append(first.entries)
        node.advance(first)
        with pytest.raises(LocalProtocolError):
            node.advance(first)
        assert len(node.ready().entries) == 3


class TestFastFailover:
    """[R10] A follower that knows its leader dead need not wait for a timeout."""

    def test_forgetting_ends_the_lease(self) -> None:
        """On its own evidence it grants, before its timeout."""
        network = Network(3)
        network.elect("a")
        assert network.ask(PreVote(sender=C, receiver=B, term=2, last=EntryID(1, 1))) == []
        network["b"].forget_leader()
        assert network["b"].leader is None
        (answer,) = network.ask(PreVote(sender=C, receiver=B, term=2, last=EntryID(1, 1)))
        assert isinstance(answer, PreVoteResponse)
        assert answer.granted

    def test_a_leader_forgets_nobody(self) -> None:
        """It means followers only."""
        network = Network(3)
        network.elect("a")
        network["a"].forget_leader()
        assert network["a"].leader == A

    def test_a_leader_that_lives_is_followed_again(self) -> None:
        """A broken link alone deposes nobody."""
        network = Network(3)
        network.elect("a")
        network["b"].forget_leader()
        network.run(2)
        assert network["b"].leader == A

    def test_a_crash_costs_two_round_trips(self) -> None:
        """Both notice, one campaigns: no tick passes."""
        network = Network(3)
        network.elect("a")
        network.crash("a")
        for name in "bc":
            network[name].forget_leader()
        network.campaign("c")
        assert network.leaders == ["c"]

    def test_an_unanswered_pre_vote_is_repeated_every_heartbeat(self) -> None:
        """The other may notice a little later."""
        network = Network(3)
        network.elect("a")
        network.crash("a")
        network["b"].forget_leader()
        network.campaign("b")
        assert _role(network, "b") is Role.PRE_CANDIDATE
        network["c"].forget_leader()
        network.tick("b", count=4)
        network.deliver()
        assert network.leaders == ["b"]

    def test_answers_given_before_still_count(self) -> None:
        """Otherwise a round trip longer than a heartbeat would never win."""
        network = Network(5)
        network.settle()
        network["a"].campaign()
        network.pump(network.peer("a"))
        network.take_back()
        for name in "bc":
            network.tick("a", count=3)
            network.ask(PreVoteResponse(sender=member(name), receiver=A, term=1, granted=True))
        assert _role(network, "a") is Role.CANDIDATE
        again = [m.receiver.id for m in network.log if isinstance(m, PreVote)]
        assert again.count("b") < again.count("d")

    @pytest.mark.parametrize("first", ["b", "c"])
    def test_of_two_pre_candidates_the_lesser_yields(self, first: str) -> None:
        """The history beside voter._answer_pre_vote."""
        network = Network(3)
        network.elect("a")
        network.crash("a")
        for name in "bc":
            network[name].forget_leader()
        for name in (first, "c" if first == "b" else "b"):
            network[name].campaign()
        network.deliver()
        assert network.leaders == ["c"]
        assert network["c"].term == 2

    def test_it_yields_to_each_but_once(self) -> None:
        """The greater may be deaf: it asks for ever and never wins."""
        network = Network(5)
        network.settle()
        deaf = PreVote(sender=member("e"), receiver=A, term=1, last=ZERO)
        roles = []
        for _ in range(2):
            network["a"].campaign()
            network.ask(deaf)
            roles.append(_role(network, "a"))
        assert roles == [Role.FOLLOWER, Role.PRE_CANDIDATE]

    def test_with_a_leader_the_count_begins_anew(self) -> None:
        """The next time the greater may be well again."""
        network = Network(5)
        network.elect("b")
        request = PreVote(sender=member("e"), receiver=A, term=2, last=EntryID(1, 1))
        roles = []
        for _ in range(2):
            network["a"].forget_leader()
            network["a"].campaign()
            network.ask(request)
            roles.append(_role(network, "a"))
            network.run(3)
            assert network["a"].leader == B
        assert roles == [Role.FOLLOWER, Role.FOLLOWER]

    def test_the_greater_insists_for_one_election_timeout_only(self) -> None:
        """Only d reaches both others of the majority that is left, and the greater e asked first.

        Seed 5101807, where e could not find a voter that had moved.
        """
        network = Network(5)
        network.crash("a")
        network.crash("b")
        network.cut("c", "e")
        network.cut("e", "c")
        network.settle()
        network.campaign("e")
        assert _role(network, "e") is Role.PRE_CANDIDATE
        network.run(20 * network["e"].state.config.election_ticks)
        assert network.leaders == ["d"]

    def test_after_a_leader_it_insists_again(self) -> None:
        """The next time the greater may reach everybody."""
        network = Network(3)
        network.settle()
        network["c"].campaign()
        network.tick("c", count=2 * network["c"].state.config.election_ticks)
        network.take_back()
        rival = PreVote(sender=B, receiver=C, term=1, last=ZERO)
        assert [type(answer) for answer in network.ask(rival)] == [PreVoteResponse]
        network.elect("b")
        network["c"].forget_leader()
        network["c"].campaign()
        before = len(network.log)
        network.ask(PreVote(sender=B, receiver=C, term=2, last=EntryID(1, 1)))
        assert not any(
            isinstance(message, PreVoteResponse) for message in network.take_back(before)
        )

    def test_a_longer_log_counts_before_the_name(self) -> None:
        """Who cannot win yields."""
        network = Network(3)
        network.load("b", [1, 1])
        network.load("c", [1])
        network.crash("a")
        for name in "cb":
            network[name].campaign()
        network.deliver()
        assert network.leaders == ["b"]

    def test_a_vote_given_ends_the_own_campaign(self) -> None:
        """A pre-candidate that has just elected somebody does not go on."""
        network = Network(3)
        network.settle()
        network["a"].campaign()
        network.ask(RequestVote(sender=B, receiver=A, term=1, last=ZERO))
        assert _role(network, "a") is Role.FOLLOWER
        network = Network(3)
        network.load("a", [], term=1)
        network["a"].campaign()
        (*_, answer) = network.ask(RequestVote(sender=B, receiver=A, term=1, last=ZERO))
        assert isinstance(answer, RequestVoteResponse)
        assert answer.granted
        assert _role(network, "a") is Role.FOLLOWER


class TestAlone:
    """A sole voter waits for nobody but itself."""

    def test_it_first_applies_what_is_committed(self) -> None:
        """Else each tick would search a long log for changes, only to be refused."""
        events: list[str] = []
        network = Network(1, trace=lambda event, _: events.append(event))
        network.run(1)
        network.change(
            "a", ConfChange((ConfChangeSingle(ConfChangeKind.ADD_LEARNER, member("l")),))
        )
        network.restart("a")
        network.peer("a").applies = False
        events.clear()
        network.tick("a", count=5)
        assert events == []
        network.peer("a").applies = True
        network.run(2)
        assert network.leaders == ["a"]


class TestLimits:
    """Everything has a bound."""

    def test_uncommitted_bytes(self) -> None:
        """Beyond the limit proposals are refused, and taken again after the commit."""
        network = Network(3, uncommitted_bytes_max=200)
        network.elect("a")
        network.isolate("a")
        network["a"].propose(b"x" * 100)
        with pytest.raises(Overloaded):
            network["a"].propose(b"x" * 100)
        network.heal()
        network.deliver()
        network.run(3)
        network["a"].propose(b"x" * 100)

    def test_one_proposal_always_fits(self) -> None:
        """A single entry larger than the limit is not refused for ever."""
        network = Network(3, uncommitted_bytes_max=10)
        network.elect("a")
        network.propose("a", b"x" * 100)
        assert network.values("b") == [b"x" * 100]

    def test_pages(self) -> None:
        """What may be applied comes in pages of bounded size."""
        network = Network(1, apply_bytes_max=100)
        network.run(1)
        network.peer("a").applies = False
        for _ in range(9):
            network.propose("a", b"x" * 10)
        sizes = []
        while network["a"].has_applicable():
            sizes.append(len(network["a"].take_applicable().entries))
        assert sizes == [2, 2, 2, 2, 1]

    def test_appends(self) -> None:
        """One append holds no more than its limit, but at least one entry."""
        network = Network(2, append_bytes_max=100)
        network.elect("a")
        before = len(network.log)
        for size in (10, 10, 10, 500):
            network["a"].propose(b"x" * size)
        network.pump(network.peer("a"))
        appends = [m for m in network.log[before:] if isinstance(m, AppendEntries)]
        assert [len(m.entries) for m in appends] == [2, 1, 1]

    def test_terms(self) -> None:
        """No campaign goes beyond the last term."""
        network = Network(3)
        network.load("a", [], term=TERM_MAX)
        network.campaign("a")
        assert (_role(network, "a"), network["a"].term) == (Role.FOLLOWER, TERM_MAX)

    def test_a_state_machine_ahead_of_the_configuration_is_refused(self) -> None:
        """The configuration in force is the newest snapshot's."""
        network = Network(1)
        with pytest.raises(AssertionError):
            RawNode(network.peer("a").config, MemoryStorage(conf_state=VOTERS), applied=1)

    def test_settings_that_cannot_work(self) -> None:
        """They are refused with what would be right."""
        with pytest.raises(InvalidRequest):
            Network(1, election_ticks=2, heartbeat_ticks=2)
        with pytest.raises(InvalidRequest):
            Network(1, reads_max=0)
        with pytest.raises(InvalidRequest):
            Network(1, inflight_bytes_max=1)
        with pytest.raises(InvalidRequest):
            Network(("",))


class TestStrangers:
    """What no correct node sends is refused, and changes nothing."""

    @pytest.mark.parametrize(
        "message",
        [
            Heartbeat(sender=B, receiver=C, term=1, commit=0, match=0, round=1),
            Heartbeat(sender=A, receiver=A, term=1, commit=0, match=0, round=1),
            Heartbeat(sender=B, receiver=A, term=0, commit=0, match=0, round=1),
            Heartbeat(sender=B, receiver=A, term=TERM_MAX + 1, commit=0, match=0, round=1),
            Heartbeat(sender=B, receiver=A, term=1, commit=2, match=1, round=1),
            Heartbeat(sender=B, receiver=A, term=1, commit=0, match=0, round=0),
            _append(2, EntryID(1, 1), Entry(1, 3)),
            _append(2, EntryID(2, 1), Entry(1, 2)),
            _append(2, EntryID(1, 1), Entry(3, 2)),
            _append(2, EntryID(3, 1)),
            _append(2, EntryID(1, -1)),
            ReadIndex(sender=B, receiver=A, term=1, read=ReadID(C, 1, 1)),
            InstallSnapshot(sender=B, receiver=A, term=1, snapshot=SnapshotMetadata(ZERO, VOTERS)),
            InstallSnapshot(
                sender=B, receiver=A, term=1, snapshot=SnapshotMetadata(EntryID(2, 1), VOTERS)
            ),
            InstallSnapshot(
                sender=B,
                receiver=A,
                term=1,
                snapshot=SnapshotMetadata(EntryID(1, 1), ConfState(learners=(A,))),
            ),
        ],
    )
    def test_malformed_messages(self, message: Message) -> None:
        """Each breaks one promise of its class."""
        network = Network(3)
        before = network["a"].status()
        with pytest.raises(RemoteProtocolError):
            network["a"].step(message)
        assert network["a"].status() == before

    def test_a_second_leader_of_one_term(self) -> None:
        """Election Safety: whoever claims it is wrong, and is not followed."""
        network = Network(3)
        network.elect("a")
        for receiver in "ab":
            claim = Heartbeat(
                sender=C, receiver=member(receiver), term=1, commit=0, match=0, round=1
            )
            with pytest.raises(RemoteProtocolError):
                network[receiver].step(claim)
        assert network["b"].leader == A

    def test_answers_to_what_was_never_sent(self) -> None:
        """An index or a round that this leader has not reached."""
        network = Network(3)
        network.elect("a")
        for message in (
            AppendEntriesResponse(sender=B, receiver=A, term=1, index=99),
            HeartbeatResponse(sender=B, receiver=A, term=1, round=99),
            HeartbeatResponse(sender=B, receiver=A, term=1, round=0),
        ):
            with pytest.raises(RemoteProtocolError):
                network["a"].step(message)

    def test_answers_of_strangers_count_for_nothing(self) -> None:
        """Only members have progress."""
        network = Network(3)
        network.elect("a")
        before = network["a"].status()
        z = member("z")
        network.ask(AppendEntriesResponse(sender=z, receiver=A, term=1, index=1))
        network.ask(HeartbeatResponse(sender=z, receiver=A, term=1, round=1))
        assert network["a"].status() == before

    def test_answers_to_who_leads_no_more(self) -> None:
        """They come too late for anything."""
        network = Network(3)
        network.elect("a")
        late = AppendEntriesResponse(sender=A, receiver=B, term=1, index=1)
        assert network.ask(late) == []

    def test_another_incarnation_is_another_member(self) -> None:
        """Its votes and answers count for nothing here."""
        network = Network(3, pre_vote=False)
        network["a"].campaign()
        network.pump(network.peer("a"))
        wiped = B._replace(incarnation=2)
        network.ask(RequestVoteResponse(sender=wiped, receiver=A, term=1, granted=True))
        assert _role(network, "a") is Role.CANDIDATE


class TestStatus:
    """What a node tells about itself."""

    def test_a_leader_tells_of_everybody(self) -> None:
        """State, match and next of each."""
        network = Network(3)
        network.elect("a")
        network.run(2)
        status = network["a"].status()
        assert (status.role, status.leader, status.applied, status.last) == (
            Role.LEADER,
            A,
            1,
            EntryID(1, 1),
        )
        assert {m.id: (p.state, p.match, p.recent_active) for m, p in status.peers.items()} == {
            "a": ("replicate", 1, True),
            "b": ("replicate", 1, True),
            "c": ("replicate", 1, True),
        }
        assert network["a"].own_term_applied
        assert network["a"].id == A
        assert network["b"].status().peers == {}
        assert not network["b"].own_term_applied

    def test_transitions_are_traced(self) -> None:
        """Who watches hears what the log of the first raftdb told."""
        events: list[str] = []
        network = Network(3, trace=lambda event, _: events.append(event))
        network.elect("a")
        network.deliver()
        for event in ("pre-candidate", "candidate", "campaign", "vote", "leader", "voted"):
            assert event in events
