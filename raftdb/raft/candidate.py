"""Rules for Candidates and pre-candidates: when to campaign, and what the votes mean.

Fig. 2, Candidates; Thesis §9.6 for the pre-vote. How a voter answers is :mod:`~raftdb.raft.voter`.
"""

from __future__ import annotations

from raftdb.raft import leader
from raftdb.raft.messages import PreVote, PreVoteResponse, RequestVote, RequestVoteResponse
from raftdb.raft.quorum import VoteResult
from raftdb.raft.state import State
from raftdb.raft.types import TERM_MAX, MemberID, Role

SCAN_BYTES = 1 << 20
"""How much of the unapplied log is looked at in one read, when looking for a change."""


def obstacle(state: State) -> str | None:
    """Return what stands in the way of a campaign, None for nothing.

    No node campaigns, not even on TimeoutNow, while a committed change is unapplied [R2]. Changes
    take effect when applied, so quorums of configurations two changes apart need not meet:

    1. {A,B,C}; adding D is committed and applied by the leader A; adding E is appended at B (which
    thereby hears that adding D is committed), A and D, and so committed. 2. A, D and E are a
    majority of five and elect in term 6. 3. B, which still has {A,B,C} in force, campaigns for 6,
    too, and C's vote is enough: two leaders of one term.
    """
    if state.role is Role.LEADER:
        return "it leads already"
    if not state.tracker.is_voter(state.id):
        return "it does not vote"
    if state.snapshot_pending:
        return "a snapshot is not loaded yet"
    if state.save_overdue:
        return "its disk hangs"  # [R6]
    if state.term >= TERM_MAX:
        return "there is no further term"
    if state.handed_out_changes or unapplied_change(state):
        return "a committed change is not applied yet"  # [R2]
    return None


def unapplied_change(state: State) -> bool:
    """Whether a committed change is not applied yet."""
    log = state.log
    lo, hi = log.applied + 1, log.committed + 1
    while lo < hi:
        page = log.entries(lo, hi, SCAN_BYTES)
        if any(entry.change is not None for entry in page):
            return True
        lo += len(page)
    return False


def campaign(state: State, *, transfer: bool = False) -> None:
    """Try to become leader, unless something stands in the way (Paper §5.2).

    :param transfer: the leader asked for it, so there is no pre-vote and leases do not count
    """
    reason = obstacle(state)
    if reason is None and state.rests and not transfer:
        reason = "it gave way, and leaves this election to others"  # [R6]
    if reason is not None:
        state.trace("campaign refused", reason=reason)
        return
    if transfer or not state.config.pre_vote:
        _elect(state, transfer=transfer)
        return
    state.become_pre_candidate()
    ask_again(state)
    _record(state, state.id, granted=True)  # a pre-vote promises nothing, so it needs no disk


def _elect(state: State, *, transfer: bool) -> None:
    """Ask for votes; the own one counts when it is durable, in :func:`saved` [R7a]."""
    state.become_candidate()
    for voter in _others(state):
        state.send(
            RequestVote(
                sender=state.id,
                receiver=voter,
                term=state.term,
                last=state.log.last,
                transfer=transfer,
                commit=state.committed,
            )
        )
    state.trace("campaign", needed=state.tracker.voters.incoming.quorum)


def ask_again(state: State) -> None:
    """Send PreVote to every voter that has not answered.

    The answers so far stay: with a round trip longer than a heartbeat nobody would ever win
    otherwise. They are forgotten with the next election timeout.
    """
    for voter in _others(state):
        if voter not in state.tracker.votes:
            state.send(
                PreVote(
                    sender=state.id,
                    receiver=voter,
                    term=state.term + 1,
                    last=state.log.last,
                    commit=state.committed,
                )
            )


def saved(state: State) -> None:
    """Count the own vote now that it is durable (Fig. 2, Candidates: vote for self) [R7a]."""
    durable = state.durable
    if state.role is Role.CANDIDATE and (durable.term, durable.vote) == (state.term, state.id):
        _record(state, state.id, granted=True)


def handle_response(state: State, message: PreVoteResponse | RequestVoteResponse) -> None:
    """Count an answer to the campaign that is under way, and no other."""
    match state.role, message:
        case Role.PRE_CANDIDATE, PreVoteResponse():
            # A grant names the term it is for; a refusal of a lower term never gets here.
            if message.granted and message.term != state.term + 1:
                return
        case Role.CANDIDATE, RequestVoteResponse():
            pass
        case _:
            return
    _record(state, message.sender, granted=message.granted)


def _record(state: State, voter: MemberID, *, granted: bool) -> None:
    state.tracker.record_vote(voter, granted=granted)
    tally = state.tracker.tally()
    state.trace("vote", voter=voter, granted=tally.granted, rejected=tally.rejected)
    match tally.result:
        case VoteResult.PENDING:
            pass
        case VoteResult.LOST:
            state.become_follower(state.term, None)
        case VoteResult.WON:
            if state.role is Role.PRE_CANDIDATE:
                _elect(state, transfer=False)
            else:
                leader.lead(state)


def tick(state: State) -> None:
    """Campaign when an election timeout passes without a leader (Fig. 2, Followers).

    At most one tick is counted per call: after a pause the messages that waited come first [R13].
    """
    state.election_elapsed += 1
    state.rests = max(0, state.rests - 1)
    if _alone(state) or state.election_elapsed >= state.election_timeout:
        state.election_elapsed = 0
        if state.leader is not None:
            # Also who cannot campaign has no leader any more, and holds no lease for it.
            state.trace("leader lost", leader=state.leader)
            state.leader = None
        if state.role is Role.PRE_CANDIDATE:
            state.holds_precedence = False  # a whole election timeout was not enough [R10]
        if state.tracker.is_voter(state.id):
            campaign(state)
    elif state.role is Role.PRE_CANDIDATE:
        state.repeat_in -= 1
        if state.repeat_in <= 0:
            state.draw_repetition()
            ask_again(state)  # [R10]


def _alone(state: State) -> bool:
    """Whether nobody else votes: then waiting for a leader is waiting for nobody."""
    return (
        state.role is Role.FOLLOWER
        and state.log.applied == state.log.committed
        and state.tracker.is_singleton
        and state.tracker.is_voter(state.id)
    )


def _others(state: State) -> tuple[MemberID, ...]:
    return tuple(voter for voter in state.tracker.voters.members if voter != state.id)
