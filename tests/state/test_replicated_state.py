"""The replicated state as a whole: dispatch, time, hash, snapshot."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from raftdb.errors import Corrupt, IdempotencyMismatch, TooLarge
from raftdb.raft.types import ConfState, MemberID
from raftdb.state import (
    ClientRequest,
    KeyedRequest,
    ReplicatedState,
    RequestID,
    UnknownCommand,
    encode_entry,
)
from raftdb.state.feed import AppliedChanges
from raftdb.state.kv.commands import COMMAND_KEYS_MAX, Delete, DeleteRange, Put, SetRetention
from raftdb.state.kv.values import DeleteResult, PutResult, Retention, decode_version
from raftdb.state.members import InitCluster, Invite, Member, SetFeatureLevel, encode_context
from raftdb.state.requests import SetPromise

ANNA = MemberID("anna", 7)
BERT = MemberID("bert", 2**127)


ONCE = ClientRequest(b"client", 1, 1)


def put(key: bytes, value: bytes, *, wall_ms: int = 0, request: RequestID | None = None) -> bytes:
    """Return the entry of one put."""
    return encode_entry(Put(((key, value),)), wall_ms=wall_ms, request=request)


def some_state() -> ReplicatedState:
    """Return a state with something in every part."""
    state = ReplicatedState()
    context = encode_context((Member(ANNA, "a:1", "a:2"), Member(BERT, "b:1", "b:2")))
    state.apply_conf_change(1, context, ConfState(voters=(ANNA, BERT)))
    state.apply(2, encode_entry(InitCluster.of(2**100), wall_ms=5))
    state.apply(3, encode_entry(SetPromise(1_000), wall_ms=4))
    state.apply(5, put(b"k", b"1", request=ONCE))
    state.apply(6, put(b"k", b"2"))
    return state


def copy(state: ReplicatedState) -> ReplicatedState:
    """Return what a snapshot of ``state`` restores."""
    other = ReplicatedState()
    restorer = other.restore()
    for section, chunk in state.snapshot():
        restorer.feed(section, chunk)
    restorer.finish()
    return other


class TestApply:
    """An envelope reaches its part; what is unknown stops the node."""

    def test_a_put_can_be_read(self) -> None:
        """The key-value store answers what was applied."""
        state = ReplicatedState()
        assert state.apply(1, put(b"k", b"v")) == PutResult(2)
        found = state.kv.get(b"k")
        assert found is not None
        assert found.value == b"v"

    def test_time_never_goes_back(self) -> None:
        """A leader with a clock behind changes nothing (DESIGN section 7)."""
        state = ReplicatedState()
        state.apply(1, put(b"k", b"v", wall_ms=10))
        state.apply(2, put(b"k", b"v", wall_ms=3))
        assert state.time_ms == 10

    @pytest.mark.parametrize("envelope", [b"\2", b"\1\1\0" + bytes(8), b"\2\x09\0" + bytes(8)])
    def test_an_unknown_command_stops_the_node(self, envelope: bytes) -> None:
        """Guessing would make this replica another one."""
        with pytest.raises(UnknownCommand, match="index 1"):
            ReplicatedState().apply(1, envelope)

    def test_a_repeat_happens_once(self) -> None:
        """Exactly once: the second sending gets the first one's result."""
        state = some_state()
        assert state.apply(7, put(b"k", b"1", request=ONCE)) == PutResult(2)
        assert state.kv.revision == 3

    def test_another_command_under_its_name_is_refused(self) -> None:
        """By what it says, not by when it was sent."""
        state = some_state()
        refused = state.apply(7, put(b"k", b"other", request=ONCE))
        assert isinstance(refused, IdempotencyMismatch)
        assert state.apply(8, put(b"k", b"1", wall_ms=9, request=ONCE)) == PutResult(2)

    def test_a_refusal_is_not_remembered(self) -> None:
        """It changed nothing, so sending it again is a new attempt."""
        state = some_state()
        pairs = tuple((b"%05d" % n, b"") for n in range(COMMAND_KEYS_MAX))
        for index, part in enumerate((pairs[:2], pairs), 7):
            state.apply(index, encode_entry(Put(part), wall_ms=0))
        entry = encode_entry(DeleteRange(b""), wall_ms=0, request=KeyedRequest(b"all"))
        assert isinstance(state.apply(9, entry), TooLarge)
        state.apply(10, encode_entry(Delete((b"k",)), wall_ms=0))
        assert isinstance(state.apply(11, entry), DeleteResult)

    def test_a_name_where_there_are_none_stops_the_node(self) -> None:
        """Only what has an answer to remember has a name."""
        entry = bytearray(put(b"k", b"v", request=ONCE))
        entry[1] = 2  # the members
        with pytest.raises(UnknownCommand):
            ReplicatedState().apply(1, bytes(entry))


