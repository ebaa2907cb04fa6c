"""The key-value store: revisions, versions, and reading the past."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from raftdb.errors import Compacted, InvalidRequest, TooLarge
from raftdb.state.kv.commands import (
    COMMAND_KEYS_MAX,
    Absent,
    CompareAndSwap,
    Delete,
    DeleteRange,
    ModRevisionIs,
    Put,
    SetRetention,
    ValueIs,
)
from raftdb.state.kv.containers import SortedKeys
from raftdb.state.kv.store import KeyValueStore, StoreRestorer
from raftdb.state.kv.values import (
    CompareAndSwapResult,
    DeleteResult,
    KeyValue,
    PutResult,
    Retention,
    RetentionResult,
    decode_version,
)
from raftdb.state.part import Context

NOW = Context(1, 0)


def put(*names: bytes, value: bytes = b"v") -> Put:
    """Return a command that writes ``value`` to each of ``names``."""
    return Put(tuple((name, value) for name in names))


def filled(*names: bytes) -> KeyValueStore:
    """Return a store that holds ``names``, all written at revision 2."""
    store = KeyValueStore()
    store.apply(NOW, put(*names))
    return store


class TestRevisions:
    """One store revision, one more with each command that changed something."""

    def test_a_put_of_many_keys_is_one_revision(self) -> None:
        """All keys of one command carry the same revision."""
        store = filled(b"a", b"b")
        assert store.revision == 2
        assert store.get(b"b") == KeyValue(b"b", b"v", 2, 2, 1)

    def test_the_same_value_again_is_a_change(self) -> None:
        """A put always writes a version, as its writer can see in mod_revision."""
        store = filled(b"a")
        store.apply(NOW, put(b"a"))
        assert store.get(b"a") == KeyValue(b"a", b"v", 2, 3, 2)

    def test_a_key_that_comes_twice_is_written_once(self) -> None:
        """Of duplicates in one command the last counts."""
        store = KeyValueStore()
        result, changes = store.apply(NOW, Put(((b"a", b"1"), (b"b", b""), (b"a", b"2"))))
        assert result == PutResult(2)
        assert [decode_version(kv).value for kv in changes] == [b"2", b""]

    def test_what_changes_nothing_is_no_revision(self) -> None:
        """An empty put, deletions of nothing and a failed compare leave the revision."""
        store = filled(b"a")
        store.apply(NOW, Put(()))
        store.apply(NOW, Delete((b"x",)))
        store.apply(NOW, DeleteRange(b"x"))
        store.apply(NOW, CompareAndSwap(b"a", Absent(), b"new"))
        store.apply(NOW, CompareAndSwap(b"x", Absent(), None))
        assert store.revision == 2

    def test_a_recreated_key_starts_anew(self) -> None:
        """Creation revision and version count from the last creation."""
        store = filled(b"a")
        store.apply(NOW, Delete((b"a",)))
        store.apply(NOW, put(b"a"))
        assert store.get(b"a") == KeyValue(b"a", b"v", 4, 4, 1)
        assert store.get(b"a", 3) is None


class NotToBeWalked(SortedKeys):
    """Keys that nobody may ask for in their order."""

    def walk(self, start: bytes, end: bytes = b"") -> Iterator[bytes]:
        """Fail."""
        raise AssertionError((start, end))


class TestDelete:
    """Deleting answers how many keys went."""

    def test_counts_what_existed(self) -> None:
        """Missing keys and duplicates do not count."""
        store = filled(b"a", b"b")
        result, changes = store.apply(NOW, Delete((b"a", b"x", b"a")))
        assert result == DeleteResult(3, 1)
        assert [decode_version(kv) for kv in changes] == [KeyValue(b"a", b"", 0, 3, 0)]
        assert len(store) == 1

    def test_a_range_is_half_open(self) -> None:
        """The end stays; an empty end means: to the end."""
        store = filled(b"a", b"b", b"c", b"d")
        assert store.apply(NOW, DeleteRange(b"b", b"c"))[0] == DeleteResult(3, 1)
        assert store.apply(NOW, DeleteRange(b"c"))[0] == DeleteResult(4, 2)
        assert [kv.key for kv in store.range(b"").pairs] == [b"a"]

    def test_a_range_beyond_the_limit_is_refused_whole(self) -> None:
        """One command is bounded work, and all or nothing."""
        store = filled(*(b"%05d" % n for n in range(COMMAND_KEYS_MAX)))
        store.apply(NOW, put(b"one more"))
        result, changes = store.apply(NOW, DeleteRange(b""))
        assert isinstance(result, TooLarge)
        assert changes == ()
        assert len(store) == COMMAND_KEYS_MAX + 1
        result, _ = store.apply(NOW, DeleteRange(b"0", b"9"))
        assert result == DeleteResult(4, COMMAND_KEYS_MAX)

    def test_a_range_costs_nothing_for_what_was_deleted_before(self) -> None:
        """One command is bounded work, also over a hundred thousand retained tombstones.

        1. A queue: keys are written at the end and deleted at the beginning. 2. Each deletion of a
        range that begins with the first key would walk over all tombstones that are retained, a fifth
        of a second on every replica at once: longer than an election timeout for some.
        """
        names = [b"%03d" % n for n in range(200)]
        store = filled(*names)
        store.apply(NOW, DeleteRange(b"", names[-1]))
        assert list(store._history.visit(b"")) == names, "the tombstones are retained"
        store._history._dead = NotToBeWalked()
        assert store.apply(NOW, DeleteRange(b""))[0] == DeleteResult(4, 1)
        assert len(store) == 0


class TestCompareAndSwap:
    """It changes the key only if it is as expected, and answers how it stands."""

    def test_absent_creates_once(self) -> None:
        """The second creator sees the first one's key."""
        store = KeyValueStore()
        created = KeyValue(b"k", b"1", 2, 2, 1)
        first, _ = store.apply(NOW, CompareAndSwap(b"k", Absent(), b"1"))
        second, _ = store.apply(NOW, CompareAndSwap(b"k", Absent(), b"2"))
        assert first == CompareAndSwapResult(2, swapped=True, current=created)
        assert second == CompareAndSwapResult(2, swapped=False, current=created)

    def test_by_revision(self) -> None:
        """A stale revision swaps nothing."""
        store = filled(b"k")
        swapped, _ = store.apply(NOW, CompareAndSwap(b"k", ModRevisionIs(2), b"2"))
        stale, _ = store.apply(NOW, CompareAndSwap(b"k", ModRevisionIs(2), b"3"))
        assert isinstance(swapped, CompareAndSwapResult)
        assert isinstance(stale, CompareAndSwapResult)
        assert (swapped.swapped, stale.swapped) == (True, False)
        assert stale.current == KeyValue(b"k", b"2", 2, 3, 2)

    def test_by_value_and_delete(self) -> None:
        """Without a new value the key is deleted."""
        store = filled(b"k")
        refused, _ = store.apply(NOW, CompareAndSwap(b"k", ValueIs(b"other"), None))
        deleted, _ = store.apply(NOW, CompareAndSwap(b"k", ValueIs(b"v"), None))
        assert isinstance(refused, CompareAndSwapResult)
        assert not refused.swapped
        assert deleted == CompareAndSwapResult(3, swapped=True, current=None)
        assert store.get(b"k") is None

    def test_a_missing_key_meets_no_other_expectation(self) -> None:
        """An empty value is not an absent key."""
        store = KeyValueStore()
        for expected in (ModRevisionIs(2), ValueIs(b"")):
            result, _ = store.apply(NOW, CompareAndSwap(b"k", expected, b"1"))
            assert result == CompareAndSwapResult(1, swapped=False, current=None)


