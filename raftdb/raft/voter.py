"""How anybody answers those who want to lead: the two leases, and the RequestVote receiver.

Fig. 2, RequestVote; Thesis §4.2.3 and §9.6. A learner answers, too: it may be a voter already
without knowing it, and an election may need it.
"""

from __future__ import annotations

from raftdb.raft.candidate import unapplied_change
from raftdb.raft.messages import PreVote, PreVoteResponse, RequestVote, RequestVoteResponse
from raftdb.raft.state import State
from raftdb.raft.types import EntryID, Role


def ignores(state: State, message: PreVote | RequestVote) -> bool:
    """Whether a campaign is met with silence, its term included: a leader is thought to live.

    Silence rather than a refusal, so that the pre-candidate goes on asking [R10]. A campaign that the
    leader itself asked for is heard always (Thesis §3.10).
    """
    if message.transfer or not state.config.check_quorum:
        return False
    return state.in_lease or state.in_quarantine


def learn_commit(state: State, commit: EntryID) -> None:
    """Take a commit index from a message of an election, if the log has that entry [R2].

    What is committed is so for everybody, whoever says it; by Log Matching the prefix is the same.
    (raft-rs does it, too; etcd and the paper do not.)

    1. {A,B}: removing A is committed; the leader A has applied it and steps down; B has the entry but
    never hears of the commit. 2. B still needs A's vote. 3. A's log is longer by an entry of its last
    moment: A refuses B, and does not campaign itself, it is no voter any more. Nobody leads again,
    although {B} alone could.
    """
    if commit.index > state.log.committed and state.log.matches(commit):
        state.log.commit_to(commit.index)
        if state.role in {Role.PRE_CANDIDATE, Role.CANDIDATE} and unapplied_change(state):
            state.become_follower(state.term, None)  # it must not win by the old configuration


def answer(state: State, message: PreVote | RequestVote) -> None:
    """Grant or refuse a vote (Fig. 2, RequestVote receiver steps 1 and 2)."""
    pre_vote = isinstance(message, PreVote)
    free = state.vote == message.sender or (state.vote is None and state.leader is None)
    may_vote = free or (pre_vote and message.term > state.term)
    if not may_vote or not state.log.is_up_to_date(message.last):  # Paper §5.4.1
        _respond(state, message, granted=False)
    elif pre_vote:
        _answer_pre_vote(state, message)
    else:
        if state.role is Role.PRE_CANDIDATE:
            state.become_follower(state.term, None)
        state.vote = message.sender
        state.election_elapsed = 0
        _respond(state, message, granted=True)


def _answer_pre_vote(state: State, message: PreVote | RequestVote) -> None:
    """Grant a pre-vote; between two pre-candidates of one term the lesser yields [R10].

    1. The leader of three dies and both others notice at once. 2. Each grants the other its pre-vote.
    3. Each votes for itself in the same term, and both wait for another election timeout.

    It yields to each only once while there is no leader: the greater may be deaf, ask for ever and
    never win. And the greater insists for one election timeout only: it may reach no majority, where
    the lesser one reaches one that needs the greater's vote.
    """
    if state.role is Role.PRE_CANDIDATE:
        mine, theirs = (state.log.last, state.id), (message.last, message.sender)
        if theirs < mine and message.term == state.term + 1 and state.holds_precedence:
            return
        if message.sender not in state.yielded_to:
            state.become_follower(state.term, None)
            state.yielded_to[message.sender] = None
    _respond(state, message, granted=True)


def _respond(state: State, message: PreVote | RequestVote, *, granted: bool) -> None:
    response = PreVoteResponse if isinstance(message, PreVote) else RequestVoteResponse
    state.trace("voted", candidate=message.sender, granted=granted)
    state.send(
        response(
            sender=state.id,
            receiver=message.sender,
            # A granted pre-vote names the term it is for; nobody is in that term yet.
            term=message.term if granted else state.term,
            granted=granted,
            commit=state.committed,
        )
    )
