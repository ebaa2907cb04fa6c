"""The store against a slow, obvious twin: any history, any retention, snapshots at any moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raftdb.state.kv.commands import (
    Absent,
    Command,
    CompareAndSwap,
    Delete,
    DeleteRange,
    ModRevisionIs,
    Put,
    SetRetention,
    ValueIs,
)
from raftdb.state.kv.store import KeyValueStore, StoreRestorer
from raftdb.state.kv.values import KeyValue, Retention
from raftdb.state.part import Context

NOW = Context(1, 0)

State = dict[bytes, KeyValue]


class Twin(Protocol):
    """What the comparison asks of the twin."""

    states: list[State]
    compact_revision: int
    retention: Retention

    @property
    def revision(self) -> int: ...

    @property
    def state_hash(self) -> int: ...

    def apply(self, command: Command) -> None: ...


keys = st.sampled_from([bytes([n]) for n in b"abcdefg"])
values = st.sampled_from([b"", b"1", b"22", bytes(300)])
expectations = st.one_of(
    st.builds(Absent), st.builds(ModRevisionIs, st.integers(1, 30)), st.builds(ValueIs, values)
)


def compare(store: KeyValueStore, states: list[State], compact_revision: int) -> None:
    """Compare every key at every readable revision, alone and in ranges."""
    assert store.revision == len(states) - 1
    assert store.compact_revision == compact_revision
    assert len(store) == len(states[-1])
    for revision in range(compact_revision, len(states)):
        state = states[revision]
        assert {kv.key: kv for kv in store.range(b"", revision=revision).pairs} == state
        for key in (b"a", b"d", b"g"):
            assert store.get(key, revision) == state.get(key)


class Reader:
    """Somebody who reads a snapshot, and what must come out."""

    def __init__(self, store: KeyValueStore, twin: Twin) -> None:
        self.slices = store.pieces(bytes_max=100, keys_max=2)
        self.restorer = StoreRestorer()
        self.frozen = (list(twin.states), twin.compact_revision, twin.state_hash)

    def read(self) -> bool:
        """Read a slice; after the last one compare, and return False."""
        piece = next(self.slices, None)
        if piece is not None:
            assert 0 < len(piece) <= 100
            self.restorer.feed(piece)
            return True
        states, compact_revision, state_hash = self.frozen
        copy = self.restorer.finish()
        assert copy.state_hash == state_hash
        compare(copy, states, compact_revision)
        return False


class Comparison(RuleBasedStateMachine):
    """Does the same to both."""

    obvious: Callable[[], Twin]

    def __init__(self) -> None:
        super().__init__()
        self.store = KeyValueStore()
        self.twin = type(self).obvious()
        self.readers: list[Reader] = []

    def _apply(self, command: Command) -> None:
        self.store.apply(NOW, command)
        self.twin.apply(command)

    @rule(pairs=st.lists(st.tuples(keys, values), max_size=3).map(tuple))
    def put(self, pairs: tuple[tuple[bytes, bytes], ...]) -> None:
        """Write some keys."""
        self._apply(Put(pairs))

    @rule(names=st.lists(keys, max_size=2).map(tuple))
    def delete(self, names: tuple[bytes, ...]) -> None:
        """Delete some keys."""
        self._apply(Delete(names))

    @rule(start=keys, end=keys | st.just(b""))
    def delete_range(self, start: bytes, end: bytes) -> None:
        """Delete what lies between two keys; the range may be empty or reversed."""
        self._apply(DeleteRange(start, end))

    @rule(key=keys, expected=expectations, value=st.none() | values)
    def compare_and_swap(
        self, key: bytes, expected: Absent | ModRevisionIs | ValueIs, value: bytes | None
    ) -> None:
        """Swap one key."""
        self._apply(CompareAndSwap(key, expected, value))

    @rule(revisions=st.sampled_from([0, 1, 3, 10]), bytes_=st.sampled_from([0, 300, 1_000, 9_999]))
    def set_retention(self, revisions: int, bytes_: int) -> None:
        """Keep more or less history."""
        self._apply(SetRetention(Retention(revisions, bytes_)))

    @precondition(lambda self: len(self.readers) < 3)
    @rule()
    def begin_snapshot(self) -> None:
        """Pin the present state."""
        self.readers.append(Reader(self.store, self.twin))

    @precondition(lambda self: self.readers)
    @rule(which=st.integers(0, 2))
    def read_a_slice(self, which: int) -> None:
        """Read on; at the end the copy equals the state at which it began."""
        reader = self.readers[which % len(self.readers)]
        if not reader.read():
            self.readers.remove(reader)
        assert len(self.store._history._pins) == len(self.readers)

    @precondition(lambda self: self.readers)
    @rule()
    def give_up_a_snapshot(self) -> None:
        """The oldest lets go of its pin."""
        self.readers.pop(0).slices.close()

    @precondition(lambda self: not self.readers)
    @rule()
    def continue_from_a_copy(self) -> None:
        """A restored store goes on like the one it was read from."""
        restorer = StoreRestorer()
        for piece in self.store.pieces():
            restorer.feed(piece)
        self.store = restorer.finish()

    @precondition(lambda self: not self.readers)
    @rule()
    def forget_the_past(self) -> None:
        """What cannot be read any more is freed, all of it, by commands that change nothing."""
        retention = self.twin.retention
        self._apply(SetRetention(Retention(0, 0)))
        history = self.store._history
        while history._garbage:
            left = len(history._garbage)
            self._apply(Put(()))
            assert len(history._garbage) < left
        assert len(history._newest) == len(self.store)
        assert not len(history._past)
        self._apply(SetRetention(retention))

    @invariant()
    def same(self) -> None:
        """Both read the same at every revision, and hash the same."""
        compare(self.store, self.twin.states, self.twin.compact_revision)
        assert self.store.state_hash == self.twin.state_hash
        history = self.store._history
        past = [*history._held, *history._garbage, *history._retained]
        assert all(history._past.get(one.revision) is one for one in past)
        assert len(history._past) == len(past)


class TestAgainstTheTwin:
    """Every observable of the store, after every step."""

    def test_any_history(self, obvious: Callable[[], Twin]) -> None:
        """Hypothesis writes the histories."""
        Comparison.obvious = staticmethod(obvious)
        case = Comparison.TestCase
        case.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
        case().runTest()

    def test_no_load_outruns_a_snapshot(self) -> None:
        """However much is written while it is read, it is complete, and little waits for it [R8]."""
        store = KeyValueStore()
        store.apply(NOW, SetRetention(Retention(revisions=100, bytes=5_000)))
        names = [b"%02d" % n for n in range(20)]
        for _ in range(10):
            store.apply(NOW, Put(tuple((name, bytes(100)) for name in names)))
        state_hash = store.state_hash
        history = store._history
        restorer = StoreRestorer()
        for piece in store.pieces(bytes_max=100, keys_max=2):
            restorer.feed(piece)
            for _ in range(10):
                store.apply(NOW, Put(tuple((name, bytes(100)) for name in names)))
            assert store.pinned_bytes <= 20 * 140
            assert history._garbage_bytes <= 5_000 + 2 * 20 * 300
        assert restorer.finish().state_hash == state_hash
        assert store.pinned_bytes == 0

    def test_a_key_that_dies_during_a_snapshot_is_in_it(self) -> None:
        """Though its death is forgotten before the snapshot comes by; after that the key goes, too."""
        store = KeyValueStore()
        store.apply(NOW, SetRetention(Retention(revisions=0)))
        names = [b"%02d" % n for n in range(20)]
        store.apply(NOW, Put(tuple((name, b"v") for name in names)))
        pieces = store.pieces(keys_max=2)
        store.apply(NOW, Delete(tuple(names)))
        for n in range(50):  # others that come and go leave nothing behind
            store.apply(NOW, Put(((b"new %d" % n, b"v"),)))
            store.apply(NOW, Delete((b"new %d" % n,)))
        assert len(store._history._newest) <= 22
        restorer = StoreRestorer()
        for piece in pieces:
            restorer.feed(piece)
        assert len(restorer.finish()) == 20
        for _ in range(5):
            store.apply(NOW, Put(()))
        assert len(store._history._newest) == 0