class TestReadingThePast:
    """Every revision since the compact revision can be read."""

    def test_each_version_at_its_revisions(self) -> None:
        """From its own revision until the next one's."""
        store = filled(b"k")
        store.apply(NOW, put(b"other"))
        store.apply(NOW, put(b"k", value=b"w"))
        found = [store.get(b"k", revision) for revision in range(1, 5)]
        assert [kv and kv.value for kv in found] == [None, b"v", b"v", b"w"]

    def test_beyond_what_is_kept(self) -> None:
        """A compacted or future revision is refused, not approximated."""
        store = KeyValueStore()
        store.apply(NOW, SetRetention(Retention(revisions=1)))
        for _ in range(3):
            store.apply(NOW, put(b"k"))
        assert store.compact_revision == 3
        with pytest.raises(Compacted):
            store.get(b"k", 2)
        with pytest.raises(Compacted):
            store.range(b"", revision=2)
        with pytest.raises(InvalidRequest):
            store.get(b"k", 5)


class TestRange:
    """Pages in bytewise order, all from one revision."""

    def test_bounds_and_order(self) -> None:
        """Start is in, end is out."""
        store = filled(b"b", b"\xff", b"a\0", b"a", b"c")
        assert [kv.key for kv in store.range(b"").pairs] == [b"a", b"a\0", b"b", b"c", b"\xff"]
        assert [kv.key for kv in store.range(b"a\0", b"c").pairs] == [b"a\0", b"b"]

    def test_pages_continue_at_one_revision(self) -> None:
        """What is written or deleted between two pages does not show."""
        store = filled(b"a", b"b", b"c")
        first = store.range(b"", limit=1)
        assert first.next == b"b"
        store.apply(NOW, Delete((b"b",)))
        store.apply(NOW, put(b"bb"))
        rest = store.range(first.next, revision=first.revision)
        assert [kv.key for kv in rest.pairs] == [b"b", b"c"]
        assert rest.next is None

    def test_ends_early_at_its_bytes(self) -> None:
        """A page of large values is cut, but holds at least one."""
        store = KeyValueStore()
        for name in (b"a", b"b", b"c"):
            store.apply(NOW, put(name, value=bytes(1_500_000)))
        page = store.range(b"")
        assert [kv.key for kv in page.pairs] == [b"a"]
        assert page.next == b"b"

    @pytest.mark.parametrize("limit", [0, -1, 10_001])
    def test_the_limit_has_a_range(self, limit: int) -> None:
        """No page without bound."""
        with pytest.raises(InvalidRequest):
            KeyValueStore().range(b"", limit=limit)


