"""How the members fare, as values that are ready to be written as JSON."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from raftdb.membership.seams import Table
from raftdb.membership.wire import hex128
from raftdb.raft.ready import Status
from raftdb.raft.types import MemberID


class MemberStatus(msgspec.Struct, frozen=True):
    """One member as one node sees it.

    :param role: ``leader``, ``voter``, ``learner``, or ``leaving`` for who loses its vote
    :param match_index: the highest index known to be durable there; None but on the leader
    :param replication: ``probe``, ``replicate`` or ``snapshot``; None but on the leader
    :param last_contact_s: how long ago the leader heard of it; None but on the leader
    """

    id: str
    incarnation: str
    role: str
    raft_address: str
    http_address: str
    match_index: int | None
    replication: str | None
    last_contact_s: float | None


def member_status(
    table: Table, status: Status, age_s: Callable[[MemberID], float | None]
) -> list[MemberStatus]:
    """Return everybody in the configuration in force, in the order of their ids.

    :param age_s: how long ago a member was heard of
    """
    found = []
    for member in table.conf_state.members:
        record = table.get(member)
        peer = status.peers.get(member)
        age = age_s(member)
        found.append(
            MemberStatus(
                id=member.id,
                incarnation=hex128(member.incarnation),
                role=_role(table, status, member),
                raft_address=record.raft_address if record else "",
                http_address=record.http_address if record else "",
                match_index=peer.match if peer else None,
                replication=peer.state if peer else None,
                last_contact_s=round(age, 3) if peer and age is not None else None,
            )
        )
    return found


def _role(table: Table, status: Status, member: MemberID) -> str:
    if member == status.leader:
        return "leader"
    if member in table.conf_state.voters:
        return "voter"
    return "leaving" if member in table.conf_state.voters_outgoing else "learner"
