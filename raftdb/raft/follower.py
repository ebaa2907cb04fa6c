"""Rules for Followers: what a leader's messages do here (Fig. 2, AppendEntries; Fig. 13)."""

from __future__ import annotations

from raftdb.errors import DataLost, RemoteProtocolError
from raftdb.raft import candidate
from raftdb.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    ReadIndexResponse,
    TimeoutNow,
)
from raftdb.raft.state import State
from raftdb.raft.types import EntryID, MemberID, ReadState, Role


def follow(state: State, leader: MemberID) -> None:
    """Recognise the sender as the leader of this term, and start its lease anew (Paper §5.2).

    :raises RemoteProtocolError: where the term has a leader already; nothing has changed then
    """
    if state.leader not in {None, leader}:
        raise RemoteProtocolError(f"{leader} and {state.leader} both claim term {state.term}")
    if state.role is not Role.FOLLOWER:
        state.become_follower(state.term, leader)
    if state.leader is None:
        state.leader = leader
        state.trace("following", leader=leader)
    state.yielded_to.clear()
    state.holds_precedence = True
    state.election_elapsed = 0


def check_lost_data(state: State, message: AppendEntries | Heartbeat) -> None:
    """Stop where this node has acknowledged more in this term than it has [R1].

    1. A, B and C; A leads; (1,5) is committed by A and B. 2. B's disk loses (1,5). 3. A crashes; B
    and C elect C, which never had it. The leader's ``match`` comes from our own acknowledgement in
    its term, and in one term a log never shrinks, so the comparison cannot err.

    :raises DataLost: the node must stop
    """
    if state.log.last_index < message.match:
        raise DataLost(
            f"this node acknowledged entries up to {message.match} in term {message.term}, but its"
            f" log ends at {state.log.last_index}: the disk has lost data; wipe the data directory"
            " and let it join anew"
        )


def handle_append(state: State, message: AppendEntries) -> None:
    """Take in the leader's entries (Fig. 2, AppendEntries receiver steps 2 to 5)."""
    log = state.log
    if message.previous.index < log.committed:
        # What is committed here is in every leader's log: nothing to compare.
        _accept(state, message, log.committed)
        return
    last = log.maybe_append(message.previous, message.entries)
    if last is None:
        asked = message.previous
        hint = log.find_conflict_by_term(EntryID(asked.term, min(asked.index, log.last_index)))
        state.send(
            AppendEntriesResponse(
                sender=state.id,
                receiver=message.sender,
                term=state.term,
                index=asked.index,
                rejected=True,
                hint=hint,
            )
        )
        return
    log.commit_to(min(message.commit, last))
    if last > message.match:
        _accept(state, message, last)
    # else the leader has our word for that already: mere news of a commit needs no answer


def handle_heartbeat(state: State, message: Heartbeat) -> None:
    """Answer at once; the commit is capped at what we acknowledged, so it is in our log.

    A node whose disk hangs does not answer: it follows, but it is of no use to its leader [R6].

    1. Seven voters; the leader A reaches B and C alone, and D, whose disk hangs. 2. B, C and D answer
    A's heartbeats, so CheckQuorum lets it lead; but D acknowledges nothing, so A commits nothing. 3.
    E, F, B and C are a healthy majority; but B and C hear their leader, and refuse E for ever.
    """
    state.log.commit_to(message.commit)
    if state.save_overdue:
        return
    state.send(
        HeartbeatResponse(
            sender=state.id,
            receiver=message.sender,
            term=state.term,
            round=message.round,
            full=state.full,
        )
    )


def handle_snapshot(state: State, message: InstallSnapshot) -> None:
    """Replace the log by a snapshot whose file is durable here (Fig. 13, steps 6 to 8).

    A configuration without this node is taken, too, unlike etcd's: the newest snapshot may be older
    than the entry that adds it, and that entry follows.
    """
    log, snapshot = state.log, message.snapshot
    if snapshot.last.index <= log.committed:
        _accept(state, message, log.committed)
        return
    if log.matches(snapshot.last):
        # Fig. 13, step 6: the entries behind it stay; there is nothing to install.
        log.commit_to(snapshot.last.index)
        _accept(state, message, log.committed)
        return
    assert not state.handed_out_changes, "a page is applied without suspension"
    log.restore(snapshot)
    state.tracker.adopt(snapshot.conf_state, next_index=log.last_index + 1)
    state.trace("snapshot", index=snapshot.last.index)
    _accept(state, message, log.last_index)


def handle_timeout_now(state: State, message: TimeoutNow) -> None:
    """Campaign at once, because the leader asks for it (Thesis §3.10)."""
    if state.role is Role.FOLLOWER and state.leader == message.sender:
        candidate.campaign(state, transfer=True)


def handle_read_index_response(state: State, message: ReadIndexResponse) -> None:
    """Hand out a confirmed read that is ours and of this process [R12].

    1. A node asks for read 1, crashes and restarts. 2. Its new read 1 is asked for. 3. The answer to
    the old one arrives, with an index from before writes that the new one must see. The boot nonce
    tells them apart.
    """
    ours = message.read.requester == state.id and message.read.boot == state.config.boot
    if ours and message.index > 0:
        state.read_states.append(ReadState(message.read, message.index))


def _accept(state: State, message: Message, index: int) -> None:
    """Promise that this log equals the leader's up to ``index``, once that is durable."""
    state.send(
        AppendEntriesResponse(
            sender=state.id,
            receiver=message.sender,
            term=state.term,
            index=index,
        )
    )


def forget_leader(state: State) -> None:
    """Drop the lease of a leader that this node knows to be dead [R10]."""
    if state.role is Role.FOLLOWER and state.leader is not None:
        state.trace("forgot leader", leader=state.leader)
        state.leader = None
