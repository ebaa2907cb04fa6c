"""What a leader sends to its followers now: computed per peer, from its Progress alone.

Nothing here is called when something happens; it is asked when messages are taken. So N proposals
in one turn are one AppendEntries per peer, and an append is never older than what is known.
"""

from __future__ import annotations

from enum import Enum
from typing import assert_never

from raftdb.raft.messages import AppendEntries, Heartbeat, InstallSnapshot
from raftdb.raft.progress import Progress, ProgressState
from raftdb.raft.state import State
from raftdb.raft.types import EntryID, MemberID


class _Due(Enum):
    """What one peer is to get next."""

    NOTHING = 0
    SNAPSHOT = 1
    ENTRIES = 2
    EMPTY = 3
    COMMIT = 4


def pending_sends(state: State) -> tuple[bool, bool]:
    """Say what :func:`flush` would send for this leader; exactly that, or a turn would spin.

    :returns: whether there is anything that should not wait, and whether a follower is to be told
        of a commit and nothing else
    """
    urgent, news = state.reads.has_waiting and state.own_term_committed, False
    for member, progress in _unsettled(state):
        due = _due(state, member, progress)
        if due is _Due.COMMIT:
            news = True
        elif due is not _Due.NOTHING:
            urgent = True
    return urgent, news


def flush(state: State, *, news: bool) -> None:
    """Send what this leader owes: one round for all waiting reads, then appends and snapshots.

    :param news: send also appends that bring nothing but news of a commit
    """
    if state.reads.has_waiting and state.own_term_committed:
        begin_round(state)
    for member, progress in _unsettled(state):
        while (due := _due(state, member, progress)) is not _Due.NOTHING:
            if due is _Due.COMMIT and not news:
                break
            _send(state, member, progress, due)


def _unsettled(state: State) -> list[tuple[MemberID, Progress]]:
    """Return the peers to whom something may be due.

    Seldom any, and it is asked several times in a turn: so this look costs one call for all of them.
    """
    last, committed, probe_requested, me = (
        state.log.last_index,
        state.log.committed,
        state.probe_requested,
        state.id,
    )
    return [
        (member, progress)
        for member, progress in state.tracker.progress.items()
        if (
            progress.next <= last
            or progress.state is not ProgressState.REPLICATE
            or (progress.sent_commit < committed and progress.sent_commit < progress.match)
            or member in probe_requested
        )
        and member != me
    ]


def begin_round(state: State) -> None:
    """Send a heartbeat to everybody, which waiting reads ride on (Thesis §6.4 step 3)."""
    committed = state.log.committed
    number = state.reads.begin_round(committed if state.own_term_committed else None)
    state.heartbeat_elapsed = 0
    for member, progress in state.peers:
        # A heartbeat may overtake appends: it must not commit what has not arrived [R1].
        state.send(
            Heartbeat(
                sender=state.id,
                receiver=member,
                term=state.term,
                commit=min(progress.match, committed),
                match=progress.match,
                round=number,
            )
        )
        progress.sent_commit_only(committed)
    state.reads.answered(state.id, number)


def _due(state: State, member: MemberID, progress: Progress) -> _Due:
    log = state.log
    if not progress.is_paused:
        probing = progress.state is ProgressState.PROBE
        if progress.next <= log.last_index:
            if progress.next < log.first_index:
                # To a dead peer a snapshot would only be streamed in vain.
                return _Due.SNAPSHOT if progress.recent_active else _Due.NOTHING
            # Who has no room drops all entries; the next heartbeat's answer says when there is some.
            if not progress.full and (probing or not progress.inflights.full):
                return _Due.ENTRIES
        # Where everything is known to agree, there is nothing to find out.
        if (probing or member in state.probe_requested) and progress.match < progress.next - 1:
            return _Due.EMPTY
    if progress.can_bump_commit(log.committed) and progress.match >= log.first_index - 1:
        return _Due.COMMIT
    return _Due.NOTHING


def _send(state: State, member: MemberID, progress: Progress, due: _Due) -> None:
    match due:
        case _Due.SNAPSHOT:
            snapshot = state.storage.snapshot()
            progress.become_snapshot(snapshot.last.index)
            state.send(
                InstallSnapshot(
                    sender=state.id, receiver=member, term=state.term, snapshot=snapshot
                )
            )
            state.trace("snapshot sent", to=member, index=snapshot.last.index)
        case _Due.ENTRIES:
            _send_append(state, member, progress, bytes_max=state.config.append_bytes_max)
        case _Due.EMPTY:
            _send_append(state, member, progress, bytes_max=0)
        case _Due.COMMIT:
            _send_commit(state, member, progress)
        case _Due.NOTHING:
            raise AssertionError("nothing is due")
        case _:
            assert_never(due)


def _send_append(state: State, member: MemberID, progress: Progress, *, bytes_max: int) -> None:
    """Send the entries from ``next`` on (Fig. 2, Leaders), or none where ``bytes_max`` is 0."""
    log = state.log
    previous = EntryID(log.term(progress.next - 1), progress.next - 1)
    entries = log.entries(progress.next, log.last_index + 1, bytes_max) if bytes_max else ()
    state.probe_requested.pop(member, None)
    state.send(
        AppendEntries(
            sender=state.id,
            receiver=member,
            term=state.term,
            previous=previous,
            entries=entries,
            commit=log.committed,
            match=progress.match,
        )
    )
    progress.sent_entries(
        count=len(entries),
        bytes_count=sum(entry.size for entry in entries),
        commit=log.committed,
    )


def _send_commit(state: State, member: MemberID, progress: Progress) -> None:
    """Tell the commit index at once, not with the next heartbeat, past a full window, too."""
    state.send(
        AppendEntries(
            sender=state.id,
            receiver=member,
            term=state.term,
            previous=EntryID(state.log.term(progress.match), progress.match),
            commit=state.log.committed,
            match=progress.match,
        )
    )
    progress.sent_commit_only(state.log.committed)