class TestRetention:
    """History is bounded in revisions and in bytes, the same on every replica."""

    def test_counts_revisions(self) -> None:
        """At most so many revisions behind the newest."""
        store = KeyValueStore()
        store.apply(NOW, SetRetention(Retention(revisions=10)))
        for _ in range(25):
            store.apply(NOW, put(b"k"))
        assert store.compact_revision == 16

    def test_counts_bytes(self) -> None:
        """Superseded values are given up before they outgrow the limit."""
        store = KeyValueStore()
        store.apply(NOW, SetRetention(Retention(bytes=10_000)))
        for _ in range(20):
            store.apply(NOW, put(b"k", value=bytes(1_000)))
        # A superseded version counts 1,000 + 1 + 128 bytes: eight fit.
        assert store.compact_revision == 1 + 20 - 8

    def test_a_shorter_retention_takes_effect_at_once(self) -> None:
        """The answer tells what is left."""
        store = filled(b"k")
        for _ in range(5):
            store.apply(NOW, put(b"k"))
        assert store.apply(NOW, SetRetention(Retention(revisions=2)))[0] == RetentionResult(5)

    def test_removes_a_few_keys_per_command(self) -> None:
        """What 4,000 keys leave behind is freed by and by, never at once."""
        store = filled(*(b"%05d" % n for n in range(4_000)))
        store.apply(NOW, DeleteRange(b""))
        store.apply(NOW, SetRetention(Retention(revisions=0)))
        history = store._history
        assert len(history._newest) == 4_000
        store.apply(NOW, put(b"k"))
        assert 3_900 < len(history._newest) < 4_000
        for _ in range(300):
            store.apply(NOW, put(b"k"))
        assert list(history.visit(b"")) == [b"k"]
        assert len(history._newest) == 1
        assert not len(history._past)
        assert history._garbage_bytes == 0

    def test_removal_stops_at_what_can_be_read(self) -> None:
        """A deletion removes all before it at once; what later revisions left is not taken twice."""
        store = filled(b"k")
        pieces = store.pieces()  # everything waits for it
        store.apply(NOW, put(b"k"))
        store.apply(NOW, Delete((b"k",)))
        for value in (b"4", b"5", b"6"):
            store.apply(NOW, put(b"k", value=value))
        store.apply(NOW, SetRetention(Retention(revisions=1)))
        pieces.close()
        store.apply(NOW, Put(()))
        assert store._history._garbage_bytes == 0
        found = store.get(b"k", 6)
        assert found is not None
        assert found.value == b"5"

    def test_what_a_snapshot_held_back_goes_by_and_by(self) -> None:
        """Each command frees a few revisions; what can be read stays."""
        store = filled(b"k")
        for number in range(1_000):
            store.apply(NOW, put(b"k", value=b"%d" % number))
        pieces = store.pieces()
        store.apply(NOW, SetRetention(Retention(revisions=10)))
        for _ in range(100):
            store.apply(NOW, put(b"k"))
        assert len(store._history._past) == 1_010
        pieces.close()
        store.apply(NOW, put(b"k"))
        assert 900 < len(store._history._past) < 1_000
        for _ in range(100):
            store.apply(NOW, put(b"k"))
        assert len(store._history._past) == 10

    def test_a_revision_of_many_keys_is_freed_in_one_piece(self) -> None:
        """A single write does not pay for the hundred keys of each of those that leave with it."""
        store = KeyValueStore()
        names = [b"%03d" % n for n in range(100)]
        for _ in range(50):
            store.apply(NOW, put(*names))
        store.apply(NOW, SetRetention(Retention(revisions=0)))
        left = len(store._history._garbage)
        store.apply(NOW, put(b"one"))
        assert len(store._history._garbage) == left - 1

    def test_what_leaves_the_history_of_a_key_leaves_the_hash(self) -> None:
        """Hashed anew it is the same."""
        store = filled(b"k")
        store.apply(NOW, SetRetention(Retention(revisions=30)))
        for number in range(80):
            store.apply(NOW, put(b"k", value=b"%d" % number))
        restorer = StoreRestorer()
        for piece in store.pieces():
            restorer.feed(piece)
        copy = restorer.finish()
        assert copy.state_hash == store.state_hash
        assert len(copy._history._past) == 30


class TestBoundedReading:
    """No step is long, whatever was written since."""

    def test_a_page_of_the_past_looks_at_so_many_versions(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Those written since count: a page over keys that change all the time ends early."""
        monkeypatch.setattr("raftdb.state.kv.store.RANGE_VERSIONS_MAX", 33)
        names = [b"%03d" % n for n in range(10)]
        store = KeyValueStore()
        for value in range(20):
            store.apply(NOW, put(*names, value=b"%d" % value))
        page = store.range(b"", revision=11)
        assert [kv.key for kv in page.pairs] == names[:3]
        assert {kv.value for kv in page.pairs} == {b"9"}
        assert page.next == names[3]
        assert len(store.range(b"", revision=21).pairs) == 10
