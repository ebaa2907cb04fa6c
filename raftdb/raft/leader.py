"""Rules for Leaders (Fig. 2): proposals, answers, the commit rule, reads, CheckQuorum.

What goes out to the followers is :mod:`~raftdb.raft.replication`'s question.
"""

from __future__ import annotations

from typing import assert_never

from raftdb.errors import Overloaded, ProposalDropped, RemoteProtocolError
from raftdb.raft import replication, transfer
from raftdb.raft.messages import (
    AppendEntriesResponse,
    HeartbeatResponse,
    ReadIndex,
    ReadIndexResponse,
    TimeoutNow,
)
from raftdb.raft.progress import Progress, ProgressState
from raftdb.raft.state import State
from raftdb.raft.types import ConfChange, Entry, EntryID, MemberID, ReadID, ReadState, Role


def lead(state: State) -> None:
    """Begin to lead: open the term with an entry of its own (Paper §8; §5.4.2, Fig. 8).

    Entries of earlier terms are never committed by counting, only together with this one.
    """
    state.become_leader()
    state.term_start = append(state).index
    # Any change in the log before it, committed or not, has to be applied first [R2].
    state.pending_conf_index = state.term_start


# -- proposals --


def propose(state: State, data: bytes = b"", change: ConfChange | None = None) -> EntryID:
    """Take a proposal into the log and return the name of its entry.

    :raises NotLeader: naming who leads
    :raises NoLeader: if nobody is known to
    :raises ProposalDropped: while leadership is being handed over, or the disk hangs [R6], or after
        the own removal
    :raises Overloaded: beyond ``uncommitted_bytes_max``
    """
    state.require_leader()
    if state.retires_at:
        raise ProposalDropped("this leader is not in the new configuration")
    if state.transferee is not None:
        raise ProposalDropped(f"leadership is being handed over to {state.transferee}")
    if state.save_overdue:
        raise ProposalDropped("the disk has not answered for longer than an election timeout")
    entry = _next_entry(state, data, change)
    limit = state.config.uncommitted_bytes_max
    if state.uncommitted_bytes and state.uncommitted_bytes + entry.size > limit:
        raise Overloaded(f"{state.uncommitted_bytes} of {limit} bytes are not committed yet")
    return _append(state, entry)


def append(state: State, change: ConfChange | None = None) -> EntryID:
    """Append an entry of the leader's own, which no limit stops; without data unless a change."""
    return _append(state, _next_entry(state, b"", change))


def _next_entry(state: State, data: bytes, change: ConfChange | None) -> Entry:
    return Entry(term=state.term, index=state.log.last_index + 1, data=data, change=change)


def _append(state: State, entry: Entry) -> EntryID:
    """Append to the own log alone; the own match moves only with the save [R7b]."""
    state.uncommitted_bytes += entry.size
    state.log.append((entry,))
    return entry.id


def saved(state: State) -> None:
    """Count the leader itself for what its own disk has now (Thesis §10.2.1) [R7b]."""
    own = state.tracker.progress.get(state.id)
    if own is not None and own.maybe_update(state.log.durable):
        maybe_commit(state)


def maybe_commit(state: State) -> None:
    """Move the commit index to what a quorum has, if its term is the own one (Fig. 8)."""
    index = state.tracker.committed()
    if index > state.log.committed and state.log.term(index) == state.term:
        state.log.commit_to(index)
        _maybe_retire(state)


def _maybe_retire(state: State) -> None:
    """Step down after the own removal, once the others can go on alone (Thesis §4.2.2).

    The thesis's leader goes when C(new) is committed, because with it a configuration is in force
    when it is appended. Here it is in force when applied, so the leader waits until an entry behind
    the change is committed without it: whoever has that entry has heard that the change is committed
    and keeps it over a restart [R2].
    """
    if not 0 < state.retires_at <= state.log.committed:
        return
    successor = transfer.successor(state)
    if successor is not None:
        state.send(TimeoutNow(sender=state.id, receiver=successor, term=state.term))
    state.trace("stepped down", reason="removed")
    state.become_follower(state.term, None)


# -- answers --


def handle_append_response(state: State, message: AppendEntriesResponse) -> None:
    """Note what a follower has, or probe further down (Fig. 2, Leaders)."""
    progress = state.tracker.progress.get(message.sender)
    if progress is None:
        return
    if message.index > state.log.last_index:
        raise RemoteProtocolError(f"{message.sender} answers for {message.index}, never sent")
    progress.recent_active = True
    if message.rejected:
        _rejected(state, progress, message)
    else:
        _accepted(state, message.sender, progress, message.index)


