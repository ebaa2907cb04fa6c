"""RawNode: the only door to the core. Inputs are methods; outputs come in three kinds.

``take_messages`` leaves at once, ``take_applicable`` is committed and durable, ``ready`` must become
durable first. A caller drives it as the module docstring of :mod:`raftdb.replica` shows; it is not
reentrant and knows no clock.
"""

from __future__ import annotations

from raftdb.errors import LocalProtocolError
from raftdb.raft import (
    candidate,
    follower,
    leader,
    reconfiguration,
    replication,
    step,
    transfer,
)
from raftdb.raft.config import Config
from raftdb.raft.messages import Message, ReadIndex
from raftdb.raft.ready import Applicable, PeerStatus, Ready, Status
from raftdb.raft.state import State
from raftdb.raft.storage import LogReader
from raftdb.raft.types import (
    ConfChange,
    ConfState,
    EntryID,
    HardState,
    MemberID,
    ReadID,
    Role,
    SnapshotMetadata,
)


class RawNode:
    """One member of a Raft cluster, without clock, disk or network.

    :param config: who it is, and its limits
    :param storage: what is durable
    :param applied: where the restored state machine stands: at the newest snapshot, or before it;
        then the first :class:`~raftdb.raft.ready.Applicable` hands that snapshot out
    :raises DataLost: if what was durable contradicts itself [R1]
    """

    def __init__(self, config: Config, storage: LogReader, *, applied: int = 0) -> None:
        self.state = State(config, storage, applied=applied)
        """Everything inside, for invariants and tests; nobody else looks there."""

    # -- inputs --

    def tick(self, elapsed: int = 1) -> None:
        """Let time pass.

        :param elapsed: ticks since the last call, 1 or more. A leader counts all of them, a
            follower one [R13].
        """
        step.tick(self.state, elapsed)

    def campaign(self) -> None:
        """Try to become leader now; nothing happens where something stands in the way."""
        candidate.campaign(self.state)

    def step(self, message: Message) -> None:
        """Take in a message from another member.

        :raises RemoteProtocolError: for what no correct node sends: drop it, nothing has changed
        :raises DataLost: if this node has lost what it acknowledged: stop it [R1]
        """
        step.step(self.state, message)

    def propose(self, data: bytes) -> EntryID:
        """Append a proposal to the leader's log.

        It is committed if and only if an entry of this name is applied.

        :raises NotLeader: naming who leads
        :raises NoLeader: if nobody is known to
        :raises ProposalDropped: while leadership is being handed over, or the disk hangs
        :raises Overloaded: beyond ``uncommitted_bytes_max``
        """
        return leader.propose(self.state, data)

    def propose_conf_change(self, change: ConfChange) -> EntryID:
        """Append a change of the configuration to the leader's log (Thesis §4.1).

        :raises MembershipBusy: naming the guard that forbids it for now
        :raises ConfChangeError: where it makes no sense
        :raises NotLeader: or what else :meth:`propose` raises
        """
        return reconfiguration.propose(self.state, change)

    def read_index(self) -> ReadID:
        """Ask for a linearizable read; the answer comes in ``Applicable.reads`` (Thesis §6.4).

        A request can be lost, with a message or a leader: ask again after an election timeout.

        :raises NoLeader: if nobody is known to lead
        :raises Overloaded: beyond ``reads_max``
        """
        state = self.state
        if state.role is Role.LEADER:
            read = state.next_read()
            leader.read(state, read)
            return read
        if state.leader is None:
            state.require_leader()
        assert state.leader is not None
        read = state.next_read()
        state.send(ReadIndex(sender=state.id, receiver=state.leader, term=state.term, read=read))
        return read

    def transfer_leadership(self, to: MemberID) -> None:
        """Hand leadership to ``to`` (Thesis §3.10); given up after an election timeout.

        :raises NotLeader: naming who leads
        :raises NoLeader: if nobody is known to
        :raises InvalidRequest: if ``to`` does not vote
        """
        transfer.begin(self.state, to)

    def forget_leader(self) -> None:
        """Drop the own lease on own evidence that the leader is dead [R10].

        This node then grants votes and, if asked to campaign, is not stopped by its own lease. A
        leader that lives after all is followed again with its next message.
        """
        follower.forget_leader(self.state)

    def report_unreachable(self, peer: MemberID) -> None:
        """Note that messages to ``peer`` were dropped."""
        leader.report_unreachable(self.state, peer)

    def report_full(self, full: bool) -> None:
        """Note whether appends have been dropped for lack of room, for an election timeout [R6].

        The leader hears of it with the next heartbeat's answer, and may hand over to somebody who
        reaches more members that store.
        """
        self.state.full = full

    def report_snapshot(self, peer: MemberID, ok: bool) -> None:
        """Note how the snapshot to ``peer`` ended; every InstallSnapshot must be reported once."""
        leader.report_snapshot(self.state, peer, ok=ok)

    def apply_conf_change(self, change: ConfChange) -> ConfState:
        """Put a change in force; exactly once per change entry of a page, in order, at once.

        :return: the configuration from that entry on
        :raises LocalProtocolError: where it is not the next change that was handed out
        """
        return reconfiguration.apply(self.state, change)

    def restored(self, metadata: SnapshotMetadata) -> None:
        """Note that the state machine now stands at the snapshot that was handed out.

        :raises LocalProtocolError: where it was not handed out
        """
        if self.state.installing != metadata:
            raise LocalProtocolError(f"the snapshot at {metadata.last} was not handed out")
        self.state.installing = None
        self.state.log.restored(metadata)

    # -- output 1: what leaves at once --

    def has_messages(self, *, news: bool = True) -> bool:
        """Whether :meth:`take_messages` has anything."""
        urgent, has_news = self.pending_sends()
        return urgent or (news and has_news)

    def pending_sends(self) -> tuple[bool, bool]:
        """Whether ``take_messages(news=False)`` has anything, and whether it holds something back."""
        state = self.state
        if state.role is not Role.LEADER:
            return bool(state.messages), False
        urgent, news = replication.pending_sends(state)
        return urgent or bool(state.messages), news

    def take_messages(self, *, news: bool = True) -> list[Message]:
        """Return what may be sent at once, and compute what the followers are to get.

        :param news: False holds back appends that only tell of a commit: the next append with
            entries tells it, too. Whoever holds them back sends them soon all the same
        """
        state = self.state
        if state.role is Role.LEADER:
            replication.flush(state, news=news)
            leader.confirm_reads(state)
        taken, state.messages = state.messages, []
        return taken

    # -- output 2: what may be applied --

    def has_applicable(self) -> bool:
        """Whether :meth:`take_applicable` has anything."""
        state = self.state
        if state.read_states:
            return True
        if not state.log.has_next_committed() and state.log.restoring is None:
            return False  # as nearly always, and it is asked with every message
        return state.installing is None and not state.waits_for_commit_save

    def take_applicable(self) -> Applicable:
        """Return the next page; its entries count as applied from now on.

        :raises LocalProtocolError: while changes of the page before are not answered
        """
        state = self.state
        if state.handed_out_changes:
            raise LocalProtocolError("the page before has changes that were not applied")
        reads, state.read_states = tuple(state.read_states), []
        if state.installing is not None:
            return Applicable(reads=reads)
        if state.log.restoring is not None:
            state.installing = state.log.restoring
            return Applicable(snapshot=state.installing, reads=reads)
        entries = reconfiguration.up_to_unsaved_change(
            state, state.log.next_committed(state.config.apply_bytes_max)
        )
        if entries:
            state.log.applied_to(entries[-1].index)
        for entry in entries:
            if entry.change is not None:
                state.handed_out_changes.append(entry.change)
            if state.role is Role.LEADER and entry.term == state.term:
                state.uncommitted_bytes -= entry.size
        return Applicable(entries=entries, reads=reads)

    # -- output 3: what must become durable --

    def has_ready(self) -> bool:
        """Whether :meth:`ready` has anything; not while one is outstanding."""
        state = self.state
        return state.outstanding is None and (bool(state.persisted_messages) or self._must_save())

    def ready(self) -> Ready:
        """Return what must become durable now, as one batch; the answer is :meth:`advance`.

        :raises LocalProtocolError: while one is outstanding
        """
        state = self.state
        if state.outstanding is not None:
            raise LocalProtocolError("a Ready is outstanding; advance it first")
        hard_state = None
        if self._must_save():
            # With the commit, whenever there are entries [R2]; all of it is in this batch or before.
            hard_state = HardState(state.term, state.vote, state.log.committed)
        ready = Ready(
            hard_state=hard_state,
            entries=state.log.unstable_entries(),
            snapshot=state.log.unstable_snapshot,
            persisted_messages=tuple(state.persisted_messages),
        )
        state.persisted_messages = []
        state.outstanding = ready
        return ready

    def _must_save(self) -> bool:
        state, durable = self.state, self.state.durable
        return (
            state.log.has_unstable_entries()
            or state.log.unstable_snapshot is not None
            or state.waits_for_commit_save
            or state.term != durable.term
            or state.vote != durable.vote
        )

    def advance(self, ready: Ready) -> None:
        """Note that ``ready`` is durable and its messages are sent.

        :raises LocalProtocolError: where it is not the outstanding one
        """
        state = self.state
        if state.outstanding is not ready:
            raise LocalProtocolError("this Ready is not the outstanding one")
        state.outstanding = None
        state.save_elapsed = 0
        state.disk_transfer_tried = False
        if ready.hard_state is not None:
            state.durable = ready.hard_state
        if ready.snapshot is not None:
            state.log.stable_snapshot(ready.snapshot)
        state.log.stable_entries(ready.entries)
        if state.role is Role.LEADER:
            leader.saved(state)
        else:
            candidate.saved(state)

    # -- looking in --

    @property
    def standing(self) -> tuple[Role, MemberID | None, int]:
        """What it is just now, who leads, and in which term."""
        state = self.state
        return state.role, state.leader, state.term

    @property
    def id(self) -> MemberID:
        """Who this node is."""
        return self.state.id

    @property
    def role(self) -> Role:
        """What it is just now."""
        return self.state.role

    @property
    def leader(self) -> MemberID | None:
        """Who leads, as far as it knows."""
        return self.state.leader

    @property
    def term(self) -> int:
        """Its current term."""
        return self.state.term

    @property
    def commit(self) -> int:
        """The highest index it knows to be committed."""
        return self.state.log.committed

    @property
    def applied(self) -> int:
        """The highest index it has handed out for applying."""
        return self.state.log.applied

    @property
    def round(self) -> int:
        """The latest heartbeat round this leader began in its term, 0 for none."""
        return self.state.reads.round

    @property
    def round_acknowledged(self) -> int:
        """The latest round that a quorum has answered, 0 for none."""
        return self.state.reads.acknowledged

    @property
    def missing(self) -> tuple[MemberID, ...]:
        """The other voters that have not answered this leader lately, or this campaign at all."""
        return self.state.missing

    @property
    def conf_state(self) -> ConfState:
        """The configuration in force."""
        return self.state.tracker.conf_state

    @property
    def own_term_applied(self) -> bool:
        """Whether it leads and has applied an entry of its term: its state is then current."""
        return self.role is Role.LEADER and self.applied >= self.state.term_start

    @property
    def save_overdue(self) -> bool:
        """Whether a Ready is outstanding for longer than an election timeout [R6]."""
        return self.state.save_overdue

    def status(self) -> Status:
        """Return a picture of the whole."""
        state = self.state
        peers: dict[MemberID, PeerStatus] = {}
        if state.role is Role.LEADER:
            peers = {
                member: PeerStatus(pr.state.value, pr.match, pr.next, pr.recent_active, pr.full)
                for member, pr in state.tracker.progress.items()
            }
        return Status(
            id=state.id,
            role=state.role,
            leader=state.leader,
            hard_state=HardState(state.term, state.vote, state.log.committed),
            conf_state=self.conf_state,
            applied=self.applied,
            first_index=state.log.first_index,
            last=state.log.last,
            peers=peers,
            round=self.round,
            round_acknowledged=self.round_acknowledged,
            transferee=state.transferee,
        )
