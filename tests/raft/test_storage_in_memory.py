from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftdb.errors import Compacted
from raftdb.raft.storage import MemoryStorage, limited
from raftdb.raft.types import (
    ZERO,
    ConfChange,
    ConfState,
    Entry,
    EntryID,
    HardState,
    MemberID,
    SnapshotMetadata,
)

BIG = 1 << 30


def log(*terms: int, first: int = 1) -> tuple[Entry, ...]:
    """Entries with these terms, from index ``first``."""
    return tuple(Entry(term, index) for index, term in enumerate(terms, first))


class TestReading:
    """What the core reads is what was put there."""

    def test_an_empty_log_ends_before_its_first_index(self) -> None:
        """A fresh node has first index 1, last index 0 and term 0 before the log."""
        storage = MemoryStorage()
        assert (storage.first_index(), storage.last_index(), storage.term(0)) == (1, 0, 0)
        assert storage.initial_state() == (HardState(), ConfState())
        assert storage.snapshot() == SnapshotMetadata()

    def test_terms_are_known_from_just_before_the_log_to_its_end(self) -> None:
        """The entry before the log keeps its term, what lies before is compacted."""
        storage = MemoryStorage(
            snapshot=SnapshotMetadata(EntryID(2, 4)), entries=log(2, 3, 3, first=5)
        )
        assert [storage.term(index) for index in range(4, 8)] == [2, 2, 3, 3]
        with pytest.raises(Compacted, match="index 3 is compacted; the log begins at 5"):
            storage.term(3)
        with pytest.raises(AssertionError):
            storage.term(8)

    def test_entries_are_cut_off_by_bytes_but_never_to_nothing(self) -> None:
        """A reader always gets on, however small its limit."""
        entries = tuple(Entry(1, index, b"x" * 68) for index in range(1, 6))
        storage = MemoryStorage(entries=entries)
        assert storage.entries(2, 6, 1) == entries[1:2]
        assert storage.entries(2, 6, 299) == entries[1:3]
        assert storage.entries(2, 6, 300) == entries[1:4]
        assert storage.entries(2, 4, BIG) == entries[1:3]
        assert storage.entries(2, 2, BIG) == ()

    def test_compacted_entries_are_refused(self) -> None:
        """A leader has to send a snapshot instead."""
        storage = MemoryStorage(snapshot=SnapshotMetadata(EntryID(1, 3)), entries=log(1, first=4))
        with pytest.raises(Compacted, match="index 3 is compacted"):
            storage.entries(3, 5, BIG)
        with pytest.raises(AssertionError):
            storage.entries(4, 6, BIG)

    def test_the_configuration_at_the_start_is_the_newest_snapshots(self) -> None:
        """Whether it is given alone or with a snapshot."""
        conf = ConfState(voters=(MemberID("a", 1),))
        assert MemoryStorage(conf_state=conf).initial_state()[1] == conf
        snapshot = SnapshotMetadata(EntryID(1, 3), conf)
        storage = MemoryStorage(hard_state=HardState(2, None, 3), snapshot=snapshot)
        assert storage.initial_state() == (HardState(2, None, 3), conf)
        with pytest.raises(AssertionError):
            MemoryStorage(snapshot=snapshot, conf_state=conf)

    def test_the_hard_state_is_replaced(self) -> None:
        """A restart begins with the last one saved."""
        storage = MemoryStorage(hard_state=HardState(1))
        storage.set_hard_state(HardState(2, MemberID("a", 1), 0))
        assert storage.initial_state()[0] == HardState(2, MemberID("a", 1), 0)


