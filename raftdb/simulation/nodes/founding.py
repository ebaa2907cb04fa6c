"""What a simulated cluster begins with: the log of its founding, and how its members are recorded."""

from __future__ import annotations

from raftdb.raft.types import ConfChange, ConfChangeKind, ConfChangeSingle, Entry, MemberID
from raftdb.state import encode_entry
from raftdb.state.members import InitCluster, Member, encode_context

WALL_START_MS = 1_700_000_000_000
"""What an honest wall clock shows when the simulation begins."""


def member_record(member: MemberID) -> Member:
    """Return what the table of members says of a simulated node."""
    return Member(member, f"{member.id}.raft:1", f"{member.id}.http:1")


def founding_entries(members: list[MemberID], cluster_id: int) -> tuple[Entry, ...]:
    """Return the log that a cluster of ``members`` begins with on every one of them."""
    entries = []
    for index, member in enumerate(members, start=1):
        change = ConfChange(
            changes=(ConfChangeSingle(ConfChangeKind.ADD_VOTER, member),),
            context=encode_context((member_record(member),)),
        )
        entries.append(Entry(term=1, index=index, change=change))
    envelope = encode_entry(InitCluster.of(cluster_id), wall_ms=WALL_START_MS)
    entries.append(Entry(term=1, index=len(entries) + 1, data=envelope))
    return tuple(entries)
