"""What is true of one node after every input, and between one input and the next.

Used by tests and by the simulator, never by the node itself. What is true of a whole cluster
(Paper Fig. 3) is :mod:`raftdb.simulation.checks.safety`'s question.
"""

from __future__ import annotations

from typing import NamedTuple

from raftdb.raft.log import RaftLog
from raftdb.raft.progress import ProgressState
from raftdb.raft.state import State
from raftdb.raft.types import TERM_MAX, EntryID, HardState, MemberID, Role


class Observation(NamedTuple):
    """What the next check compares with."""

    term: int
    vote: MemberID | None
    role: Role
    leader: MemberID | None
    committed: EntryID
    applied: int
    last: EntryID
    saved: EntryID
    """The last durable entry; none while a snapshot waits for the disk."""
    first_index: int
    durable: HardState
    round: int


def check(state: State, previous: Observation | None) -> Observation:
    """Check the invariants and return what the next call needs.

    :param previous: what the last call for this node returned, None for its first or a restart
    :returns: ``previous`` itself where nothing has changed that is looked at here
    :raises AssertionError: naming the invariant that is broken
    """
    if previous is not None and _is_at_rest(state, previous):
        if previous.saved is not previous.last:
            _check_tail(state.log)
        if state.role is Role.LEADER:
            _check_leader(state)
        return previous
    _check_log(state)
    _check_role(state)
    if state.role is Role.LEADER:
        _check_leader(state)
    now = observe(state)
    if previous is not None:
        _check_step(state, previous, now)
    return now


def observe(state: State) -> Observation:
    """Return what can be compared later."""
    log = state.log
    last = log.last
    return Observation(
        term=state.term,
        vote=state.vote,
        role=state.role,
        leader=state.leader,
        committed=_name(log, log.committed, last),
        applied=log.applied,
        last=last,
        saved=_name(log, log.durable, last) if log.unstable_snapshot is None else EntryID(0, 0),
        first_index=log.first_index,
        durable=state.durable,
        round=state.reads.round,
    )


def _name(log: RaftLog, index: int, last: EntryID) -> EntryID:
    return last if index == last.index else EntryID(log.term(index), index)


def _is_at_rest(state: State, previous: Observation) -> bool:
    """Whether nothing has changed since the last check but a leader's books.

    Most inputs change none of it. What is compared here is all that the rest of this module looks
    at, but for the terms along the tail and the progress of a leader's peers; and a value that is
    the same was found good, and follows from itself.
    """
    log = state.log
    committed, last, saved = previous.committed, previous.last, previous.saved
    return (
        log.unstable_snapshot is None
        and log.committed == committed.index
        and log.applied == previous.applied
        and state.term == previous.term
        and state.role is previous.role
        and state.vote is previous.vote
        and state.leader is previous.leader
        and state.durable is previous.durable
        and log.last_index == last.index
        and log.durable == saved.index
        and log.first_index == previous.first_index
        and log.term(last.index) == last.term
        and (saved is last or log.term(saved.index) == saved.term)
        and (committed is last or log.term(committed.index) == committed.term)
        and state.reads.round == previous.round
        and (
            state.role is Role.LEADER
            or (state.transferee is None and state.uncommitted_bytes == 0 and not state.reads)
        )
    )


def _check_log(state: State) -> None:
    log = state.log
    assert log.committed <= log.last_index, "the commit index is beyond the log"
    assert log.applied <= log.committed, "something uncommitted is applied"
    assert log.applied <= log.durable, "something not durable is applied [7e]"
    assert log.last.term <= state.term <= TERM_MAX, "the log is ahead of the term"
    _check_tail(log)
    durable, current = state.durable, (state.term, state.vote)
    assert durable.term <= state.term, "the disk is ahead of the term"
    assert durable.term < state.term or durable.vote in {None, state.vote}, (
        f"the vote {durable.vote} became {current}"
    )