class TestAppending:
    """Entries go to their places and cut away what lay there and behind."""

    def test_what_lies_at_or_after_the_first_is_replaced(self) -> None:
        """The durable tail of a deposed leader disappears."""
        storage = MemoryStorage(entries=log(1, 1, 1, 1))
        storage.append(log(2, first=3))
        assert storage.entries(1, 4, BIG) == log(1, 1, 2)

    def test_nothing_appended_changes_nothing(self) -> None:
        """A save without entries may still call it."""
        storage = MemoryStorage(entries=log(1))
        storage.append(())
        assert storage.last_index() == 1

    @pytest.mark.parametrize(
        "entries",
        [
            log(3, first=9),
            log(3, first=3),
            (Entry(3, 6), Entry(3, 8)),
            log(1, first=6),
        ],
        ids=["gap", "compacted", "not consecutive", "term falls"],
    )
    def test_entries_that_do_not_fit_are_a_bug(self, entries: tuple[Entry, ...]) -> None:
        """The log never has holes, and its terms never fall."""
        storage = MemoryStorage(
            snapshot=SnapshotMetadata(EntryID(2, 3)), entries=log(2, 2, 2, first=4)
        )
        with pytest.raises(AssertionError):
            storage.append(entries)


class TestSnapshots:
    """Own snapshots keep the log; foreign ones replace it."""

    def test_an_own_snapshot_keeps_the_log_until_it_is_compacted(self) -> None:
        """Lagging followers still get entries."""
        storage = MemoryStorage(entries=log(1, 1, 2, 2))
        metadata = SnapshotMetadata(EntryID(2, 3), ConfState(voters=(MemberID("a", 1),)))
        storage.create_snapshot(metadata)
        assert storage.snapshot() == metadata
        assert storage.first_index() == 1
        storage.compact(2)
        assert (storage.first_index(), storage.term(2)) == (3, 1)
        assert storage.entries(3, 5, BIG) == log(2, 2, first=3)
        storage.compact(1)
        assert storage.first_index() == 3

    def test_only_what_a_snapshot_holds_may_be_dropped(self) -> None:
        """Otherwise the entries would be nowhere."""
        storage = MemoryStorage(entries=log(1, 1))
        with pytest.raises(AssertionError):
            storage.compact(1)
        with pytest.raises(AssertionError):
            MemoryStorage(snapshot=SnapshotMetadata(EntryID(1, 3)), compacted=EntryID(1, 4))

    @pytest.mark.parametrize("last", [EntryID(1, 3), EntryID(2, 5), EntryID(1, 1)])
    def test_an_own_snapshot_stands_at_an_entry_of_the_log(self, last: EntryID) -> None:
        """Wrong term, beyond the end, or older than the newest: each is a bug."""
        storage = MemoryStorage(entries=log(1, 1, 2, 2))
        storage.create_snapshot(SnapshotMetadata(EntryID(1, 2)))
        with pytest.raises(AssertionError):
            storage.create_snapshot(SnapshotMetadata(last))

    def test_a_foreign_snapshot_replaces_the_log(self) -> None:
        """Nothing of the old log stays visible."""
        storage = MemoryStorage(entries=log(1, 1))
        storage.apply_snapshot(SnapshotMetadata(EntryID(4, 9)))
        assert (storage.first_index(), storage.last_index(), storage.term(9)) == (10, 9, 4)
        with pytest.raises(AssertionError):
            storage.apply_snapshot(SnapshotMetadata(EntryID(4, 9)))

    def test_the_log_may_begin_before_the_newest_snapshot(self) -> None:
        """It is kept from the older of two snapshots."""
        storage = MemoryStorage(
            snapshot=SnapshotMetadata(EntryID(1, 4)),
            compacted=EntryID(1, 2),
            entries=log(1, 1, 2, first=3),
        )
        assert (storage.first_index(), storage.last_index()) == (3, 5)


