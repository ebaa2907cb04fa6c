"""What the HTTP side needs from below, as protocols: the database, the membership, the node.

They promise Awaitables where the real ones return Deferreds: handlers do nothing but await.
:mod:`raftdb.database` and :mod:`raftdb.membership` fit them by shape.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Protocol

from raftdb.database import Level
from raftdb.membership import JoinAnswer, JoinRequest

__all__ = ["Database", "DeleteResult", "KeyValue", "Level", "Membership", "Position", "PutResult"]


class KeyValue(Protocol):
    """A key as it stands at one revision."""

    @property
    def value(self) -> bytes:
        """The value's bytes."""

    @property
    def create_revision(self) -> int:
        """The revision that created the key."""

    @property
    def mod_revision(self) -> int:
        """The revision that changed it last."""

    @property
    def version(self) -> int:
        """How often it was written since it was created."""


class PutResult(Protocol):
    """What a put has done."""

    @property
    def revision(self) -> int:
        """The store's revision after it."""


class DeleteResult(Protocol):
    """What a delete has done."""

    @property
    def revision(self) -> int:
        """The store's revision after it."""

    @property
    def deleted(self) -> int:
        """How many keys there were."""


class Position(Protocol):
    """Where this node stands, for the headers of every answer."""

    @property
    def applied_index(self) -> int:
        """The last index applied here."""

    @property
    def term(self) -> int:
        """The term this node is in."""

    @property
    def leader_id(self) -> str | None:
        """Who leads as far as this node knows, or None."""

    @property
    def leader_contact_age_s(self) -> float | None:
        """How long ago the leader was heard, or a quorum by the leader; None if never."""


class Database(Protocol):
    """Keys and values with consistency levels."""

    def get(
        self, key: bytes, level: Level, *, leader_only: bool, timeout_s: float
    ) -> Awaitable[KeyValue | None]:
        """Read one key."""

    def look_up(
        self, key: bytes, level: Level, *, leader_only: bool, timeout_s: float
    ) -> KeyValue | Awaitable[KeyValue | None] | None:
        """Read one key, at once where nothing has to be waited for."""

    def put(
        self, pairs: Sequence[tuple[bytes, bytes]], *, timeout_s: float
    ) -> Awaitable[PutResult]:
        """Write all pairs in one atomic entry."""

    def delete(self, keys: Sequence[bytes], *, timeout_s: float) -> Awaitable[DeleteResult]:
        """Delete keys in one atomic entry."""

    def position(self) -> Position:
        """Tell where this node stands now."""


class Membership(Protocol):
    """Who belongs to the cluster."""

    def add(self, request: JoinRequest) -> Awaitable[JoinAnswer]:
        """Take a node in, or let a present member stay."""

    def invite(self, member_id: str, raft_address: str, http_address: str) -> Awaitable[None]:
        """Expect a node whose incarnation its first Hello tells; nothing for a present member."""

    def remove(self, member_id: str) -> Awaitable[None]:
        """Remove a member by its id."""

    def transfer(self, to: str) -> Awaitable[None]:
        """Hand leadership over."""

    def members(self) -> object:
        """Return the members and how they fare, ready to be written as JSON."""