def _check_tail(log: RaftLog) -> None:
    if log.has_unstable_entries():
        tail = log.unstable_entries()
        term = log.term(log.last_index - len(tail))
        for entry in tail:
            assert term <= entry.term, "terms fall along the log"
            term = entry.term


def _check_role(state: State) -> None:
    match state.role:
        case Role.LEADER:
            assert state.leader == state.id, "a leader follows somebody"
        case Role.CANDIDATE:
            assert state.vote == state.id, "a candidate voted for somebody else"
            assert state.leader is None, "a candidate follows somebody"
        case Role.PRE_CANDIDATE:
            assert state.leader is None, "a pre-candidate follows somebody"
        case Role.FOLLOWER:
            assert state.leader != state.id, "a follower follows itself"
    if state.role in {Role.CANDIDATE, Role.PRE_CANDIDATE}:
        _check_campaign(state)
    if state.role is not Role.LEADER:
        assert state.transferee is None, "only a leader hands leadership over"
        assert len(state.reads) == 0, "only a leader confirms reads"
        assert state.uncommitted_bytes == 0, "only a leader has proposals"


def _check_campaign(state: State) -> None:
    """No node campaigns while a change is unapplied that it knows to be committed [R2]."""
    log = state.log
    for index in range(max(log.applied + 1, log.first_index), log.committed + 1):
        entry = log.entries(index, index + 1, 1)[0]
        assert entry.change is None, f"campaigns, and the change at {index} is not applied [2]"


def _check_leader(state: State) -> None:
    log, tracker = state.log, state.tracker
    durable, last_index = state.durable, log.last_index
    assert (durable.term, durable.vote) == (state.term, state.id), (
        "leads without a durable vote [7a]"
    )
    assert state.term_start <= last_index
    assert log.term(last_index) == state.term, "a leader's log ends in its own term"
    assert state.uncommitted_bytes >= 0
    assert tracker.is_voter(state.id) or state.retires_at, "who does not vote does not lead"
    if state.id in tracker.progress:
        assert tracker.progress[state.id].match <= log.durable, "counts itself before its save [7b]"
    assert state.reads.acknowledged <= state.reads.round
    for member, progress in tracker.progress.items():
        kind, next_index = progress.state, progress.next
        assert 0 <= progress.match < next_index, f"{member}: match and next are out of order"
        assert progress.match <= last_index, f"{member} has more than the leader"
        assert progress.sent_commit < next_index, f"{member} was told to commit what it lacks"
        if kind is ProgressState.SNAPSHOT:
            assert next_index > progress.pending_snapshot > 0
        else:
            assert next_index <= last_index + 1
            assert progress.pending_snapshot == 0
        if kind is not ProgressState.REPLICATE:
            assert len(progress.inflights) == 0, f"{member}: a window outside REPLICATE"


def _check_step(state: State, previous: Observation, now: Observation) -> None:
    log = state.log
    assert now.term >= previous.term, "the term fell"
    assert now.committed.index >= previous.committed.index, "the commit index fell"
    assert now.applied >= previous.applied, "the applied index fell"
    assert now.first_index >= previous.first_index, "the log grew at its front"
    assert now.durable.term >= previous.durable.term, "the durable term fell"
    if previous.committed.index >= now.first_index - 1:
        assert log.matches(previous.committed), "a committed entry changed"
    if now.term == previous.term:
        if previous.vote is not None:
            assert now.vote == previous.vote, "voted twice in one term (Fig. 2, RequestVote)"
        if previous.leader is not None and now.leader is not None:
            assert now.leader == previous.leader, "two leaders of one term (Election Safety)"
    if now.role is Role.LEADER and previous.role is not Role.LEADER:
        assert previous.role is Role.CANDIDATE, "leads without an election (Fig. 4)"
        assert now.term == previous.term
    if previous.role is Role.LEADER and now.role is Role.LEADER:
        assert now.term == previous.term, "a leader entered another term as leader"
        assert now.round >= previous.round, "a round was counted twice"
        if previous.last.index >= now.first_index - 1:
            assert log.matches(previous.last), "a leader changed its log (Leader Append-Only)"
