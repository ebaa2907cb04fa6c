"""When the configuration may change, and what changes with it (Thesis §4.1 to §4.3).

What the next configuration *is* belongs to :mod:`~raftdb.raft.confchange`. Changes take effect when
they are applied, as in etcd, not when they are appended, as in the paper; the guards here and in
:func:`raftdb.raft.candidate.obstacle` are the price [R2].
"""

from __future__ import annotations

from raftdb.errors import LocalProtocolError, MembershipBusy
from raftdb.raft import confchange, leader, transfer
from raftdb.raft.state import State
from raftdb.raft.types import ConfChange, ConfState, Entry, EntryID, Role


def propose(state: State, change: ConfChange) -> EntryID:
    """Take a change into the log, if the guards allow it.

    Guards: an entry of the own term is applied (Ongaro 2015: without it, two leaders of different
    terms may change the same configuration in two ways whose quorums do not meet); the change before
    is applied; the result makes sense.

    :raises MembershipBusy: naming the guard; it passes by itself
    :raises ConfChangeError: if the result makes no sense
    :raises ProposalDropped: or what else :func:`raftdb.raft.leader.propose` raises
    """
    state.require_leader()
    if changing(state):
        raise MembershipBusy(
            f"the change before, or the term's first entry, at index {state.pending_conf_index} is"
            " not applied yet; try again"
        )
    if state.tracker.conf_state.is_joint and change.changes:
        raise MembershipBusy("the change before needs two majorities still; try again")
    confchange.apply(state.tracker.conf_state, change)
    entry_id = leader.propose(state, change=change)
    state.pending_conf_index = entry_id.index
    state.trace("change proposed", index=entry_id.index)
    return entry_id


def changing(state: State) -> bool:
    """Whether a change may be on its way: they go one at a time."""
    return state.pending_conf_index > state.log.applied or bool(state.handed_out_changes)


def up_to_unsaved_change(state: State, page: tuple[Entry, ...]) -> tuple[Entry, ...]:
    """Cut a page before a change whose commit is not durable; the next Ready saves it [R2]."""
    for place, entry in enumerate(page):
        if entry.change is not None and entry.index > state.durable.commit:
            state.change_awaits_save = entry.index
            return page[:place]
    return page


def apply(state: State, change: ConfChange) -> ConfState:
    """Put a committed change in force; the caller has just met its entry.

    :raises LocalProtocolError: where it is not the next change that was handed out
    """
    if not state.handed_out_changes or state.handed_out_changes[0] != change:
        raise LocalProtocolError("changes are applied in order, each once")
    state.handed_out_changes.popleft()
    after = confchange.apply(state.tracker.conf_state, change)
    state.tracker.adopt(after, next_index=state.log.last_index + 1)
    state.trace("configuration", conf_state=after)
    if state.role is Role.LEADER:
        _settle(state)
    return after


def _settle(state: State) -> None:
    """Draw the conclusions a leader has to draw from a new configuration."""
    if not state.tracker.is_voter(state.id) and not state.retires_at:
        # One entry more, for leader.maybe_commit to see that the others can go on alone.
        state.retires_at = leader.append(state).index
        transfer.abort(state, "the leader itself is removed")
    if state.transferee is not None and not state.tracker.is_voter(state.transferee):
        transfer.abort(state, "the successor does not vote any more")
    leader.maybe_commit(state)
    leader.confirm_reads(state)
    maybe_leave(state)


def maybe_leave(state: State) -> None:
    """Leave a joint configuration by itself, where that was asked for (Thesis §4.3).

    Called when a change was applied and at each tick, so that a leader elected in the middle, or one
    that was handing leadership over just then, does it, too.
    """
    if (
        state.role is Role.LEADER
        and state.tracker.conf_state.auto_leave
        and not changing(state)
        and state.transferee is None
    ):
        entry_id = leader.append(state, change=ConfChange())
        state.pending_conf_index = entry_id.index
        state.trace("leaving joint", index=entry_id.index)
