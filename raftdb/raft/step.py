"""Rules for All Servers (Fig. 2): the term rule, then to whom a message belongs; and time."""

from __future__ import annotations

from typing import assert_never

from raftdb.raft import candidate, follower, guard, leader, reconfiguration, voter
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
    ReadIndexResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from raftdb.raft.state import State
from raftdb.raft.types import Role


def step(state: State, message: Message) -> None:
    """Take in one message.

    :raises RemoteProtocolError: for what no correct node sends; nothing has changed
    :raises DataLost: if this node has lost what it acknowledged; it must stop [R1]
    """
    guard.check(message, state.id)
    if isinstance(message, PreVote | PreVoteResponse | RequestVote | RequestVoteResponse):
        voter.learn_commit(state, message.commit)
    if message.term < state.term:
        _answer_stale(state, message)
        return
    if isinstance(message, PreVote | RequestVote) and voter.ignores(state, message):
        state.trace("campaign ignored", candidate=message.sender)
        return
    if isinstance(message, AppendEntries | Heartbeat):
        follower.check_lost_data(state, message)
    if message.term > state.term:
        _enter_term(state, message)
    _dispatch(state, message)


def _enter_term(state: State, message: Message) -> None:
    """Convert to follower of a higher term (Fig. 2, All Servers; Paper §5.1)."""
    match message:
        case PreVote():
            pass  # nobody is in that term yet (Thesis §9.6)
        case PreVoteResponse() if message.granted:
            pass  # names the term we asked for
        case AppendEntries() | Heartbeat() | InstallSnapshot():
            state.become_follower(message.term, message.sender)
        case _:
            state.become_follower(message.term, None)


def _answer_stale(state: State, message: Message) -> None:
    """Tell the sender of a lower term which one we are in; nothing else of it counts.

    A leader of a lower term must hear it. 1. A node campaigned in a minority and is in term 7; the
    others follow a leader of term 6. 2. With stickiness they ignore its RequestVote, and it ignores
    their leader: it would be shut out for ever. (Paper §5.1; etcd issue 8501)
    """
    match message:
        case AppendEntries() | Heartbeat() | InstallSnapshot():
            state.send(
                AppendEntriesResponse(
                    sender=state.id, receiver=message.sender, term=state.term, index=0
                )
            )
        case PreVote():
            state.send(
                PreVoteResponse(
                    sender=state.id,
                    receiver=message.sender,
                    term=state.term,
                    granted=False,
                    commit=state.committed,
                )
            )
        case RequestVote():
            state.send(
                RequestVoteResponse(
                    sender=state.id,
                    receiver=message.sender,
                    term=state.term,
                    granted=False,
                    commit=state.committed,
                )
            )
        case _:
            pass


def _dispatch(state: State, message: Message) -> None:
    match message:
        case PreVote() | RequestVote():
            voter.answer(state, message)
        case PreVoteResponse() | RequestVoteResponse():
            candidate.handle_response(state, message)
        case AppendEntries() | Heartbeat() | InstallSnapshot():
            follower.follow(state, message.sender)
            _from_leader(state, message)
        case TimeoutNow():
            follower.handle_timeout_now(state, message)
        case ReadIndexResponse():
            follower.handle_read_index_response(state, message)
        case AppendEntriesResponse() | HeartbeatResponse() | ReadIndex():
            if state.role is Role.LEADER:  # else for a leader that is none any more
                _to_leader(state, message)
        case _:
            assert_never(message)


def _from_leader(state: State, message: AppendEntries | Heartbeat | InstallSnapshot) -> None:
    match message:
        case AppendEntries():
            follower.handle_append(state, message)
        case Heartbeat():
            follower.handle_heartbeat(state, message)
        case InstallSnapshot():
            follower.handle_snapshot(state, message)
        case _:
            assert_never(message)


def _to_leader(
    state: State, message: AppendEntriesResponse | HeartbeatResponse | ReadIndex
) -> None:
    match message:
        case AppendEntriesResponse():
            leader.handle_append_response(state, message)
        case HeartbeatResponse():
            leader.handle_heartbeat_response(state, message)
        case ReadIndex():
            leader.handle_read_index(state, message)
        case _:
            assert_never(message)


def tick(state: State, elapsed: int) -> None:
    """Let ``elapsed`` ticks pass; only a leader's CheckQuorum and heartbeat count all of them [R13].

    :param elapsed: 1 or more
    """
    assert elapsed >= 1
    state.uptime += 1
    if state.outstanding is not None and state.outstanding.must_save:
        state.save_elapsed += 1
    if state.role is Role.LEADER:
        leader.tick(state, elapsed)
        reconfiguration.maybe_leave(state)
    else:
        candidate.tick(state)
