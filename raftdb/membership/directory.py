"""How a node finds its cluster: what it asks, what it is told, and the seam in between.

The values are pure; their JSON lives in :mod:`raftdb.membership.wire`, the real directory in
:mod:`raftdb.membership.http_directory`. The simulator has its own.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from raftdb.raft.types import MemberID


class JoinRequest(NamedTuple):
    """A node that wants to be, or to stay, a member, and where it lives.

    Asking twice is harmless: a present member's request changes nothing but its addresses.

    :param member: who asks
    :param raft_address: ``host:port`` for its peers
    :param http_address: ``host:port`` for clients
    :param cluster_id: the only cluster the node accepts, or None where its directory is empty
    :param protocol_versions: the range of peer protocols it speaks, as (lowest, highest)
    :param feature_level: the highest feature level it supports
    """

    member: MemberID
    raft_address: str
    http_address: str
    cluster_id: int | None = None
    protocol_versions: tuple[int, int] = (1, 1)
    feature_level: int = 1


class KnownMember(NamedTuple):
    """A member as a cluster tells a newcomer about it."""

    member: MemberID
    raft_address: str
    http_address: str


class JoinAnswer(NamedTuple):
    """The cluster took the node in, or had it already.

    :param cluster_id: 128 random bits that name the cluster
    :param members: everybody, the newcomer included
    """

    cluster_id: int
    members: tuple[KnownMember, ...]


class Directory(Protocol):
    """Where a cluster can be asked to take a node in."""

    def join(self, http_address: str, request: JoinRequest) -> Deferred[JoinAnswer]:
        """Ask the node at ``http_address``, and whoever it says leads.

        :raises JoinRefused: the cluster will not have the node as it is; asking again is no use
        :raises RaftDBError: anything else: nobody answered, nobody leads, another change is under
            way. Asking again, there or elsewhere, is harmless and may help
        """
