"""What crosses the wire: one class per message, with the paper's names.

Every message has ``sender``, ``receiver`` and ``term`` (the sender's current term, except for a
pre-vote, which names the term it would campaign for). Local events are methods of
:class:`raftdb.raft.node.RawNode`, never messages. Extensions to the paper are marked as such.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from raftdb.raft.types import ZERO, Entry, EntryID, MemberID, ReadID, SnapshotMetadata


class _Message(msgspec.Struct, frozen=True):
    """The envelope all messages share."""

    sender: MemberID
    receiver: MemberID
    term: int


class AppendEntries(_Message, frozen=True):
    """Leader to follower or learner: replicates entries (Fig. 2, AppendEntries RPC).

    :param previous: the entry immediately before ``entries``
    :param entries: what to store, consecutive from ``previous.index + 1``; may be empty
    :param commit: the leader's commit index
    :param match: extension [R1]: how far the leader believes the receiver's log to be durable; a
        receiver whose log ends before it has lost data
    """

    previous: EntryID
    entries: tuple[Entry, ...] = ()
    commit: int = 0
    match: int = 0


class AppendEntriesResponse(_Message, frozen=True):
    """Answer to AppendEntries and, with the snapshot's index, to InstallSnapshot (Fig. 2).

    A positive answer promises durability and leaves only after the fsync.

    :param index: accepted: the last index known to match; rejected: ``previous.index`` of the
        request
    :param rejected: whether the consistency check failed
    :param hint: rejected: the receiver's latest entry at or before ``previous.index`` whose term is
        at most ``previous.term`` (thesis 5.3's conflict hint, O(terms) round trips)
    """

    index: int
    rejected: bool = False
    hint: EntryID = ZERO


class Heartbeat(_Message, frozen=True):
    """Leader to everybody: keeps leases and confirms reads (extension: apart from appends).

    :param commit: the leader's commit index, capped at ``match``
    :param match: as in AppendEntries [R1]
    :param round: names the round within the term, counted from 1, so that an answer confirms
        exactly the reads that were registered before the round was sent
    """

    commit: int
    match: int
    round: int


class HeartbeatResponse(_Message, frozen=True):
    """Answer to Heartbeat; says who leads, promises nothing about the disk.

    :param full: extension [R6]: the sender has no room for entries, so it is of no use for commits
    """

    round: int
    full: bool = False


class PreVote(_Message, frozen=True):
    """Pre-candidate to voters: would you vote for me in ``term``? (thesis 9.6)

    :param last: the candidate's last entry
    :param transfer: the leader asked for this campaign, so leases do not stand in its way
    :param commit: extension [R2]: the sender's last entry known to be committed. All four messages of
        an election carry it; see :func:`raftdb.raft.voter.learn_commit`
    """

    last: EntryID
    transfer: bool = False
    commit: EntryID = ZERO


class PreVoteResponse(_Message, frozen=True):
    """Answer to PreVote; a grant echoes the requested term and promises nothing."""

    granted: bool
    commit: EntryID = ZERO


class RequestVote(_Message, frozen=True):
    """Candidate to voters: gathers votes (Fig. 2, RequestVote RPC).

    :param last: the candidate's last entry
    :param transfer: as in PreVote (thesis 3.10)
    """

    last: EntryID
    transfer: bool = False
    commit: EntryID = ZERO


class RequestVoteResponse(_Message, frozen=True):
    """Answer to RequestVote; a grant leaves only after the vote is durable (Fig. 2)."""

    granted: bool
    commit: EntryID = ZERO


class InstallSnapshot(_Message, frozen=True):
    """Leader to a follower whose next entry is compacted away (Fig. 13).

    Carries the metadata only: the transport streams the file and steps this message into the
    receiver once the file is durable there.
    """

    snapshot: SnapshotMetadata


class TimeoutNow(_Message, frozen=True):
    """Leader to the chosen successor: campaign at once (thesis 3.10)."""


class ReadIndex(_Message, frozen=True):
    """Follower to leader: at which index may I answer this read? (thesis 6.4)"""

    read: ReadID


class ReadIndexResponse(_Message, frozen=True):
    """Leader to follower: when you have applied ``index``, answer (thesis 6.4).

    :param index: the read index, or 0 where the leader cannot confirm it (ask again)
    """

    read: ReadID
    index: int


Message: TypeAlias = (
    AppendEntries
    | AppendEntriesResponse
    | Heartbeat
    | HeartbeatResponse
    | PreVote
    | PreVoteResponse
    | RequestVote
    | RequestVoteResponse
    | InstallSnapshot
    | TimeoutNow
    | ReadIndex
    | ReadIndexResponse
)
