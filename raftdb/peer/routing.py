"""Which connection a message travels on, so that a big batch never delays a heartbeat."""

from __future__ import annotations

from raftdb.peer.handshake import Kind
from raftdb.raft.messages import AppendEntries, InstallSnapshot, Message


def kind_of(message: Message) -> Kind:
    """Return the kind of connection for ``message``.

    What can be large goes on bulk: entries and snapshots. All else is small and urgent: heartbeats,
    votes, acknowledgements, reads, and appends that only move the commit index. The core tolerates
    that the two overtake each other.
    """
    match message:
        case AppendEntries(entries=entries) if entries:
            return Kind.BULK
        case InstallSnapshot():
            return Kind.BULK
        case _:
            return Kind.CONTROL
