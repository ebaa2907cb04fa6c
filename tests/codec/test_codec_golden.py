"""The bytes as they are on disks and wires today: a change here is a change of format."""

from __future__ import annotations

import pytest

from raftdb import codec
from raftdb.raft.messages import (
    AppendEntries,
    AppendEntriesResponse,
    Heartbeat,
    HeartbeatResponse,
    InstallSnapshot,
    Message,
    PreVote,
    PreVoteResponse,
    ReadIndex,
    ReadIndexResponse,
    RequestVote,
    RequestVoteResponse,
    TimeoutNow,
)
from raftdb.raft.types import (
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    ConfState,
    Entry,
    EntryID,
    HardState,
    MemberID,
    ReadID,
    SnapshotMetadata,
    Transition,
)

A = MemberID("a", 0x0A)
B = MemberID("bé", 2**128 - 1)
A_BYTES = "01 61 0000000000000000000000000000000a"
B_BYTES = "03 62c3a9 ffffffffffffffffffffffffffffffff"
CHANGE = ConfChange(
    changes=(
        ConfChangeSingle(ConfChangeKind.ADD_LEARNER, B),
        ConfChangeSingle(ConfChangeKind.REMOVE, A),
    ),
    transition=Transition.JOINT_IMPLICIT,
    context=b"ctx",
)
CHANGE_BYTES = f"01 02 0002 02 {B_BYTES} 03 {A_BYTES} 637478"
CONF_STATE = ConfState(voters=(A, B), voters_outgoing=(A,), learners_next=(B,), auto_leave=True)
CONF_STATE_BYTES = f"01 01 0002 {A_BYTES} {B_BYTES} 0001 {A_BYTES} 0000 0001 {B_BYTES}"
METADATA = SnapshotMetadata(EntryID(5, 9), CONF_STATE)
METADATA_BYTES = f"01 0000000000000005 0000000000000009 {CONF_STATE_BYTES}"
ENTRY_BYTES = "00000014 01 0000000000000002 0000000000000004 64617e"
ENTRY = Entry(2, 4, b"da~")

ENVELOPE = f"0000000000000007 {A_BYTES} {B_BYTES}"
PREVIOUS_BYTES = "0000000000000001 0000000000000003"
READ = ReadID(B, 2**64 - 1, 3)
COMMIT_BYTES = "0000000000000005 0000000000000008"
READ_BYTES = f"{B_BYTES} ffffffffffffffff 0000000000000003"
MESSAGES: list[tuple[Message, str]] = [
    (
        AppendEntries(A, B, 7, EntryID(1, 3), (ENTRY,), 2, 1),
        f"01 01 {ENVELOPE} {PREVIOUS_BYTES} 0000000000000002 0000000000000001 {ENTRY_BYTES}",
    ),
    (
        AppendEntriesResponse(A, B, 7, 9, True, EntryID(3, 8)),
        f"01 02 {ENVELOPE} 0000000000000009 01 0000000000000003 0000000000000008",
    ),
    (
        Heartbeat(A, B, 7, 1, 2, 3),
        f"01 03 {ENVELOPE} 0000000000000001 0000000000000002 0000000000000003",
    ),
    (HeartbeatResponse(A, B, 7, 3), f"01 04 {ENVELOPE} 0000000000000003 00"),
    (HeartbeatResponse(A, B, 7, 3, True), f"01 04 {ENVELOPE} 0000000000000003 01"),
    (
        PreVote(A, B, 7, EntryID(6, 9), True, EntryID(5, 8)),
        f"01 05 {ENVELOPE} 0000000000000006 0000000000000009 01 {COMMIT_BYTES}",
    ),
    (PreVoteResponse(A, B, 7, False, EntryID(5, 8)), f"01 06 {ENVELOPE} 00 {COMMIT_BYTES}"),
    (
        RequestVote(A, B, 7, EntryID(6, 9), False, EntryID(5, 8)),
        f"01 07 {ENVELOPE} 0000000000000006 0000000000000009 00 {COMMIT_BYTES}",
    ),
    (RequestVoteResponse(A, B, 7, True, EntryID(5, 8)), f"01 08 {ENVELOPE} 01 {COMMIT_BYTES}"),
    (InstallSnapshot(A, B, 7, METADATA), f"01 09 {ENVELOPE} {METADATA_BYTES}"),
    (TimeoutNow(A, B, 7), f"01 0a {ENVELOPE}"),
    (ReadIndex(A, B, 7, READ), f"01 0b {ENVELOPE} {READ_BYTES}"),
    (ReadIndexResponse(A, B, 7, READ, 6), f"01 0c {ENVELOPE} {READ_BYTES} 0000000000000006"),
]


