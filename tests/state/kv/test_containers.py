"""The containers of the store against the obvious ones, and the size of their pieces."""

from __future__ import annotations

import gc
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftdb.state.kv.commands import Put
from raftdb.state.kv.containers import BLOCK_KEYS_MAX, ShardedDict, SortedKeys
from raftdb.state.kv.store import KeyValueStore
from raftdb.state.part import Context

NOW = Context(1, 0)

keys = st.binary(min_size=1, max_size=3)


class TestOrder:
    """A sorted set, in blocks."""

    @given(st.lists(keys, unique=True), st.data())
    def test_any_keys_in_any_order(self, names: list[bytes], data: st.DataObject) -> None:
        """Added and removed in any order, walked between any bounds."""
        order = SortedKeys()
        for name in names:
            order.add(name)
        gone = data.draw(st.lists(st.sampled_from(names), unique=True)) if names else []
        for name in gone:
            order.remove(name)
        left = sorted(set(names) - set(gone))
        start, end = data.draw(st.binary(max_size=3)), data.draw(st.binary(max_size=3))
        assert list(order.walk(b"")) == left
        assert list(order.walk(start, end)) == [
            name for name in left if start <= name and (not end or name < end)
        ]

    @given(st.lists(keys, unique=True), st.lists(st.integers(0, 200)))
    def test_keys_behind_all_others_come_by_many(self, some: list[bytes], runs: list[int]) -> None:
        """Whatever was there before, and in whatever portions; blocks are filled up."""
        order = SortedKeys()
        for name in some:
            order.add(name)
        more = [b"\xff\xff\xff\xff%05d" % n for n in range(sum(runs))]
        at = 0
        for run in runs:
            order.extend(more[at : at + run])
            at += run
        assert list(order.walk(b"")) == [*sorted(some), *more]
        assert order._lasts == [block[-1] for block in order._blocks]
        sizes = [len(block) for block in order._blocks]
        assert max(sizes, default=0) <= BLOCK_KEYS_MAX
        assert len(sizes) <= 2 * len(some) // BLOCK_KEYS_MAX + len(more) // BLOCK_KEYS_MAX + 2

    @pytest.mark.parametrize("shuffled", [False, True])
    def test_many_keys(self, shuffled: bool) -> None:
        """Blocks are split, emptied and dropped; none is ever longer than the limit."""
        rng = Random(7)
        names = [b"%05d" % n for n in range(3_000)]
        mixed = rng.sample(names, len(names)) if shuffled else names
        order = SortedKeys()
        for name in mixed:
            order.add(name)
        assert list(order.walk(b"")) == names
        assert max(map(len, order._blocks)) <= BLOCK_KEYS_MAX
        for name in mixed[1_000:]:
            order.remove(name)
        assert list(order.walk(b"")) == sorted(mixed[:1_000])
        assert all(order._blocks)
        assert order._lasts == [block[-1] for block in order._blocks]

    def test_keys_in_order_fill_the_blocks(self) -> None:
        """What a snapshot brings takes no more blocks than needed."""
        order = SortedKeys()
        for n in range(10 * BLOCK_KEYS_MAX):
            order.add(b"%05d" % n)
        assert len(order._blocks) == 10

    def test_a_key_is_added_and_removed_once(self) -> None:
        """Anything else is a bug in whoever asks for it."""
        order = SortedKeys()
        order.add(b"a")
        order.add(b"b")
        with pytest.raises(AssertionError):
            order.add(b"a")
        with pytest.raises(AssertionError):
            order.remove(b"aa")


class TestTable:
    """A dictionary, in pieces."""

    def test_does_what_a_dictionary_does(self) -> None:
        """Set, replace, find, delete, count."""
        table: ShardedDict[bytes, int] = ShardedDict()
        for n in range(1_000):
            table[b"%d" % n] = n
            table[b"%d" % n] = -n
        for n in range(0, 1_000, 2):
            del table[b"%d" % n]
        assert len(table) == 500
        assert [table.get(b"%d" % n) for n in range(4)] == [None, -1, None, -3]


class TestBoundedSteps:
    """No piece is so large that copying or walking it stalls the event loop (promise 12)."""

    def test_no_container_grows_with_the_store(self) -> None:
        """100,000 keys: each dictionary that is copied when it grows holds less than 1,000 of them."""
        store = KeyValueStore()
        for first in range(0, 100_000, 1_000):
            store.apply(NOW, Put(tuple((b"key %d" % n, b"v") for n in range(first, first + 1_000))))
        history = store._history
        assert max(map(len, history._newest.pieces)) < 1_000
        assert len(history._living._blocks) < 100_000 / (BLOCK_KEYS_MAX / 4)

    def test_the_garbage_collector_has_nothing_to_walk(self) -> None:
        """What holds only bytes is not tracked: a full collection costs the same at any size."""
        store = KeyValueStore()
        store.apply(NOW, Put(tuple((b"%05d" % n, b"v") for n in range(5_000))))
        gc.collect()
        history = store._history
        assert not any(map(gc.is_tracked, history._newest.pieces))
        assert not any(map(gc.is_tracked, history._living._blocks))
        records, _ = history.kept([b"00007"], history.pin(), enough=1)
        assert not gc.is_tracked(records[0])

    def test_nor_has_it_in_the_past(self) -> None:
        """Overwritten keys, whose versions wait for their removal, add nothing to a collection."""
        store = KeyValueStore()
        counts = []
        for value in (b"1", b"2", b"3"):
            for first in range(0, 5_000, 100):
                names = (b"%05d" % n for n in range(first, first + 100))
                store.apply(NOW, Put(tuple((name, value) for name in names)))
            gc.collect()
            counts.append(len(gc.get_objects()))
        assert counts[2] - counts[0] < 1_000, "5,000 keys with a past of two versions each"
        history = store._history
        assert not any(map(gc.is_tracked, history._newest.pieces))
        assert len(history._retained) == 100
        assert not any(gc.is_tracked(one.replaced) for one in history._retained)
        assert all(type(one.dead) is tuple for one in history._retained), "lists are walked"
        assert not any(map(gc.is_tracked, history._past.pieces))
