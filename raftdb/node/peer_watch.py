"""What table and transport tell each other: addresses, whenever they changed, and where a peer was seen."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from raftdb.errors import RemoteProtocolError
from raftdb.membership import ReportedAddress
from raftdb.peer.handshake import HelloFacts
from raftdb.raft.storage import LogReader
from raftdb.raft.types import MemberID
from raftdb.replica import Replica
from raftdb.state.envelope import decode_envelope
from raftdb.state.members import Member, MemberTable, UpdateMember
from raftdb.state.registry import MEMBERS

ANNOUNCED_ENTRIES_MAX = 10_000
"""How far back from its end the log is searched for addresses."""

DOUBT_LOOKS = 20
"""Looks after which a node without a leader goes from one idea of the addresses to the other."""

_PAGE_BYTES = 1 << 20


class PeerWatch:
    """Looks at the table once per ``interval_s``; a change of it is rare and never urgent.

    :param clock: for the looks
    :param interval_s: between two looks
    :param me: who is no peer
    :param table: returns the present table; it is replaced when a snapshot is installed
    :param announced: returns addresses that stand in the log and not in the table yet; nothing where
        somebody leads. They are tried first, and by turns with the table's
    :param update: is told all peers and their addresses
    """

    def __init__(
        self,
        clock: IReactorTime,
        interval_s: float,
        *,
        me: MemberID,
        table: Callable[[], MemberTable],
        announced: Callable[[], dict[MemberID, str]] = dict,
        update: Callable[[dict[MemberID, str]], None],
    ) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._me = me
        self._table = table
        self._announced = announced
        self._looks = 0
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
            peers = {member.id: member.raft_address for member in members}
            news = self._announced()
            self._looks = self._looks + 1 if news else 0
            if self._looks // DOUBT_LOOKS % 2 == 0:
                peers.update((member, at) for member, at in news.items() if member in peers)
            self._tell(peers)

    def _tell(self, peers: dict[MemberID, str]) -> None:
        peers.pop(self._me, None)
        if peers != self._known:
            self._known = peers
            self._update(dict(peers))


def announced(replica: Replica, log: LogReader) -> dict[MemberID, str]:
    """Return the newest address of each member that the log tells of behind what is applied.

    Nothing while somebody leads: then the table will tell. Without it, two that have moved might
    never meet again:

    1. a moves; its new address is committed, and b applies it.
    2. b moves and starts anew before its *commit index* for that entry is durable: it applies up to
       the entry before, and dials a where a was; a dials b where b was.

    The entry stands in b's log all the same. An address in it can be wrong no more than one in the
    table, and whoever answers there has to be who is looked for.
    """
    if replica.leader is not None or not replica.serves:
        return {}
    last = log.last_index()
    at = max(replica.applied + 1, log.first_index(), last + 1 - ANNOUNCED_ENTRIES_MAX)
    found: dict[MemberID, str] = {}
    while at <= last:
        for entry in log.entries(at, last + 1, _PAGE_BYTES):
            at = entry.index + 1
            record = _announcement(entry.data) if entry.data else None
            if record is not None:
                found[record.id] = record.raft_address
    return found


def _announcement(data: bytes) -> Member | None:
    try:
        envelope = decode_envelope(data)
        if envelope.part != MEMBERS.number:
            return None
        command = MEMBERS.commands.decode(envelope.body)
    except RemoteProtocolError:
        return None  # of a newer version; applying it will say so
    return command.member if isinstance(command, UpdateMember) else None


def sighting(facts: HelloFacts) -> ReportedAddress:
    """Return what a peer's Hello says of it, as the caretaker takes it."""
    record = Member(
        facts.member,
        facts.raft_address,
        facts.http_address,
        *facts.protocols,
        facts.feature_level,
    )
    return ReportedAddress(facts.cluster_id, record)