class TestGoldenVectors:
    """Bytes written by hand from docs/protocol.md."""

    @pytest.mark.parametrize(
        ("message", "golden"), MESSAGES, ids=[type(message).__name__ for message, _ in MESSAGES]
    )
    def test_message(self, message: Message, golden: str) -> None:
        """Every message has exactly these bytes."""
        assert codec.encode_message(message).hex() == golden.replace(" ", "")
        assert codec.decode_message(bytes.fromhex(golden)) == message

    def test_messages_stand_behind_their_lengths(self) -> None:
        """A box holds messages, each after its length as u32."""
        message, golden = MESSAGES[10]
        one = bytes.fromhex("00000030" + golden)
        assert codec.encode_messages((message, message)) == one + one
        assert codec.decode_messages(one + one) == [message, message]

    def test_entry(self) -> None:
        """A proposal is length, tag 1, term, index, data."""
        assert codec.encode_entry(ENTRY) == bytes.fromhex(ENTRY_BYTES)
        assert codec.decode_entry(bytes.fromhex(ENTRY_BYTES)) == ENTRY

    def test_entry_with_a_configuration_change(self) -> None:
        """A change is tag 2 and stands where the data would."""
        entry = Entry(2, 5, b"", CHANGE)
        length = 17 + len(bytes.fromhex(CHANGE_BYTES))
        golden = bytes.fromhex(f"{length:08x} 02 0000000000000002 0000000000000005 {CHANGE_BYTES}")
        assert codec.encode_entry(entry) == golden
        assert codec.decode_entry(golden) == entry

    def test_entries_are_concatenated(self) -> None:
        """Several entries are one entry after the other, nothing around them."""
        other = Entry(3, 5)
        both = codec.encode_entry(ENTRY) + codec.encode_entry(other)
        assert codec.encode_entries((ENTRY, other)) == both
        assert codec.decode_entries(memoryview(both)) == (ENTRY, other)

    def test_conf_change(self) -> None:
        """Version, transition, count, kinds with members, context."""
        assert codec.encode_conf_change(CHANGE) == bytes.fromhex(CHANGE_BYTES)
        assert codec.decode_conf_change(bytes.fromhex(CHANGE_BYTES)) == CHANGE

    def test_conf_state(self) -> None:
        """Version, auto_leave, four counted groups."""
        assert codec.encode_conf_state(CONF_STATE) == bytes.fromhex(CONF_STATE_BYTES)
        assert codec.decode_conf_state(bytes.fromhex(CONF_STATE_BYTES)) == CONF_STATE

    def test_snapshot_metadata(self) -> None:
        """Version, term, index, configuration."""
        assert codec.encode_snapshot_metadata(METADATA) == bytes.fromhex(METADATA_BYTES)
        assert codec.decode_snapshot_metadata(bytes.fromhex(METADATA_BYTES)) == METADATA

    def test_hard_state(self) -> None:
        """Version, term, commit, and the vote after a flag."""
        golden = bytes.fromhex(f"01 0000000000000003 0000000000000002 01 {A_BYTES}")
        assert codec.encode_hard_state(HardState(3, A, 2)) == golden
        assert codec.decode_hard_state(golden) == HardState(3, A, 2)
        nobody = bytes.fromhex("01 0000000000000003 0000000000000000 00")
        assert codec.encode_hard_state(HardState(3)) == nobody

    def test_member_id(self) -> None:
        """Version, length of the id, id, incarnation."""
        assert codec.encode_member_id(B) == bytes.fromhex("01" + B_BYTES)
        assert codec.decode_member_id(bytes.fromhex("01" + B_BYTES)) == B
