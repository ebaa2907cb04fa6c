"""Everything that can go wrong, as one tree; each error says whether the operation happened.

This module knows no other module and no HTTP status: :mod:`raftdb.http` maps errors to statuses in
one table. The two branches that matter to a caller are :class:`Refused`, after which an operation
may be repeated without fear, and :class:`OutcomeUnknown`, after which it may not.
"""

from __future__ import annotations

__all__ = [
    "Compacted",
    "CompareFailed",
    "ConfChangeError",
    "Corrupt",
    "DataLost",
    "IdempotencyMismatch",
    "InvalidRequest",
    "JoinRefused",
    "KeyNotFound",
    "LeadershipLost",
    "LocalProtocolError",
    "MembershipBusy",
    "NoLeader",
    "NotLeader",
    "OutcomeUnknown",
    "Overloaded",
    "ProposalDropped",
    "ProtocolError",
    "RaftDBError",
    "Refused",
    "RemoteProtocolError",
    "ShuttingDown",
    "StorageError",
    "Timeout",
    "TooLarge",
    "Unreachable",
]


class RaftDBError(Exception):
    """The root of all errors raised on purpose by raftdb."""


class Refused(RaftDBError):
    """The operation surely did not happen; the message says why."""


class NotLeader(Refused):
    """This node does not lead, and knows who does.

    :param leader: the leader's id, as given by ``--id``
    :param http_address: the leader's advertised ``host:port`` for clients, or the empty string
        where it is not known yet
    """

    def __init__(self, leader: str, http_address: str = "") -> None:
        super().__init__(f"node is not the leader; the leader is {leader} at {http_address or '?'}")
        self.leader = leader
        self.http_address = http_address


class NoLeader(Refused):
    """No leader is known at the moment; an election may be under way."""

    def __init__(self, message: str = "no leader is known at the moment") -> None:
        super().__init__(message)


class ProposalDropped(Refused):
    """The proposal was not accepted, or its place in the log went to another entry."""


class Overloaded(Refused):
    """A named limit is reached: waiting requests, uncommitted bytes or reserved log space."""


class InvalidRequest(Refused):
    """The request itself is wrong; the message names what is wrong and what would be right."""


class TooLarge(InvalidRequest):
    """A key, a value or a body is beyond its named limit."""


class KeyNotFound(Refused):
    """The key does not exist at the revision that was read."""

    def __init__(self, key: bytes) -> None:
        super().__init__(f"key {key!r} does not exist")
        self.key = key


class CompareFailed(Refused):
    """A compare-and-swap found something else than it expected; nothing was changed."""


class IdempotencyMismatch(Refused):
    """The name of this request belongs to another request; nothing was changed."""


class ConfChangeError(Refused):
    """A change of the membership is refused: the message names the guard that forbids it."""


class MembershipBusy(ConfChangeError):
    """The membership cannot change just now; it passes by itself, so asking again may help."""


class JoinRefused(ConfChangeError):
    """The cluster will not take this node as it is; asking again is no use."""


class ShuttingDown(Refused):
    """The node is stopping and takes nothing new."""

    def __init__(self, message: str = "the node is shutting down") -> None:
        super().__init__(message)


class Unreachable(Refused):
    """No connection came about, so that nothing was sent."""


class OutcomeUnknown(RaftDBError):
    """The operation may or may not happen; it must not be repeated blindly."""


class LeadershipLost(OutcomeUnknown):
    """The entry was in the log of a leader that cannot tell any more what became of it.

    A snapshot jumped over its index, or the node stopped while it was in flight.
    """


class Timeout(OutcomeUnknown):
    """The deadline passed before the outcome was known."""


class StorageError(RaftDBError):
    """The data directory cannot be used, or a durable step failed."""


class Compacted(StorageError):
    """What was asked for is no longer kept: the log or the history begins later."""


class Corrupt(StorageError):
    """Bytes on the disk are not what was written.

    :param path: the file
    :param offset: where in it, in bytes
    :param what: what is wrong and what to do about it
    """

    def __init__(self, path: str, offset: int, what: str) -> None:
        super().__init__(f"{path} at byte {offset}: {what}")
        self.path = path
        self.offset = offset
        self.what = what


class DataLost(StorageError):
    """This node promised to keep something and does not have it any more [R1].

    It must not speak again under its name: what it forgot may be what a majority rests on. Wipe the
    data directory and let it join anew.
    """


class ProtocolError(RaftDBError):
    """A rule of the protocol is broken."""


class LocalProtocolError(ProtocolError):
    """Our own side used a part in a way its contract forbids: a bug on this side."""


class RemoteProtocolError(ProtocolError):
    """The other side sent what its contract forbids; the message names it."""