class TestAgainstADict:
    """Any order of mutations leaves what a dictionary from index to entry would hold."""

    @given(
        st.lists(st.tuples(st.sampled_from(["append", "snapshot", "compact"]), st.integers(0, 9)))
    )
    def test_it_holds_what_a_dict_would(self, steps: list[tuple[str, int]]) -> None:
        """Appends at any place, own snapshots and compactions in any order."""
        storage, twin, compacted, term = MemoryStorage(), dict[int, Entry](), ZERO, 0
        for step, number in steps:
            last = max(twin, default=compacted.index)
            if step == "append":
                term += 1
                first = max(compacted.index + 1, last + 1 - number)
                first = max(first, storage.snapshot().last.index + 1)
                entries = log(*[term] * (number % 3 + 1), *[term + 1] * (number % 2), first=first)
                term += number % 2
                storage.append(entries)
                twin = {i: e for i, e in twin.items() if i < first} | {e.index: e for e in entries}
            elif step == "snapshot" and twin:
                index = max(storage.snapshot().last.index, last - number)
                if index in twin:
                    storage.create_snapshot(SnapshotMetadata(twin[index].id))
            elif step == "compact":
                index = storage.snapshot().last.index - number
                storage.compact(max(0, index))
                if index in twin:
                    compacted = twin[index].id
                    twin = {i: e for i, e in twin.items() if i > index}
            assert storage.first_index() == compacted.index + 1
            assert storage.term(compacted.index) == compacted.term
            end = storage.last_index() + 1
            assert storage.entries(storage.first_index(), end, BIG) == tuple(twin.values())
            for index, entry in twin.items():
                assert storage.term(index) == entry.term
                assert storage.entries(index, index + 1, BIG) == (entry,)


class TestLimited:
    """The one rule for byte limits."""

    @given(st.lists(st.integers(0, 50), max_size=8), st.integers(0, 400))
    def test_it_takes_the_longest_prefix_that_fits(self, sizes: list[int], room: int) -> None:
        """Compared with trying every prefix."""
        entries = tuple(Entry(1, i, b"x" * size) for i, size in enumerate(sizes, 1))
        fitting = [
            entries[:count]
            for count in range(len(entries) + 1)
            if count <= 1 or sum(entry.size for entry in entries[:count]) <= room
        ]
        assert limited(entries, room) == fitting[-1]


class NeverWalked(list[bytes | ConfChange]):
    """A list that is not to be gone through from its beginning."""

    def __iter__(self) -> Iterator[bytes | ConfChange]:
        raise AssertionError("the whole log is walked")


class TestALongLog:
    """What a page costs depends on the page, not on the log."""

    def test_a_page_does_not_walk_the_log(self) -> None:
        """A follower far behind is read for again and again."""
        storage = MemoryStorage(entries=log(*[1] * 1000))
        storage._payloads = NeverWalked(storage._payloads)
        assert len(storage.entries(500, 1001, 100)) == 3

    def test_nothing_is_kept_but_payloads_and_the_beginnings_of_terms(self) -> None:
        """Memory per entry counts: 100,000 of them are kept."""
        change = ConfChange(context=b"who")
        entries = (Entry(1, 1, b"a"), Entry(1, 2, b"", change), Entry(3, 3), Entry(3, 4, b"d"))
        storage = MemoryStorage(entries=entries)
        assert storage._payloads == [b"a", change, b"", b"d"]
        assert storage._runs == [EntryID(1, 1), EntryID(3, 3)]
        assert storage.entries(1, 5, BIG) == entries
        assert storage.bytes_from(2) == sum(entry.size for entry in entries[1:])

    @pytest.mark.parametrize("bytes_max", [0, 33, 66, 67, 200, BIG])
    @pytest.mark.parametrize("hi", [3, 4, 6])
    def test_what_fits_is_told_without_making_entries(self, hi: int, bytes_max: int) -> None:
        """The same as are read with so much room, at least one."""
        change = ConfChange(context=b"who")
        entries = (Entry(1, 2, b"a"), Entry(1, 3, b"b"), Entry(1, 4, b"", change), Entry(3, 5))
        metadata = SnapshotMetadata(EntryID(1, 1))
        storage = MemoryStorage(snapshot=metadata, entries=entries)
        read = storage.entries(2, hi, bytes_max)
        assert storage.fitting(hi, bytes_max) == (read[-1].index, sum(one.size for one in read))
