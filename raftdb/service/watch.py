"""What table and transport tell each other: addresses, whenever they changed, and where a peer was seen."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from raftdb.members import Member, MemberTable
from raftdb.membership import Sighting
from raftdb.peer.hello import HelloFacts
from raftdb.raft.types import MemberID


class PeerWatch:
    """Looks at the table once per ``interval_s``; a change of it is rare and never urgent.

    :param clock: for the looks
    :param interval_s: between two looks
    :param me: who is no peer
    :param table: returns the present table; it is replaced when a snapshot is installed
    :param update: is told all peers and their addresses
    """

    def __init__(
        self,
        clock: IReactorTime,
        interval_s: float,
        *,
        me: MemberID,
        table: Callable[[], MemberTable],
        update: Callable[[dict[MemberID, str]], None],
    ) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._me = me
        self._table = table
        self._update = update
        self._known: dict[MemberID, str] | None = None
        self._call: IDelayedCall | None = None

    def start(self, known: dict[MemberID, str]) -> None:
        """Begin with what a joining node was told; it has no table yet."""
        if known:
            self._tell(known)
        self._look()

    def stop(self) -> None:
        """Look no more."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def _look(self) -> None:
        self._call = self._clock.callLater(self._interval_s, self._look)
        members = self._table().members
        if members:  # an empty table is one that was not heard of yet
            self._tell({member.id: member.raft_address for member in members})

    def _tell(self, peers: dict[MemberID, str]) -> None:
        peers.pop(self._me, None)
        if peers != self._known:
            self._known = peers
            self._update(dict(peers))


def sighting(facts: HelloFacts) -> Sighting:
    """Return what a peer's Hello says of it, as the caretaker takes it."""
    record = Member(
        facts.member,
        facts.raft_address,
        facts.http_address,
        *facts.protocols,
        facts.feature_level,
    )
    return Sighting(facts.cluster_id, record)
