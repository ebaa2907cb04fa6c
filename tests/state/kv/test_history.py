"""What of the past is kept, for whom, and when it goes: the cases that chance finds seldom."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from raftdb.state.kv.commands import Delete, Put, SetRetention
from raftdb.state.kv.store import KeyValueStore, StoreRestorer
from raftdb.state.kv.superseded import NEVER, superseded_at
from raftdb.state.kv.values import Retention, version_bytes
from raftdb.state.part import Context

NOW = Context(1, 0)


def put(*names: bytes, value: bytes = b"v") -> Put:
    """Return a command that writes ``value`` to each of ``names``."""
    return Put(tuple((name, value) for name in names))


def store_keeping(revisions: int) -> KeyValueStore:
    """Return a store that keeps so much history."""
    store = KeyValueStore()
    store.apply(NOW, SetRetention(Retention(revisions=revisions)))
    return store


def copy_of(store: KeyValueStore) -> KeyValueStore:
    """Return what a snapshot of ``store`` brings."""
    restorer = StoreRestorer()
    for piece in store.pieces():
        restorer.feed(piece)
    return restorer.finish()


def read(pieces: Iterable[bytes], *keys: bytes) -> list[bytes | None]:
    """Return the values of ``keys`` in a snapshot."""
    restorer = StoreRestorer()
    for piece in pieces:
        restorer.feed(piece)
    store = restorer.finish()
    return [kv.value if kv else None for kv in map(store.get, keys)]


class TestSuperseding:
    """From when on a version is history."""

    def test_a_version_by_the_next_one(self) -> None:
        """And never, as long as there is none."""
        first, second = (version_bytes(b"k", b"v", 1, at, n) for n, at in ((1, 1), (2, 7)))
        assert superseded_at(first, second) == 7
        assert superseded_at(second, None) == NEVER

    def test_a_tombstone_by_itself(self) -> None:
        """Whatever follows."""
        tombstone = version_bytes(b"k", b"", 0, 5, 0)
        assert superseded_at(tombstone, None) == 5
        assert superseded_at(tombstone, version_bytes(b"k", b"v", 7, 7, 1)) == 5


class TestCopies:
    """A snapshot holds what can be read, and nothing that merely is still there."""

    def test_a_key_that_came_back(self) -> None:
        """Its tombstone is history, the version that replaced it is not."""
        store = store_keeping(1)
        for command in (put(b"a"), Delete((b"a",)), put(b"a"), put(b"a")):
            store.apply(NOW, command)
            assert copy_of(store).state_hash == store.state_hash

    def test_a_key_whose_death_is_history(self) -> None:
        """It is still there to be removed, and in no snapshot."""
        store = store_keeping(10)
        store.apply(NOW, put(b"a"))
        store.apply(NOW, Delete((b"a",)))
        store.apply(NOW, SetRetention(Retention(revisions=0)))
        assert list(store._history.visit(b"")) == [b"a"]
        copy = copy_of(store)
        assert copy.state_hash == store.state_hash
        assert list(copy._history.visit(b"")) == []

    def test_what_waits_for_another_snapshot_is_not_in_a_later_one(self) -> None:
        """Neither the version just before the oldest that can be read, nor those before it."""
        store = store_keeping(1)
        store.apply(NOW, put(b"k", value=b"1"))
        earlier = store.pieces()
        for value in (b"2", b"3", b"4"):
            store.apply(NOW, put(b"k", value=value))
        held_back = b"".join(store.pieces())
        earlier.close()
        for _ in range(10):
            store.apply(NOW, Put(()))
        assert held_back == b"".join(store.pieces())

    def test_a_copy_compacts_by_bytes_as_the_original(self) -> None:
        """What is superseded is counted anew when a snapshot is read."""
        store = store_keeping(100)
        for n in range(20):
            store.apply(NOW, put(b"a", b"b", value=bytes(n)))
            store.apply(NOW, Delete((b"b",)))
        copy = copy_of(store)
        for one in (store, copy):
            one.apply(NOW, SetRetention(Retention(revisions=100, bytes=1_000)))
            one.apply(NOW, put(b"a"))
        assert copy.compact_revision == store.compact_revision > 30
        assert all(type(one.dead) is tuple for one in copy._history._retained), "as the original's"
        assert copy.state_hash == store.state_hash


class TestSeveralSnapshots:
    """Each has what it needs, whatever becomes of the others."""

    def test_each_reads_its_own_state(self) -> None:
        """Of keys that are written once after all began, between them, and again and again."""
        store = store_keeping(1)
        store.apply(NOW, put(b"all", b"once", b"gone", value=b"0"))
        readers = []
        for value in (b"1", b"2", b"3"):
            readers.append(store.pieces())
            store.apply(NOW, put(b"all", value=value))
        store.apply(NOW, put(b"once", value=b"1"))
        store.apply(NOW, Delete((b"gone",)))
        for _ in range(5):
            store.apply(NOW, put(b"all"))
        assert [read(reader, b"all", b"once", b"gone") for reader in readers] == [
            [b"0", b"0", b"0"],
            [b"1", b"0", b"0"],
            [b"2", b"0", b"0"],
        ]

    @pytest.mark.parametrize("ends", [0, 1, 2])
    def test_one_that_ends_takes_nothing_from_the_others(self, ends: int) -> None:
        """Whichever it is, the others are told of what is written over after that."""
        store = store_keeping(1)
        readers = []
        for value in (b"1", b"2", b"3"):
            store.apply(NOW, put(b"k", value=value))
            readers.append((value, store.pieces()))
        readers.pop(ends)[1].close()
        for _ in range(5):
            store.apply(NOW, put(b"k"))
        for value, reader in readers:
            assert read(reader, b"k") == [value]

    def test_what_need_not_wait_is_not_held_back(self) -> None:
        """A shorter retention leaves much to be removed; none of it is held back by a later snapshot."""
        store = store_keeping(100)
        for _ in range(100):
            store.apply(NOW, put(b"k"))
        store.apply(NOW, SetRetention(Retention(revisions=0)))
        reader = store.pieces()
        store.apply(NOW, Put(()))
        assert store._history._garbage_bytes > 1_000
        assert read(reader, b"k") == [b"v"]

    def test_what_was_written_between_them_waits_for_none(self) -> None:
        """Each holds what there was when it began [R8]."""
        store = store_keeping(1)
        store.apply(NOW, put(b"k"))
        early = store.pieces()
        for _ in range(1_000):
            store.apply(NOW, put(b"k"))
        late = store.pieces()
        for _ in range(1_000):
            store.apply(NOW, put(b"k"))
        assert len(store._history._past) <= 3
        assert read(early, b"k") == read(late, b"k") == [b"v"]

    def test_what_is_done_is_freed_by_and_by(self) -> None:
        """What a snapshot noted of a million keys would take 40 ms to free at once."""
        store = store_keeping(1)
        names = [b"%04d" % n for n in range(2_000)]
        store.apply(NOW, put(*names))
        reader = store.pieces()
        store.apply(NOW, put(*names))
        history = store._history
        pins = history._pins
        (pin,) = pins._held
        assert len(pin.replaced) == 2_000
        reader.close()
        assert len(pin.replaced) == 0
        left = len(pins._waste)
        assert left > 200
        store.apply(NOW, put(b"one"))
        assert len(pins._waste) == left - 1
        reader.close()
        for _ in range(300):
            store.apply(NOW, put(b"one"))
        assert pins._waste == []


class TestRemoval:
    """What cannot be read any more goes, a little with each command."""

    def test_large_commands_remove_more(self) -> None:
        """At least as fast as it can come, or the dead would pile up."""
        store = store_keeping(10)
        names = [b"%04d" % n for n in range(1_000)]
        store.apply(NOW, put(*names))
        store.apply(NOW, Delete(tuple(names)))
        store.apply(NOW, SetRetention(Retention(revisions=0)))
        assert len(store._history._newest) == 1_000
        store.apply(NOW, put(*(b"new %d" % n for n in range(100))))
        assert len(store._history._newest) <= 1_000 + 100 - 2 * 100
