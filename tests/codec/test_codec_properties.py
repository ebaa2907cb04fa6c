"""Every value comes back as it was; every other byte string is refused, by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from raftdb import codec
from raftdb.errors import LocalProtocolError, RemoteProtocolError
from raftdb.raft import messages as raft
from raftdb.raft.messages import AppendEntries, Message
from raftdb.raft.types import (
    TERM_MAX,
    ConfChange,
    ConfChangeKind,
    ConfChangeSingle,
    ConfState,
    Entry,
    EntryID,
    HardState,
    MemberID,
    MemberIDs,
    ReadID,
    SnapshotMetadata,
    Transition,
)

INDEXES = st.integers(0, codec.INDEX_MAX)
TERMS = st.integers(0, TERM_MAX)
U64 = st.integers(0, 2**64 - 1)
NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
MEMBERS = st.builds(MemberID, NAMES, st.integers(0, 2**128 - 1))
ENTRY_IDS = st.builds(EntryID, TERMS, INDEXES)
FLAGS = st.booleans()
CHANGES = st.builds(
    ConfChange,
    st.lists(st.builds(ConfChangeSingle, st.sampled_from(ConfChangeKind), MEMBERS), max_size=4).map(
        tuple
    ),
    st.sampled_from(Transition),
    st.binary(max_size=40),
)


def _sorted(members: list[MemberID]) -> MemberIDs:
    return tuple(sorted(set(members)))


GROUPS = st.lists(MEMBERS, max_size=4).map(_sorted)
CONF_STATES = st.builds(ConfState, GROUPS, GROUPS, GROUPS, GROUPS, FLAGS)
METADATA = st.builds(SnapshotMetadata, ENTRY_IDS, CONF_STATES)
HARD_STATES = st.builds(HardState, TERMS, st.none() | MEMBERS, INDEXES)
ENTRIES = st.one_of(
    st.builds(
        Entry, st.integers(1, TERM_MAX), st.integers(1, codec.INDEX_MAX), st.binary(max_size=99)
    ),
    st.builds(
        Entry,
        st.integers(1, TERM_MAX),
        st.integers(1, codec.INDEX_MAX),
        st.just(b""),
        CHANGES,
    ),
)
READS = st.builds(ReadID, MEMBERS, U64, U64)


@st.composite
def appends(draw: st.DrawFn) -> AppendEntries:
    """Draw an AppendEntries whose entries are one piece of one log."""
    previous = EntryID(draw(st.integers(0, 99)), draw(st.integers(0, 99)))
    entries: list[Entry] = []
    term = previous.term
    for offset in range(draw(st.integers(0, 5))):
        term = max(1, term + draw(st.integers(0, 2)))
        change = draw(st.none() | CHANGES)
        data = b"" if change is not None else draw(st.binary(max_size=30))
        entries.append(Entry(term, previous.index + 1 + offset, data, change))
    return AppendEntries(
        draw(MEMBERS),
        draw(MEMBERS),
        draw(st.integers(term, TERM_MAX)),
        previous,
        tuple(entries),
        draw(INDEXES),
        draw(INDEXES),
    )


ENVELOPE = (MEMBERS, MEMBERS, TERMS)
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    appends(),
    st.builds(raft.AppendEntriesResponse, *ENVELOPE, INDEXES, FLAGS, ENTRY_IDS),
    st.builds(raft.Heartbeat, *ENVELOPE, INDEXES, INDEXES, INDEXES),
    st.builds(raft.HeartbeatResponse, *ENVELOPE, INDEXES, st.booleans()),
    st.builds(raft.PreVote, *ENVELOPE, ENTRY_IDS, FLAGS, ENTRY_IDS),
    st.builds(raft.PreVoteResponse, *ENVELOPE, FLAGS, ENTRY_IDS),
    st.builds(raft.RequestVote, *ENVELOPE, ENTRY_IDS, FLAGS, ENTRY_IDS),
    st.builds(raft.RequestVoteResponse, *ENVELOPE, FLAGS, ENTRY_IDS),
    st.builds(raft.InstallSnapshot, *ENVELOPE, METADATA),
    st.builds(raft.TimeoutNow, *ENVELOPE),
    st.builds(raft.ReadIndex, *ENVELOPE, READS),
    st.builds(raft.ReadIndexResponse, *ENVELOPE, READS, INDEXES),
)

Recode = Callable[[bytes], bytes]
RECODERS: dict[str, Recode] = {
    "member_id": lambda raw: codec.encode_member_id(codec.decode_member_id(raw)),
    "hard_state": lambda raw: codec.encode_hard_state(codec.decode_hard_state(raw)),
    "conf_state": lambda raw: codec.encode_conf_state(codec.decode_conf_state(raw)),
    "conf_change": lambda raw: codec.encode_conf_change(codec.decode_conf_change(raw)),
    "metadata": lambda raw: codec.encode_snapshot_metadata(codec.decode_snapshot_metadata(raw)),
    "entry": lambda raw: codec.encode_entry(codec.decode_entry(raw)),
    "entries": lambda raw: codec.encode_entries(codec.decode_entries(raw)),
    "message": lambda raw: codec.encode_message(codec.decode_message(raw)),
    "messages": lambda raw: codec.encode_messages(codec.decode_messages(raw)),
}
"""Decode and encode again: possible only for the one form a value has."""


@st.composite
def damaged_messages(draw: st.DrawFn) -> bytes:
    """Draw a valid message with a few bytes changed, removed or added: deeper than pure noise."""
    raw = bytearray(codec.encode_message(draw(MESSAGES)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(raw) - 1)) if raw else 0
        match draw(st.integers(0, 2)):
            case 0 if raw:
                raw[at] = draw(st.integers(0, 255))
            case 1:
                del raw[at:]
            case _:
                raw[at:at] = draw(st.binary(max_size=5))
    return bytes(raw)


class TestRoundTrip:
    """encode, then decode, is the identity."""

    @given(MESSAGES)
    def test_message(self, message: Message) -> None:
        """Every message comes back equal, from bytes and from a view of them."""
        encoded = codec.encode_message(message)
        assert codec.decode_message(encoded) == message
        assert codec.decode_message(memoryview(encoded)) == message

    @given(st.lists(MESSAGES, max_size=4))
    def test_messages(self, messages: list[Message]) -> None:
        """A box of messages comes back in order."""
        assert codec.decode_messages(codec.encode_messages(messages)) == messages

    @given(st.lists(ENTRIES, max_size=4))
    def test_entries(self, entries: list[Entry]) -> None:
        """Entries come back in order, whatever their order is."""
        assert codec.decode_entries(codec.encode_entries(entries)) == tuple(entries)

    @given(HARD_STATES, METADATA, CHANGES, MEMBERS)
    def test_states(
        self, hard: HardState, metadata: SnapshotMetadata, change: ConfChange, member: MemberID
    ) -> None:
        """So do the hard state, snapshot metadata, configurations, changes and members."""
        conf_state = metadata.conf_state
        assert codec.decode_hard_state(codec.encode_hard_state(hard)) == hard
        assert codec.decode_snapshot_metadata(codec.encode_snapshot_metadata(metadata)) == metadata
        assert codec.decode_conf_state(codec.encode_conf_state(conf_state)) == conf_state
        assert codec.decode_conf_change(codec.encode_conf_change(change)) == change
        assert codec.decode_member_id(codec.encode_member_id(member)) == member


class TestAnyBytes:
    """Received bytes either decode, and then have one form, or raise RemoteProtocolError."""

    @settings(max_examples=400)
    @given(st.sampled_from(list(RECODERS)), st.binary(max_size=200))
    @example("entries", b"\xff" * 64)
    @example("messages", b"\xff\xff\xff\xff")
    @example("conf_state", b"\x01\x00\xff\xff")
    def test_noise(self, name: str, raw: bytes) -> None:
        """Noise never raises anything else."""
        self.judge(RECODERS[name], raw)

    @settings(max_examples=400)
    @given(st.sampled_from(list(RECODERS)), st.binary(max_size=200))
    def test_noise_behind_the_right_version(self, name: str, raw: bytes) -> None:
        """Nor does noise that begins well."""
        self.judge(RECODERS[name], b"\x01" + raw)

    @given(damaged_messages())
    def test_damaged_messages(self, raw: bytes) -> None:
        """Nor does a message with a few wrong bytes."""
        self.judge(RECODERS["message"], raw)

    @given(MESSAGES, st.data())
    def test_cut_off_messages(self, message: Message, data: st.DataObject) -> None:
        """A message cut off anywhere is refused, unless only whole entries are missing."""
        encoded = codec.encode_message(message)
        raw = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
        if not isinstance(message, AppendEntries):
            with pytest.raises(RemoteProtocolError):
                codec.decode_message(raw)
        self.judge(RECODERS["message"], raw)

    def judge(self, recode: Recode, raw: bytes) -> None:
        """Accept a refusal, or a value whose one form these bytes are."""
        try:
            again = recode(raw)
        except RemoteProtocolError:
            return
        assert again == raw


A = MemberID("a", 1)
B = MemberID("b", 1)


def append(term: int, previous: EntryID, *entries: Entry) -> bytes:
    """Return the bytes of an AppendEntries that only the receiver will judge."""
    return codec.encode_message(AppendEntries(A, B, term, previous, entries))


class TestRefusals:
    """Each rule by itself, with the words of the refusal."""

    @pytest.mark.parametrize(
        ("raw", "words"),
        [
            (append(2, EntryID(1, 1), Entry(1, 3)), "cannot follow"),
            (append(2, EntryID(2, 1), Entry(1, 2)), "cannot follow"),
            (append(2, EntryID(1, 1), Entry(1, 2), Entry(1, 2)), "cannot follow"),
            (append(2, EntryID(1, 1), Entry(3, 2)), "in a message of term 2"),
            (append(2, EntryID(3, 1)), "in a message of term 2"),
        ],
    )
    def test_entries_that_are_no_piece_of_a_log(self, raw: bytes, words: str) -> None:
        """A gap, a falling term or a term above the message's is refused."""
        with pytest.raises(RemoteProtocolError, match=words):
            codec.decode_message(raw)

    def test_a_term_above_the_limit(self) -> None:
        """No term above 2**62 gets in, in an envelope or in an entry."""
        heartbeat = bytearray(codec.encode_message(raft.TimeoutNow(A, B, TERM_MAX)))
        heartbeat[9] += 1
        with pytest.raises(RemoteProtocolError, match="above 2"):
            codec.decode_message(bytes(heartbeat))
        entry = bytearray(codec.encode_entry(Entry(TERM_MAX, 1)))
        entry[12] += 1
        with pytest.raises(RemoteProtocolError, match="out of range"):
            codec.decode_entry(bytes(entry))

    def test_an_entry_cut_off_or_too_long(self) -> None:
        """Cut anywhere, or with a length that does not fit, it is refused by name."""
        whole = codec.encode_entry(Entry(1, 1, b"data"))
        first = codec.encode_entry(Entry(1, 2))
        for cut in range(1, len(whole)):
            with pytest.raises(RemoteProtocolError, match=f"at byte {len(first)}"):
                codec.decode_entries(first + whole[:cut])
        for length in (0, 16, 22, 2**32 - 1):
            with pytest.raises(RemoteProtocolError, match="does not fit"):
                codec.decode_entries(length.to_bytes(4, "big") + whole[4:])

    def test_names_and_numbers_out_of_range(self) -> None:
        """Term 0, index 0, an empty id, an index above 2**62, a flag of 2."""
        zero = bytes(8)
        header = (17).to_bytes(4, "big") + b"\x01"
        one = (1).to_bytes(8, "big")
        for wrong in (header + zero + one, header + one + zero):
            with pytest.raises(RemoteProtocolError, match="out of range"):
                codec.decode_entry(wrong)
        with pytest.raises(RemoteProtocolError, match="empty member id"):
            codec.decode_member_id(b"\x01\x00" + bytes(16))
        for commit, flag, words in ((2**62 + 1, 0, "above"), (1, 2, "neither")):
            with pytest.raises(RemoteProtocolError, match=words):
                codec.decode_hard_state(b"\x01" + one + commit.to_bytes(8, "big") + bytes((flag,)))

    def test_bytes_behind_the_end(self) -> None:
        """What is too much is refused: a value has one form."""
        for encoded, decode in (
            (codec.encode_message(raft.TimeoutNow(A, B, 1)), codec.decode_message),
            (codec.encode_member_id(A), codec.decode_member_id),
            (codec.encode_hard_state(HardState(1)), codec.decode_hard_state),
            (codec.encode_conf_state(ConfState()), codec.decode_conf_state),
            (codec.encode_snapshot_metadata(SnapshotMetadata()), codec.decode_snapshot_metadata),
        ):
            with pytest.raises(RemoteProtocolError, match="too many"):
                decode(encoded + b"\x00")

    def test_members_out_of_order(self) -> None:
        """A group of members has one form: sorted, each once."""
        group = codec.encode_conf_state(ConfState(voters=(A, B)))
        a, b = codec.encode_member_id(A)[1:], codec.encode_member_id(B)[1:]
        for wrong in (group.replace(a + b, b + a), group.replace(a + b, a + a)):
            with pytest.raises(RemoteProtocolError, match="sorted"):
                codec.decode_conf_state(wrong)

    @pytest.mark.parametrize("name", ["member_id", "hard_state", "conf_state", "message"])
    def test_an_unknown_version(self, name: str) -> None:
        """What is unknown is refused, not guessed."""
        with pytest.raises(RemoteProtocolError, match="version 2 is unknown"):
            RECODERS[name](b"\x02" + bytes(60))

    @pytest.mark.parametrize(
        "encode",
        [
            lambda: codec.encode_member_id(MemberID("", 1)),
            lambda: codec.encode_member_id(MemberID("x" * 256, 1)),
            lambda: codec.encode_member_id(MemberID("\ud800", 1)),
            lambda: codec.encode_member_id(MemberID("a", 2**128)),
            lambda: codec.encode_hard_state(HardState(TERM_MAX + 1)),
            lambda: codec.encode_hard_state(HardState(1, None, -1)),
            lambda: codec.encode_entry(Entry(0, 1)),
            lambda: codec.encode_entry(Entry(1, 0)),
            lambda: codec.encode_entry(Entry(1, 1, b"x", ConfChange())),
            lambda: codec.encode_conf_state(ConfState(voters=(B, A))),
            lambda: codec.encode_message(raft.ReadIndex(A, B, 1, ReadID(A, 2**64, 0))),
        ],
    )
    def test_a_value_without_an_encoding(self, encode: Callable[[], bytes]) -> None:
        """Our own mistakes are LocalProtocolErrors, never bytes."""
        with pytest.raises(LocalProtocolError):
            encode()
