"""How a refused Hello is told to people: who said what, and what to do about it.

What somebody else says of itself is a claim. It is told with the address it came from, and it is an
alarm only where there is more to it: see :class:`~raftdb.peer.journal.Journal`.
"""

from __future__ import annotations

from raftdb.peer.handshake import REASONS, HelloFacts, HelloRefused, LocalMember, Refusal
from raftdb.raft.types import MemberID


class ClusterClaimed(HelloRefused):
    """Two clusters believe one node to be theirs."""


def refused(local: LocalMember, facts: HelloFacts, refusal: Refusal) -> HelloRefused:
    """Return what our own refusal of a Hello, or of an answer, says in the log."""
    known = facts.expected
    if refusal is not Refusal.WRONG_CLUSTER or known is None or known.id != local.member.id:
        return HelloRefused(refusal, f"says that it is {facts.member}: {REASONS[refusal]}")
    if local.cluster_id is None:
        return ClusterClaimed(refusal, f"a member of cluster {facts.cluster_id:032x} knows {known}")
    return ClusterClaimed(
        refusal,
        f"two clusters claim {local.member.id}: {facts.member} of cluster {facts.cluster_id:032x}"
        f" knows it as {known}, but it belongs to cluster {local.cluster_id:032x}. If its disk was"
        " replaced, stop it, empty its directory and start it with --join and the address of a"
        f" member of {facts.cluster_id:032x}",
    )


def answered(member: MemberID, at: str, error: Exception) -> Exception:
    """Return what the log says where our own call to ``member`` has failed with ``error``.

    :param at: the address that our membership has of it
    """
    if not isinstance(error, HelloRefused) or error.refusal is not Refusal.WRONG_CLUSTER:
        return error
    return ClusterClaimed(
        error.refusal,
        f"the node at {at}, where this cluster has {member}, is not in this cluster. If its disk was"
        " replaced, stop it, empty its directory and start it with --join; if it is somebody else,"
        " correct the addresses",
        remote=error.remote,
    )