def _rejected(state: State, progress: Progress, message: AppendEntriesResponse) -> None:
    hint = state.log.find_conflict_by_term(message.hint).index
    if (
        progress.maybe_decr_to(rejected=message.index, hint=hint)
        and progress.state is ProgressState.REPLICATE
    ):
        progress.become_probe()


def _accepted(state: State, member: MemberID, progress: Progress, index: int) -> None:
    news = progress.maybe_update(index)
    match progress.state:
        case ProgressState.PROBE:
            # Not by a late answer to what was sent before a snapshot: that would be sent once more.
            if news and progress.match == progress.next - 1:
                progress.become_replicate()
        case ProgressState.SNAPSHOT:
            if progress.match >= state.log.first_index - 1:
                progress.become_replicate()
        case ProgressState.REPLICATE:
            pass
        case _:
            assert_never(progress.state)
    if news:
        maybe_commit(state)
        transfer.maybe_let_go(state, member)


def handle_heartbeat_response(state: State, message: HeartbeatResponse) -> None:
    """Note that a follower lives and follows; confirm the reads of the round it answers."""
    progress = state.tracker.progress.get(message.sender)
    if progress is None:
        return
    if not 0 < message.round <= state.reads.round:
        raise RemoteProtocolError(f"{message.sender} answers round {message.round}, never sent")
    progress.recent_active = True
    progress.full = message.full
    if progress.heartbeat_answered():
        state.probe_requested[message.sender] = None
    state.reads.answered(message.sender, message.round)
    confirm_reads(state)


# -- reads --


def read(state: State, read_id: ReadID) -> None:
    """Register an own read for the next round.

    :raises Overloaded: beyond ``reads_max``
    """
    if not state.reads.add(read_id):
        raise Overloaded(f"{state.config.reads_max} reads are waiting for their round")


def handle_read_index(state: State, message: ReadIndex) -> None:
    """Register a follower's read for the next round (Thesis §6.4, end)."""
    if message.sender in state.tracker.progress and not state.reads.add(message.read):
        _answer_read(state, ReadState(message.read, 0))


def confirm_reads(state: State) -> None:
    """Hand out what a quorum has confirmed by now."""
    for confirmed in state.reads.confirm(state.tracker.voters):
        _answer_read(state, confirmed)


def _answer_read(state: State, confirmed: ReadState) -> None:
    requester = confirmed.id.requester
    if requester == state.id:
        state.read_states.append(confirmed)
        return
    state.send(
        ReadIndexResponse(
            sender=state.id,
            receiver=requester,
            term=state.term,
            read=confirmed.id,
            index=confirmed.index,
        )
    )


# -- time, and what the transport reports --


def tick(state: State, elapsed: int) -> None:
    """Keep the leases (Fig. 2, Leaders), and give up leading where that has become empty."""
    _check_quorum(state, elapsed)
    if state.role is Role.LEADER:
        transfer.tick(state, elapsed)
        transfer.watch_disk(state)
    if state.role is Role.LEADER:
        state.heartbeat_elapsed += elapsed
        if state.heartbeat_elapsed >= state.config.heartbeat_ticks:
            replication.begin_round(state)
            confirm_reads(state)


def _check_quorum(state: State, elapsed: int) -> None:
    """Step down without a quorum for an election timeout (Thesis §6.2), by elapsed time [R13].

    1. The leader's process is paused for ten seconds. 2. By counting calls it would go on as if
    nothing had passed, answering from a lease that ended long ago.
    """
    state.election_elapsed += elapsed
    if state.election_elapsed < state.config.election_ticks or not state.config.check_quorum:
        return
    state.election_elapsed = 0
    if not state.tracker.quorum_active():
        missing = ", ".join(member.id for member in state.missing)
        state.trace("stepped down", reason=f"no quorum, for nothing came from {missing}")
        state.become_follower(state.term, None)
        return
    transfer.watch_room(state)
    transfer.watch_reach(state)
    if state.role is not Role.LEADER:
        return
    for _, progress in state.peers:
        progress.recent_active = False


def report_unreachable(state: State, member: MemberID) -> None:
    """Doubt what is in flight to ``member``, if anything is: some of it was dropped."""
    progress = state.tracker.progress.get(member)
    if progress is None or progress.match == state.log.last_index:
        return
    if progress.state is ProgressState.REPLICATE:
        progress.become_probe()


def report_snapshot(state: State, member: MemberID, *, ok: bool) -> None:
    """Note how the snapshot under way to ``member`` ended."""
    progress = state.tracker.progress.get(member)
    if progress is None or progress.state is not ProgressState.SNAPSHOT:
        return
    if ok:
        progress.become_probe()
    else:
        progress.snapshot_failed()
    # Until the member answers, or a heartbeat shows that it lives, more would be sent in vain.
    progress.msg_app_flow_paused = True
