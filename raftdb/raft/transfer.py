"""Giving leadership away: on request (Thesis §3.10), and to who can commit when this one cannot [R6].

1. The own disk hangs: :func:`watch_disk`. 2. The others' disks are full: :func:`watch_room`. 3. The
own entries reach no quorum: :func:`watch_reach`.
"""

from __future__ import annotations

from raftdb.errors import InvalidRequest
from raftdb.raft.messages import TimeoutNow
from raftdb.raft.state import State
from raftdb.raft.types import MemberID

_PAUSE_MIN, _PAUSE_MAX = 4, 256
"""Election timeouts between two attempts of one leader to hand over to somebody who can commit."""

REACH_MIN, REACH_MAX = 16, 256
"""Election timeouts without a step forward after which a leader gives way, doubling.

A transport takes up to five of them to give up a connection on which nothing moves, and an append
begins anew then: a slow link has several attempts to get one through.
"""

REST = 6
"""Election timeouts for which it then leaves the elections to others: each may need two."""


def begin(state: State, to: MemberID) -> None:
    """Hand leadership to ``to``: take no more proposals, bring it up to date, let it campaign.

    Repeating it is harmless; another target replaces the one before. It is given up after an
    election timeout, and proposals are taken again.

    :raises NotLeader: if somebody else leads
    :raises NoLeader: if nobody is known to lead
    :raises InvalidRequest: if ``to`` does not vote
    """
    state.require_leader()
    if not state.tracker.is_voter(to):
        raise InvalidRequest(f"{to} does not vote, so it cannot lead")
    if to == state.id:
        abort(state, "the leader itself was chosen")
        return
    if state.transferee == to:
        return
    state.transferee = to
    state.transfer_elapsed = 0
    state.trace("transfer", to=to)
    maybe_let_go(state, to)


def maybe_let_go(state: State, member: MemberID) -> None:
    """Tell the successor to campaign once its log is as long as the leader's."""
    if state.transferee != member:
        return
    if state.tracker.progress[member].match == state.log.last_index:
        state.send(TimeoutNow(sender=state.id, receiver=member, term=state.term))


def abort(state: State, reason: str) -> None:
    """Go on leading; nothing to do where no transfer is under way."""
    if state.transferee is not None:
        state.trace("transfer aborted", to=state.transferee, reason=reason)
        state.transferee = None


def tick(state: State, elapsed: int) -> None:
    """Give up a transfer that takes longer than an election timeout (Thesis §3.10)."""
    if state.transferee is None:
        return
    state.transfer_elapsed += elapsed
    if state.transfer_elapsed >= state.config.election_ticks:
        abort(state, "it took longer than an election timeout")


def watch_disk(state: State) -> None:
    """Give leadership away when the own disk hangs, else step down [R6].

    1. The leader's fsync hangs. 2. Its heartbeats do not wait for a disk, so nobody campaigns; its
    followers' disks commit without it, but it can apply nothing and answer nobody. 3. So it reigns
    for ever over a cluster that serves nothing, unless it goes by itself.
    """
    if not state.save_overdue or state.transferee is not None:
        return
    to = successor(state)
    if to is None:
        return  # nobody could do better
    if state.disk_transfer_tried:
        state.trace("stepped down", reason="the disk hangs")
        state.become_follower(state.term, None)
        return
    state.disk_transfer_tried = True
    begin(state, to)


def watch_room(state: State) -> None:
    """Hand over where members without room keep this leader in office, and others might commit [R6].

    1. Five voters; the leader A reaches B and C alone; C's disk is full. 2. B and C answer A's
    heartbeats, so CheckQuorum lets it lead; but C stores nothing, so A commits nothing. 3. B, D and
    E are a healthy majority; but B hears its leader and refuses D and E for ever.

    Nobody knows whom B reaches, so it is tried. A full member is not silent like one whose disk hangs:
    where too many are full, nobody can commit, and the leader goes on confirming reads. The pauses
    grow, because every election costs a full disk a little of the room kept back for votes.

    The same with a member that a snapshot did not get to: its disk hangs, and as it saves nothing it
    answers heartbeats. One whose snapshot is under way still counts: a new leader would have to begin
    it anew.

    Called once per election timeout, when it is known who was heard from.
    """
    tracker = state.tracker
    if state.log.committed == state.log.last_index or tracker.quorum_stores():
        state.handover_pause = state.handover_wait = 0
        return
    if state.handover_wait:
        state.handover_wait -= 1
        return
    able = [
        member
        for member, progress in state.peers
        if tracker.is_voter(member) and progress.recent_active and progress.stores
    ]
    if able and tracker.quorum_might_store() and state.transferee is None:
        state.handover_pause = min(max(_PAUSE_MIN, 2 * state.handover_pause), _PAUSE_MAX)
        state.handover_wait = state.handover_pause
        begin(state, state.config.rng.choice(able))


def watch_reach(state: State) -> None:
    """Step down where entries reach no quorum although heartbeats do [R6].

    1. The leader's host has a wrong MTU: small frames leave it, large ones are lost. 2. Heartbeats
    are small, so CheckQuorum lets it lead, and the others ignore every campaign; but the first large
    entry stops all that come behind it. 3. The others are a healthy majority, and nothing is ever
    committed.

    It cannot hand over, for its successor lacks the entry. So it asks the one with the longest log
    to campaign, and rests: its own log is the longest, and it would win again. Links that are merely
    slow, rejections that come nearer, full disks, and a first snapshot count as steps forward. Where
    nobody else took over and nothing was committed since, it waits twice as long the next time.

    Called once per election timeout, when it is known who was heard from.
    """
    tracker, log = state.tracker, state.log
    if log.committed == log.last_index or tracker.quorum_reached(log.last_index):
        state.unreached = 0
        for _, progress in state.peers:
            progress.gained = False
        return
    if log.committed > state.gave_way_at:
        state.reach_patience = REACH_MIN
    state.unreached += 1
    if state.unreached < state.reach_patience:
        return
    state.gave_way_at = log.committed
    state.reach_patience = min(2 * state.reach_patience, REACH_MAX)
    state.rests = REST * state.config.election_ticks
    to = successor(state)
    if to is not None:
        state.send(TimeoutNow(sender=state.id, receiver=to, term=state.term))
    state.trace("stepped down", reason="its entries reach no quorum")
    state.become_follower(state.term, None)


def successor(state: State) -> MemberID | None:
    """Return the voter who can take over soonest, None where there is no other."""
    candidates = [
        (progress.recent_active, progress.stores, progress.match, member)
        for member, progress in state.peers
        if state.tracker.is_voter(member)
    ]
    return max(candidates)[3] if candidates else None
