"""The header fields by which every response says where its node stands."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote

import msgspec

from raftdb.database import Position
from raftdb.http.responder import Fields

__all__ = ["RaftHeaders", "raft_headers"]


class RaftHeaders(msgspec.Struct, frozen=True, gc=False):
    """Where the node stands when an answer is written, as the headers tell it.

    :param leader_id: as it may stand in a header; empty where nobody is known to lead
    :param leader_contact_age_ms: None for never
    """

    applied_index: int
    term: int
    leader_id: bytes
    leader_contact_age_ms: int | None

    def fields(self) -> Fields:
        """Return the header fields."""
        fields: Fields = (
            (b"Raftdb-Applied-Index", b"%d" % self.applied_index),
            (b"Raftdb-Term", b"%d" % self.term),
        )
        if self.leader_id:
            fields += ((b"Raftdb-Leader", self.leader_id),)
        if self.leader_contact_age_ms is not None:
            fields += ((b"Raftdb-Leader-Contact-Age-Ms", b"%d" % self.leader_contact_age_ms),)
        return fields

    def lines(self) -> bytes:
        """Return the same as the lines of a head, each with CR LF in front."""
        if self.leader_id and self.leader_contact_age_ms is not None:
            return _STAND % (
                self.applied_index,
                self.term,
                self.leader_id,
                self.leader_contact_age_ms,
            )
        return b"".join([b"\r\n%b: %b" % field for field in self.fields()])


_STAND = b"".join(
    b"\r\n%b: %b" % field
    for field in (
        (b"Raftdb-Applied-Index", b"%d"),
        (b"Raftdb-Term", b"%d"),
        (b"Raftdb-Leader", b"%b"),
        (b"Raftdb-Leader-Contact-Age-Ms", b"%d"),
    )
)


def raft_headers(position: Position) -> RaftHeaders:
    """Return the header fields for ``position``."""
    age_s = position.leader_contact_age_s
    return RaftHeaders(
        position.applied_index,
        position.term,
        _quoted(position.leader_id) if position.leader_id else b"",
        None if age_s is None else int(age_s * 1000),
    )


@lru_cache(maxsize=16)
def _quoted(leader_id: str) -> bytes:
    """Return a name as it may stand in a header."""
    return quote(leader_id).encode()