class _Follower:
    """Writes down what it is handed."""

    def __init__(self) -> None:
        self.pages: list[list[AppliedChanges]] = []
        self.restarts: list[int] = []

    def changed(self, page: Sequence[AppliedChanges]) -> None:
        self.pages.append(list(page))

    def restarted(self, index: int) -> None:
        self.restarts.append(index)


class TestTheFeed:
    """What applying changed reaches whoever subscribed."""

    def test_in_order_once_per_page(self) -> None:
        """Not with each entry; a command that changes nothing says nothing, nor does a repeat."""
        state, follower = ReplicatedState(), _Follower()
        state.feed.subscribe(follower)
        state.apply(1, put(b"a", b"1", request=ONCE))
        state.apply(2, encode_entry(Delete((b"x",)), wall_ms=0))
        state.apply(3, put(b"b", b"2"))
        state.apply(4, put(b"a", b"1", request=ONCE))
        assert follower.pages == []
        state.page_applied()
        state.page_applied()
        (page,) = follower.pages
        assert [(one.part, one.index) for one in page] == [("kv", 1), ("kv", 3)]
        assert [[decode_version(record).key for record in one.changes] for one in page] == [
            [b"a"],
            [b"b"],
        ]

    def test_nothing_is_kept_where_nobody_subscribed(self) -> None:
        """A subscriber hears from its subscription on, until it ends."""
        state, follower = ReplicatedState(), _Follower()
        state.apply(1, put(b"a", b"1"))
        unsubscribe = state.feed.subscribe(follower)
        state.apply(2, put(b"b", b"2"))
        state.page_applied()
        unsubscribe()
        state.apply(3, put(b"c", b"3"))
        state.page_applied()
        assert [one.index for page in follower.pages for one in page] == [2]

    def test_a_snapshot_restarts_it(self) -> None:
        """What it skipped is not told entry by entry."""
        state, follower = ReplicatedState(), _Follower()
        state.feed.subscribe(follower)
        restorer = state.restore()
        for section, chunk in some_state().snapshot():
            restorer.feed(section, chunk)
        restorer.finish()
        assert (follower.pages, follower.restarts) == ([], [6])


class TestTheHash:
    """It covers whatever a later command may depend on: replicas that differ must be found."""

    @pytest.mark.parametrize(
        "entry",
        [
            put(b"k", b"3", wall_ms=5),
            encode_entry(Invite("n9", "h:1", "h:2"), wall_ms=5),
            encode_entry(SetFeatureLevel(1), wall_ms=6),
            encode_entry(SetPromise(2_000), wall_ms=5),
            put(b"k", b"1", wall_ms=5, request=ClientRequest(b"client", 2, 2)),
            encode_entry(SetRetention(Retention(revisions=7)), wall_ms=5),
        ],
        ids=["keys", "members", "the clock alone", "the promise", "requests", "the retention"],
    )
    def test_each_part_changes_it(self, entry: bytes) -> None:
        """One change in one of them is enough."""
        state = some_state()
        before = state.state_hash
        state.apply(7, entry)
        assert state.state_hash != before

    def test_the_same_log_gives_the_same_one(self) -> None:
        """The index is not in it: entries without data may be left out."""
        one, other = some_state(), some_state()
        one.apply(7, put(b"k", b"3"))
        other.apply(9, put(b"k", b"3"))
        assert one.state_hash == other.state_hash


class TestSnapshot:
    """What is restored is what was there."""

    def test_restores_every_part(self) -> None:
        """Keys, members, requests, time and index come back, with the same hash."""
        state = some_state()
        other = copy(state)
        assert other.state_hash == state.state_hash
        assert other.applied_index == 6
        assert other.time_ms == 5
        assert other.members.cluster_id == 2**100
        assert [member.http_address for member in other.members.members] == ["a:2", "b:2"]
        assert other.kv.get(b"k") == state.kv.get(b"k")
        assert other.kv.get(b"k", 2) == state.kv.get(b"k", 2)
        assert other.apply(7, put(b"k", b"1", request=ONCE)) == PutResult(2)

    def test_a_flipped_bit_is_noticed(self) -> None:
        """The hash is recomputed and compared."""
        restorer = ReplicatedState().restore()
        for section, chunk in some_state().snapshot():
            changed = chunk[:-1] + bytes([chunk[-1] ^ 1]) if section == "requests" else chunk
            restorer.feed(section, changed)
        with pytest.raises(Corrupt):
            restorer.finish()
