from __future__ import annotations

import pytest

from raftdb.errors import RemoteProtocolError
from raftdb.raft import guard
from raftdb.raft.messages import (
    AppendEntries,
    Heartbeat,
    InstallSnapshot,
    Message,
    ReadIndex,
    RequestVote,
    TimeoutNow,
)
from raftdb.raft.types import (
    TERM_MAX,
    ZERO,
    ConfState,
    Entry,
    EntryID,
    MemberID,
    ReadID,
    SnapshotMetadata,
)
from raftdb.simulation.cores.network import Network, member

A, B, C = map(member, "abc")
CONF = ConfState(voters=(A, B, C))


def append(*entries: tuple[int, int], term: int = 5, previous: EntryID = ZERO) -> AppendEntries:
    """An append from b to a with entries of these (term, index)."""
    return AppendEntries(
        sender=B,
        receiver=A,
        term=term,
        previous=previous,
        entries=tuple(Entry(*entry) for entry in entries),
    )


def install(last: EntryID, conf_state: ConfState = CONF, term: int = 5) -> InstallSnapshot:
    """A snapshot from b to a."""
    snapshot = SnapshotMetadata(last, conf_state)
    return InstallSnapshot(sender=B, receiver=A, term=term, snapshot=snapshot)


class TestGuard:
    """What no correct node sends is refused before any rule looks at it."""

    @pytest.mark.parametrize(
        "message",
        [
            TimeoutNow(sender=B, receiver=A, term=1),
            TimeoutNow(sender=B, receiver=A, term=TERM_MAX),
            append(),
            append((4, 8), (5, 9), previous=EntryID(4, 7)),
            Heartbeat(sender=B, receiver=A, term=5, commit=3, match=3, round=1),
            install(EntryID(5, 1)),
            ReadIndex(sender=B, receiver=A, term=5, read=ReadID(B, 0, 1)),
        ],
        ids=repr,
    )
    def test_what_a_correct_node_sends_passes(self, message: Message) -> None:
        """At the very edge, too."""
        guard.check(message, A)

    @pytest.mark.parametrize(
        ("message", "reason"),
        [
            (TimeoutNow(sender=B, receiver=C, term=1), "came to"),
            (TimeoutNow(sender=B, receiver=MemberID("a", 2), term=1), "came to"),
            (TimeoutNow(sender=A, receiver=A, term=1), "from itself"),
            (TimeoutNow(sender=B, receiver=A, term=0), "term 0 is not in"),
            (TimeoutNow(sender=B, receiver=A, term=TERM_MAX + 1), "is not in"),
            (append((5, 2)), "does not continue"),
            (append((5, 1), (5, 3)), "does not continue"),
            (append((5, 1), (4, 2)), "does not continue"),
            (append((3, 8), previous=EntryID(4, 7)), "does not continue"),
            (append((6, 1)), "an append of term 5 carries"),
            (append(previous=EntryID(6, 1)), "an append of term 5 carries"),
            (append(previous=EntryID(0, -1)), "an append of term 5 carries"),
            (Heartbeat(sender=B, receiver=A, term=5, commit=4, match=3, round=1), "beyond"),
            (Heartbeat(sender=B, receiver=A, term=5, commit=-1, match=3, round=1), "beyond"),
            (Heartbeat(sender=B, receiver=A, term=5, commit=3, match=3, round=0), "below 1"),
            (install(EntryID(5, 0)), "ends with"),
            (install(EntryID(0, 3)), "ends with"),
            (install(EntryID(6, 3)), "ends with"),
            (install(EntryID(5, 3), ConfState(voters=(B, A))), "configuration is impossible"),
            (ReadIndex(sender=B, receiver=A, term=5, read=ReadID(C, 0, 1)), "another member's"),
        ],
        ids=repr,
    )
    def test_what_no_correct_node_sends_is_refused(self, message: Message, reason: str) -> None:
        """By the name of what is wrong with it."""
        with pytest.raises(RemoteProtocolError, match=reason):
            guard.check(message, A)

    def test_a_node_looks_before_it_believes(self) -> None:
        """A term beyond every honest one does not move ours."""
        network = Network(3)
        network.elect("a")
        with pytest.raises(RemoteProtocolError):
            network["b"].step(
                RequestVote(sender=C, receiver=B, term=TERM_MAX + 1, last=EntryID(9, 9))
            )
        assert network["b"].term == 1
