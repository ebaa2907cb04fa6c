"""A core that is watched from outside: what each of its calls means in the specification's words.

The production core knows nothing of traces. This one calls it, compares the node's variables before
and after, looks at what it wants to send, and tells the difference as events, in the order in which
the specification takes its steps. What the specification cannot follow is kept away from the core as
if the network had lost it, or refused as if a guard of the core forbade it; ``docs/traces.md`` lists
all of it.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from raftdb.errors import ConfChangeError
from raftdb.raft import voter
from raftdb.raft.candidate import unapplied_change
from raftdb.raft.config import Config
from raftdb.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    ReadIndex,
    ReadIndexResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from raftdb.raft.node import RawNode
from raftdb.raft.ready import Ready
from raftdb.raft.storage import LogReader
from raftdb.raft.types import (
    ZERO,
    ConfChange,
    ConfChangeKind,
    ConfState,
    EntryID,
    HardState,
    MemberID,
    Role,
    Transition,
)
from raftdb.simulation.disk.memory_disk import Platter
from raftdb.simulation.trace.format import (
    CANDIDATE,
    FOLLOWER,
    LEADER,
    NOBODY,
    SingleChange,
    TraceChange,
    TraceMessage,
    in_trace,
)
from raftdb.simulation.trace.trace import Sent, Trace, TraceError

ROLES = {Role.FOLLOWER: FOLLOWER, Role.CANDIDATE: CANDIDATE, Role.LEADER: LEADER}
ACTIONS = {
    ConfChangeKind.ADD_VOTER: "AddNewServer",
    ConfChangeKind.ADD_LEARNER: "AddLearner",
    ConfChangeKind.REMOVE: "RemoveServer",
}
FromLeader: TypeAlias = AppendEntries | Heartbeat | InstallSnapshot


class TracedNode(RawNode):
    """A core whose calls are told to a trace.

    :param trace: takes the events
    :param config: as for the core; pre-votes have to be off
    :param storage: as for the core; it must hold all that the node had when it died
    """

    def __init__(self, trace: Trace, config: Config, storage: LogReader) -> None:
        assert not config.pre_vote, "the specification knows no pre-votes"
        super().__init__(config, storage)
        self._trace = trace
        self._view = trace.begins(self.state)
        self._told = 0
        """How many of the messages that may leave at once are told."""
        self._told_later = 0
        """How many of those that wait for the disk are told."""
        self._own_vote_counts = False
        self._compare()

    # -- inputs ---------------------------------------------------------------------------------

    def tick(self, elapsed: int = 1) -> None:
        """Let time pass."""
        super().tick(elapsed)
        self._tell()

    def campaign(self) -> None:
        """Try to become leader."""
        super().campaign()
        self._tell()

    def propose(self, data: bytes) -> EntryID:
        """Append a proposal."""
        entry = super().propose(data)
        self._tell()
        return entry

    def propose_conf_change(self, change: ConfChange) -> EntryID:
        """Append a change, if the specification allows it.

        :raises ConfChangeError: it does not: it knows no joint configurations, and a leader whose
            change was lost in an earlier term may never propose another one there
        """
        self._refuse_unknown(change)
        entry = super().propose_conf_change(change)
        self._tell()
        return entry

    def transfer_leadership(self, to: MemberID) -> None:
        """Hand leadership to another member."""
        super().transfer_leadership(to)
        self._tell()

    def apply_conf_change(self, change: ConfChange) -> ConfState:
        """Put a change in force."""
        conf_state = super().apply_conf_change(change)
        self._tell()
        return conf_state

    def step(self, message: Message) -> None:
        """Take in a message, unless the specification says that it is lost."""
        if isinstance(message, RequestVote | RequestVoteResponse):
            # Voters of the specification do not learn commit indexes from each other.
            message = msgspec.structs.replace(message, commit=ZERO)
        told = in_trace(message, self._trace.number)
        if self._is_lost(message, told):
            return
        super().step(message)
        if told is not None:
            self._tell_received(message, self._trace.received(self._view, told))
        self._tell()

    # -- outputs --------------------------------------------------------------------------------

    def take_messages(self, *, news: bool = True) -> list[Message]:
        """Return what may be sent at once."""
        taken = super().take_messages(news=news)
        told = [in_trace(message, self._trace.number) for message in taken]
        for message, form in zip(taken[self._told :], told[self._told :], strict=True):
            self._tell_sent(message, form)
        self._told = 0
        self._compare()
        if any(form is not None for form in told):
            self._trace.ready(self._view)
        return taken

    def ready(self) -> Ready:
        """Return what must become durable; a leader's answer to itself is on its way with it."""
        ready = super().ready()
        self._told_later = 0
        if self._view.role == LEADER and ready.entries and self.id in self.state.tracker.progress:
            self._trace.sent(self._view, self._to_itself("MsgAppResp", self.state.log.last_index))
        return ready

    def advance(self, ready: Ready) -> None:
        """Note that it is durable; a node's own vote, and its own answer, count from now on."""
        state, view, trace = self.state, self._view, self._trace
        trace.ready(view)
        saved = ready.hard_state
        if self._own_vote_counts and saved and (saved.term, saved.vote) == (state.term, self.id):
            self._own_vote_counts = False
            trace.received(view, self._to_itself("MsgVoteResp"))
        own = state.tracker.progress.get(self.id) if view.role == LEADER else None
        match = None if own is None else own.match
        super().advance(ready)
        if match is not None and state.log.durable > match:
            trace.received(view, self._to_itself("MsgAppResp", state.log.durable))
        self._tell()

    def dies(self, disk: Platter) -> None:
        """Note the node's end, and leave all that it knows on its disk, the commit index, too."""
        state = self.state
        self._trace.ready(self._view)
        snapshot = state.log.unstable_snapshot
        if snapshot is not None and snapshot.last.index > disk.log.snapshot().last.index:
            disk.log.apply_snapshot(snapshot)
        disk.log.append(state.log.unstable_entries())
        disk.log.set_hard_state(HardState(state.term, state.vote, state.log.committed))

    # -- what the specification does not know -----------------------------------------------------

    def _is_lost(self, message: Message, told: TraceMessage | None) -> bool:
        state = self.state
        match message:
            case TimeoutNow() | ReadIndex() | ReadIndexResponse():
                # A term must not be learned from a message that does not exist there.
                return message.term > state.term
            case RequestVote() if message.term >= state.term:
                # Who has a leader in this term, but has not voted in it, would grant there.
                has_leader = message.term == state.term and state.leader is not None
                return voter.ignores(state, message) or (has_leader and state.vote is None)
            case AppendEntriesResponse() | HeartbeatResponse():
                stranger = message.sender not in state.tracker.progress
                if state.role is Role.LEADER and message.term == state.term and stranger:
                    return True
            case _:
                pass
        return told is not None and not self._trace.can_arrive(told)

    def _refuse_unknown(self, change: ConfChange) -> None:
        state, view = self.state, self._view
        if len(change.changes) != 1 or change.transition is not Transition.AUTO:
            raise ConfChangeError("the specification knows no joint configurations")
        [(kind, member)] = change.changes
        conf_state = state.tracker.conf_state
        members = conf_state.members if kind is ConfChangeKind.ADD_LEARNER else conf_state.voters
        if kind is ConfChangeKind.REMOVE:
            possible = member in conf_state.members
        else:
            possible = member not in members
        if view.pending or not possible:
            raise ConfChangeError("the specification cannot follow this change")
        # Its QuorumLogInv asks the voters in force at a member, also at one that is two changes late.
        late = [one.id for one in conf_state.members if not self._trace.knows(one, view.voters)]
        if late:
            raise ConfChangeError(f"{late} have not applied the change before")

    # -- telling --------------------------------------------------------------------------------

    def _tell_received(self, message: Message, sent: Sent) -> None:
        """Bring the view from before a receipt to what the specification's receipt makes of it."""
        view, state = self._view, self.state
        commit = view.commit
        role, view.role = view.role, FOLLOWER
        if message.term > view.term:
            view.term, view.vote = message.term, NOBODY
            self._trace.tell(view, "BecomeFollower")
        elif role == CANDIDATE and message.term == view.term and isinstance(message, FromLeader):
            self._trace.tell(view, "BecomeFollower")
        else:
            view.role = role
        if isinstance(message, RequestVote):
            view.vote = self._vote()
        elif isinstance(message, FromLeader) and message.term == view.term:
            view.commit = state.log.committed
            if isinstance(message, AppendEntries):
                new = [entry.term for entry in message.entries]
            else:
                new = sent.terms[sent.message.index :]
            _append(view.terms, sent.message, new, commit)

    def _tell(self) -> None:
        """Tell what has happened since the last event, and what is to be sent."""
        state, view, trace = self.state, self._view, self._trace
        if state.role is Role.CANDIDATE and state.term > view.term:
            view.term, view.vote, view.role = state.term, view.nid, CANDIDATE
            trace.tell(view, "BecomeCandidate")
            trace.sent(view, self._to_itself("MsgVoteResp"))
            self._own_vote_counts = True
        if state.role is Role.LEADER and view.role == CANDIDATE:
            view.role = LEADER
            trace.tell(view, "BecomeLeader")
        self._tell_configuration()
        if view.role == LEADER:
            self._tell_appended()
            if state.log.committed > view.commit:
                view.commit = state.log.committed
                trace.tell(view, "Commit")
        if state.role is Role.FOLLOWER and view.role != FOLLOWER and state.term == view.term:
            view.role = FOLLOWER
            trace.tell(view, "BecomeFollower")
        for message in state.messages[self._told :]:
            self._tell_sent(message, in_trace(message, trace.number))
        for message in state.persisted_messages[self._told_later :]:
            self._tell_sent(message, in_trace(message, trace.number))
        self._told, self._told_later = len(state.messages), len(state.persisted_messages)
        self._compare()

    def _tell_configuration(self) -> None:
        """Tell a configuration once it is the last committed one: before, it decides nothing."""
        state, view, trace = self.state, self._view, self._trace
        conf_state = state.tracker.conf_state
        voters, learners = trace.numbers(conf_state.voters), trace.numbers(conf_state.learners)
        if not view.voters and self.id not in conf_state.members:
            # It is still on the way to the entry that adds it; there each founding entry brings
            # all founders, not one.
            return
        if (voters, learners) == (view.voters, view.learners) or self._change_waits():
            return
        trace.tell(view, "ApplyConfChange", change=TraceChange(newconf=voters))
        view.voters, view.learners = voters, learners
        if view.role == LEADER and view.pending and not self._changed_behind(view.pending):
            view.pending = 0

    def _changed_behind(self, index: int) -> bool:
        """Whether another change is committed behind one that was proposed, as far as is known."""
        log = self.state.log
        if index >= log.committed:
            return False
        if index + 1 < log.first_index:
            return True
        entries = log.entries(index + 1, log.committed + 1, 1 << 60)
        return any(entry.change is not None for entry in entries)

    def _change_waits(self) -> bool:
        """Whether a committed change is still to be applied."""
        state = self.state
        if state.handed_out_changes:
            return True
        if state.snapshot_pending:
            # What is behind the snapshot follows; the configuration is the snapshot's already.
            log = state.log
            loading = log.unstable_snapshot or log.restoring or state.installing
            assert loading is not None
            lo = max(loading.last.index + 1, log.first_index)
            entries = log.entries(lo, log.committed + 1, 1 << 60) if lo <= log.committed else ()
            return any(entry.change is not None for entry in entries)
        return unapplied_change(state)

    def _tell_appended(self) -> None:
        log, view, trace = self.state.log, self._view, self._trace
        if log.last_index == view.last:
            return
        for entry in log.entries(view.last + 1, log.last_index + 1, 1 << 60):
            view.terms.append(entry.term)
            if entry.change is None:
                trace.tell(view, "Replicate")
                continue
            [(kind, member)] = entry.change.changes
            trace.introduce(member)
            view.pending = entry.index
            single = SingleChange(trace.number(member), ACTIONS[kind])
            trace.tell(view, "ChangeConf", change=TraceChange(changes=(single,)))

    def _tell_sent(self, message: Message, form: TraceMessage | None) -> None:
        if form is not None:
            progress = self.state.tracker.progress.get(message.receiver)
            self._trace.sent(self._view, form, match=0 if progress is None else progress.match)

    def _to_itself(self, kind: str, index: int = 0) -> TraceMessage:
        nid = self._view.nid
        return TraceMessage(kind, self._view.term, nid, nid, index=index)

    def _vote(self) -> str:
        return NOBODY if self.state.vote is None else self._trace.number(self.state.vote)

    def _compare(self) -> None:
        """See to it that the trace has told everything.

        :raises TraceError: it has not
        """
        state, view = self.state, self._view
        log = state.log
        is_so = (state.term, self._vote(), ROLES[state.role], log.committed, log.last_index)
        told = (view.term, view.vote, view.role, view.commit, view.last)
        if is_so != told:
            raise TraceError(f"{self.id.id} is {is_so}, but was told to be {told}")


def _append(terms: list[int], message: TraceMessage, new: list[int], commit: int) -> None:
    """Do to a log what an append does: nothing before its first conflict is taken back."""
    index = message.index
    if index < commit or index > len(terms) or (index and terms[index - 1] != message.log_term):
        return
    for place, term in enumerate(new, index):
        if place >= len(terms) or terms[place] != term:
            terms[place:] = new[place - index :]
            return
