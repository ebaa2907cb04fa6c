"""Where members were seen lately, as far as the table says something else."""

from __future__ import annotations

from typing import NamedTuple

from raftdb.membership.seams import Table
from raftdb.raft.types import MemberID
from raftdb.state.members import Member

SIGHTINGS_MAX = 64
"""Members seen at other addresses, waiting to be recorded."""


class ReportedAddress(NamedTuple):
    """A node that said who it is and where it lives; nobody has believed it yet."""

    cluster_id: int
    record: Member


class ReportedAddresses:
    """What Hellos said of members and of the invited, until the table says it too.

    An address changes only for the same incarnation: somebody else under a member's name is no
    reason to send the member's messages elsewhere.

    :param own: this node's record as it should be
    """

    def __init__(self, own: Member) -> None:
        self._own = own
        self._seen: dict[MemberID, Member] = {}

    def note(self, table: Table, sighting: ReportedAddress) -> None:
        """Keep what is news; the rest, and all of other clusters, is dropped."""
        record = sighting.record
        if sighting.cluster_id != table.cluster_id or record.id == self._own.id:
            return
        if _is_news(table, record) and len(self._seen) < SIGHTINGS_MAX:
            self._seen[record.id] = record

    def forget(self, member: MemberID) -> None:
        """Drop what was seen of ``member``."""
        self._seen.pop(member, None)

    def news(self, table: Table) -> Member | None:
        """Return a record that the table should have, this node's own first."""
        if table.get(self._own.id) not in {None, self._own}:
            return self._own
        for member, record in list(self._seen.items()):
            if _is_news(table, record):
                return record
            del self._seen[member]
        return None


def _is_news(table: Table, record: Member) -> bool:
    """Whether the table should say something else of this very incarnation."""
    present = table.get(record.id)
    if present is not None:
        return present != record
    return table.invitation(record.id.id) is not None and not table.is_removed(record.id)
