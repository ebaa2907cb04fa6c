"""Which members are connected, over which connections, and that each is only one process."""

from __future__ import annotations

from twisted.internet.defer import Deferred, gatherResults

from raftdb.peer.handshake import HelloFacts, Kind, Refusal
from raftdb.peer.protocol import PeerConnection
from raftdb.raft.types import MemberID


class Registry:
    """The admitted connections: at most one per member, kind and direction.

    Invariant: all connections of a member have the same boot nonce.

    :param ping_timeout_s: within which an older process has to show that it lives [R29]
    """

    def __init__(self, ping_timeout_s: float) -> None:
        self._ping_timeout_s = ping_timeout_s
        self._connections: dict[tuple[MemberID, Kind, bool], PeerConnection] = {}

    def find(self, member: MemberID, kind: Kind) -> PeerConnection | None:
        """Return the open connection of that kind: the one we dialled before the peer's own."""
        for dialled in (True, False):
            connection = self._connections.get((member, kind, dialled))
            if connection is not None and connection.is_open:
                return connection
        return None

    def of(self, member: MemberID) -> list[PeerConnection]:
        """Return all connections of a member."""
        return [found for key, found in self._connections.items() if key[0] == member]

    def __contains__(self, connection: PeerConnection) -> bool:
        return any(found is connection for found in self._connections.values())

    def members(self) -> list[MemberID]:
        """Return who is connected in any way, in the order of arrival."""
        return list(dict.fromkeys(member for member, _, _ in self._connections))

    async def admit(self, connection: PeerConnection, facts: HelloFacts) -> Refusal | None:
        """Count a connection in, unless another process with its identity is alive [R29].

        Two processes run with one (id, incarnation) when a data directory was copied. Both would
        vote, and one vote would count twice. The older one wins if it answers; a restarted node is
        not kept waiting for longer than a Ping takes to fail.
        """
        while older := [each for each in self.of(facts.member) if each.facts.boot != facts.boot]:
            alive = await gatherResults([each.answers_ping(self._ping_timeout_s) for each in older])
            if any(alive):
                return Refusal.DUPLICATE
            for each in older:
                self.forget(each)
                each.abort()
        if not connection.is_closing:
            self._count_in(connection, facts)
        return None

    def forget(self, connection: PeerConnection) -> None:
        """Count a connection out, if it was in."""
        for key, found in list(self._connections.items()):
            if found is connection:
                del self._connections[key]

    def _count_in(self, connection: PeerConnection, facts: HelloFacts) -> None:
        key = (facts.member, facts.kind, facts.dialled)
        replaced = self._connections.pop(key, None)
        self._connections[key] = connection
        if replaced is not None:
            # The same process dialled again, so its older connection is dead on its side.
            replaced.close()


Admission = Deferred[Refusal | None]
"""How :meth:`Registry.admit` arrives at those who are no coroutines."""
