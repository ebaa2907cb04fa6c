from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from raftdb.errors import Compacted
from raftdb.raft.log import RaftLog
from raftdb.raft.storage import MemoryStorage
from raftdb.raft.types import ZERO, Entry, EntryID, SnapshotMetadata

BIG = 1 << 30


def entries(*terms: int, first: int = 1) -> tuple[Entry, ...]:
    """Entries with these terms, from index ``first``."""
    return tuple(Entry(term, index) for index, term in enumerate(terms, first))


def durable(*terms: int, snapshot: EntryID = ZERO, applied: int = 0) -> RaftLog:
    """A log whose entries with these terms are all on the disk."""
    storage = MemoryStorage(
        snapshot=SnapshotMetadata(snapshot), entries=entries(*terms, first=snapshot.index + 1)
    )
    return RaftLog(storage, applied=applied)


def terms(log: RaftLog) -> list[int]:
    """The terms of all entries there are."""
    found = log.entries(log.first_index, log.last_index + 1, BIG)
    assert [e.index for e in found] == list(range(log.first_index, log.last_index + 1))
    return [e.term for e in found]


class TestReading:
    """Memory and disk read as one log."""

    def test_the_tail_in_memory_hides_the_disk(self) -> None:
        """The disk still has 1 1 1; the log is 1 2 2."""
        log = durable(1, 1, 1)
        log.append(entries(2, 2, first=2))
        assert terms(log) == [1, 2, 2]
        assert [log.term(index) for index in range(5)] == [0, 1, 2, 2, 0]
        assert log.last == EntryID(2, 3)

    def test_a_cut_log_is_as_long_as_what_replaced_it(self) -> None:
        """A longer disk shows nothing beyond the new end."""
        log = durable(1, 1, 1, 1)
        log.append(entries(2, first=2))
        assert log.last_index == 2
        assert log.term(3) == 0
        assert terms(log) == [1, 2]

    def test_an_empty_log_ends_at_zero(self) -> None:
        """Every log begins with the same nothing."""
        log = durable()
        assert (log.first_index, log.last) == (1, ZERO)
        assert log.matches(ZERO)

    def test_what_is_compacted_is_refused(self) -> None:
        """The leader sends a snapshot instead."""
        log = durable(2, snapshot=EntryID(2, 5), applied=5)
        assert log.term(5) == 2
        with pytest.raises(Compacted):
            log.term(4)
        with pytest.raises(Compacted, match="the log begins at 6"):
            log.entries(5, 7, BIG)

    def test_a_page_ends_where_the_limit_falls(self) -> None:
        """On the disk, at its edge or in memory; what is small and behind is not let through."""
        whole = [Entry(1, index, b"x" * size) for index, size in enumerate((8, 68, 8, 68), 1)]
        log = RaftLog(MemoryStorage(entries=whole[:2]))
        log.append(whole[2:])
        assert log.entries(1, 5, 100) == tuple(whole[:1])
        assert log.entries(1, 5, 150) == tuple(whole[:2])
        assert log.entries(1, 5, 180) == tuple(whole[:3])
        assert log.entries(1, 5, 280) == tuple(whole)

    def test_a_range_beyond_the_end_is_a_bug(self) -> None:
        """Nobody may be sent what is not there."""
        with pytest.raises(AssertionError):
            durable(1).entries(1, 3, BIG)

    @given(
        st.lists(st.integers(0, 40), min_size=1, max_size=8),
        st.integers(0, 8),
        st.integers(0, 400),
        st.data(),
    )
    def test_a_byte_limit_counts_over_disk_and_memory(
        self, sizes: list[int], on_disk: int, room: int, data: st.DataObject
    ) -> None:
        """The longest prefix that fits, at least one, wherever the entries are."""
        whole = [Entry(1, index, b"x" * size) for index, size in enumerate(sizes, 1)]
        log = RaftLog(MemoryStorage(entries=whole[:on_disk]))
        log.append(whole[on_disk:])
        lo = data.draw(st.integers(1, len(whole)))
        hi = data.draw(st.integers(lo, len(whole) + 1))
        wanted = whole[lo - 1 : hi - 1]
        fitting = [
            wanted[:count]
            for count in range(len(wanted) + 1)
            if count <= 1 or sum(entry.size for entry in wanted[:count]) <= room
        ]
        assert list(log.entries(lo, hi, room)) == fitting[-1]


class TestMatching:
    """Paper 5.3 and 5.4.1: comparing logs by terms and indexes."""

    def test_an_entry_matches_by_term_and_index(self) -> None:
        """Not beyond the end, not before the log, not in another term."""
        log = durable(2, 3, snapshot=EntryID(2, 4), applied=4)
        assert log.matches(EntryID(2, 4))
        assert log.matches(EntryID(3, 6))
        assert not log.matches(EntryID(2, 6))
        assert not log.matches(EntryID(3, 7))
        assert not log.matches(EntryID(0, 7))
        assert not log.matches(EntryID(2, 3))

    @pytest.mark.parametrize(
        ("last", "enough"),
        [
            (EntryID(3, 3), True),
            (EntryID(3, 4), True),
            (EntryID(3, 2), False),
            (EntryID(4, 1), True),
            (EntryID(2, 9), False),
        ],
    )
    def test_up_to_date_is_by_term_then_by_length(self, last: EntryID, enough: bool) -> None:
        """A longer log of an older term does not win (Paper 5.4.1)."""
        assert durable(1, 2, 3).is_up_to_date(last) is enough

    def test_a_conflict_is_the_first_entry_that_differs(self) -> None:
        """0 where all is there already."""
        log = durable(1, 1, 2)
        assert log.find_conflict(entries(1, 1, 2)) == 0
        assert log.find_conflict(()) == 0
        assert log.find_conflict(entries(1, 3, 3, first=2)) == 3
        assert log.find_conflict(entries(2, 2, first=3)) == 4


class TestAppending:
    """Paper Fig. 2, AppendEntries receiver, steps 2 to 4."""

    def test_without_the_previous_entry_nothing_is_taken(self) -> None:
        """Step 2: reply false if the log has no entry at prevLogIndex with prevLogTerm."""
        log = durable(1, 1)
        assert log.maybe_append(EntryID(2, 2), entries(2, first=3)) is None
        assert log.maybe_append(EntryID(1, 3), entries(2, first=4)) is None
        assert terms(log) == [1, 1]

    def test_a_conflict_is_cut_with_all_that_follows(self) -> None:
        """Step 3."""
        log = durable(1, 1, 1, 1)
        assert log.maybe_append(EntryID(1, 1), entries(2, first=2)) == 2
        assert terms(log) == [1, 2]

    def test_an_old_append_takes_nothing_back(self) -> None:
        """Steps 3 and 4: only entries that conflict are deleted, a late short append has none."""
        log = durable(1, 1)
        log.append(entries(1, 1, first=3))
        assert log.maybe_append(EntryID(1, 1), entries(1, first=2)) == 2
        assert log.maybe_append(EntryID(1, 1), ()) == 1
        assert terms(log) == [1, 1, 1, 1]

    def test_the_end_of_an_overlap_is_added(self) -> None:
        """Step 4."""
        log = durable(1, 1)
        assert log.maybe_append(ZERO, entries(1, 1, 2)) == 3
        assert terms(log) == [1, 1, 2]
        assert log.unstable_entries() == entries(2, first=3)

    def test_a_committed_entry_is_never_cut(self) -> None:
        """State machine safety: whoever asks for it is a bug or an impostor."""
        log = durable(1, 1)
        log.commit_to(2)
        with pytest.raises(AssertionError, match="committed"):
            log.maybe_append(EntryID(1, 1), entries(2, first=2))

    def test_a_gap_is_a_bug(self) -> None:
        """The log has no holes."""
        with pytest.raises(AssertionError, match="gap"):
            durable(1).append(entries(1, first=3))

    def test_nothing_appended_changes_nothing(self) -> None:
        """The last index stays."""
        assert durable(1, 1).append(()) == 2


class TestHint:
    """The conflict hint: each round trip skips a whole term (Paper 5.3, end)."""

    @pytest.mark.parametrize(
        ("hint", "found"),
        [
            (EntryID(2, 7), EntryID(2, 5)),
            (EntryID(3, 7), EntryID(3, 7)),
            (EntryID(1, 4), EntryID(1, 3)),
            (EntryID(9, 99), EntryID(3, 7)),
            (EntryID(0, 4), EntryID(0, 0)),
            (EntryID(5, 2), EntryID(1, 2)),
        ],
    )
    def test_it_is_the_latest_entry_of_at_most_that_term(
        self, hint: EntryID, found: EntryID
    ) -> None:
        """On a log with the terms 1 1 1 2 2 3 3."""
        assert durable(1, 1, 1, 2, 2, 3, 3).find_conflict_by_term(hint) == found

    def test_where_only_the_compacted_could_qualify_the_term_is_unknown(self) -> None:
        """The leader then finds that it needs a snapshot."""
        log = durable(5, 6, snapshot=EntryID(5, 10), applied=10)
        assert log.find_conflict_by_term(EntryID(4, 12)) == EntryID(0, 9)
        assert log.find_conflict_by_term(EntryID(9, 7)) == EntryID(0, 7)
        assert log.find_conflict_by_term(EntryID(5, 12)) == EntryID(5, 11)
        assert log.find_conflict_by_term(EntryID(5, 10)) == EntryID(5, 10)

    @given(
        st.lists(st.integers(1, 4), max_size=9).map(sorted), st.integers(0, 12), st.integers(0, 5)
    )
    def test_it_is_what_walking_back_would_find(
        self, along: list[int], index: int, term: int
    ) -> None:
        """Against the walk that the paper describes."""
        log = durable(*along)
        walked = min(index, log.last_index)
        while log.term(walked) > term:
            walked -= 1
        found = log.find_conflict_by_term(EntryID(term, index))
        assert found == EntryID(log.term(walked), walked)


class TestStable:
    """Only what still equals memory becomes durable [R7c]."""

    def test_what_is_saved_becomes_durable(self) -> None:
        """And is not handed out for saving again."""
        storage = MemoryStorage()
        log = RaftLog(storage)
        log.append(entries(1, 1))
        assert log.has_unstable_entries()
        saved = log.unstable_entries()
        log.append(entries(1, first=3))
        storage.append(saved)
        assert log.durable == 0
        log.stable_entries(saved)
        assert log.durable == 2
        assert log.unstable_entries() == entries(1, first=3)

    def test_what_was_replaced_meanwhile_does_not(self) -> None:
        """The save of an older entry proves nothing about the newer at its index."""
        storage = MemoryStorage()
        log = RaftLog(storage)
        log.append(entries(2, 2, 2))
        saved = log.unstable_entries()
        log.append(entries(3, first=2))
        storage.append(saved)
        log.stable_entries(saved)
        assert log.durable == 1
        assert log.unstable_entries() == entries(3, first=2)

    def test_a_cut_below_what_was_saved_leaves_nothing_of_it(self) -> None:
        """The disk is longer than the log until the next save cuts it."""
        storage = MemoryStorage(entries=entries(1, 1))
        log = RaftLog(storage)
        log.append(entries(2, 2, first=3))
        saved = log.unstable_entries()
        log.append(entries(3, first=2))
        storage.append(saved)
        log.stable_entries(saved)
        assert log.durable == 1
        assert terms(log) == [1, 3]
        storage.append(log.unstable_entries())
        log.stable_entries(log.unstable_entries())
        assert (log.durable, storage.last_index(), log.has_unstable_entries()) == (2, 2, False)

    def test_an_entry_put_back_is_durable(self) -> None:
        """No ABA: the disk has just what memory has again."""
        storage = MemoryStorage()
        log = RaftLog(storage)
        log.append(entries(2))
        saved = log.unstable_entries()
        log.append(entries(3))
        log.append(entries(2))
        storage.append(saved)
        log.stable_entries(saved)
        assert log.durable == 1

    def test_nothing_saved_changes_nothing(self) -> None:
        """A save of the hard state alone."""
        log = durable(1)
        log.append(entries(1, first=2))
        log.stable_entries(())
        assert log.durable == 1


class TestCommitting:
    """The commit index only moves forward, and never beyond the log."""

    def test_it_moves_forward_only(self) -> None:
        """A late message with an older commit takes nothing back."""
        log = durable(1, 1, 1)
        assert log.commit_to(2)
        assert not log.commit_to(2)
        assert not log.commit_to(1)
        assert log.committed == 2

    def test_it_stays_within_the_log(self) -> None:
        """Beyond it something is lost."""
        with pytest.raises(AssertionError):
            durable(1).commit_to(2)


class TestApplying:
    """Committed and durable, in pages, in order."""

    def test_only_what_is_committed_is_handed_out(self) -> None:
        """Paper Fig. 2, Rules for all servers."""
        log = durable(1, 1, 1)
        assert not log.has_next_committed()
        log.commit_to(2)
        assert log.has_next_committed()
        assert log.next_committed(BIG) == entries(1, 1)
        log.applied_to(2)
        assert not log.has_next_committed()
        assert log.next_committed(BIG) == ()

    def test_only_what_is_durable_here_is_handed_out(self) -> None:
        """Also where a quorum without this node has committed it [R7e]."""
        storage = MemoryStorage(entries=entries(1))
        log = RaftLog(storage)
        log.append(entries(1, first=2))
        log.commit_to(2)
        assert log.next_committed(BIG) == entries(1)
        with pytest.raises(AssertionError):
            log.applied_to(2)
        log.applied_to(1)
        assert not log.has_next_committed()
        saved = log.unstable_entries()
        storage.append(saved)
        log.stable_entries(saved)
        assert log.next_committed(BIG) == entries(1, first=2)

    def test_it_comes_in_pages(self) -> None:
        """Of bounded bytes, each at least one entry."""
        log = durable(1, 1, 1)
        log.commit_to(3)
        assert log.next_committed(1) == entries(1)
        log.applied_to(1)
        assert log.next_committed(64) == entries(1, 1, first=2)

    def test_applied_never_falls_nor_passes_the_commit(self) -> None:
        """Both would be bugs of the caller."""
        log = durable(1, 1, 1)
        log.commit_to(2)
        log.applied_to(2)
        with pytest.raises(AssertionError):
            log.applied_to(1)
        with pytest.raises(AssertionError):
            log.applied_to(3)


class TestSnapshot:
    """A snapshot replaces the log: first on the disk, then in the state machine."""

    def test_it_replaces_the_log_at_once_for_readers(self) -> None:
        """New entries attach to it before it is durable."""
        log = durable(1, 1, 1)
        log.append(entries(2, first=4))
        log.restore(SnapshotMetadata(EntryID(4, 9)))
        assert (log.first_index, log.last, log.committed) == (10, EntryID(4, 9), 9)
        assert log.matches(EntryID(4, 9))
        assert not log.matches(EntryID(1, 3))
        with pytest.raises(Compacted):
            log.term(8)
        with pytest.raises(Compacted):
            log.entries(2, 3, BIG)
        assert log.maybe_append(EntryID(4, 9), entries(4, first=10)) == 10
        assert terms(log) == [4]

    def test_nothing_is_applied_until_it_is_loaded(self) -> None:
        """Neither while it waits for the disk nor for the state machine [R7d]."""
        storage = MemoryStorage(entries=entries(1, 1))
        log = RaftLog(storage)
        log.commit_to(2)
        snapshot = SnapshotMetadata(EntryID(4, 9))
        log.restore(snapshot)
        log.append(entries(4, first=10))
        log.commit_to(10)
        assert log.next_committed(BIG) == ()
        saved = log.unstable_entries()
        storage.apply_snapshot(snapshot)
        storage.append(saved)
        log.stable_snapshot(snapshot)
        log.stable_entries(saved)
        assert (log.unstable_snapshot, log.restoring) == (None, snapshot)
        assert (log.durable, log.applied) == (10, 0)
        assert log.next_committed(BIG) == ()
        log.restored(snapshot)
        assert log.restoring is None
        assert log.applied == 9
        assert log.next_committed(BIG) == entries(4, first=10)

    def test_a_save_from_before_it_is_forgotten(self) -> None:
        """Entries handed out earlier are not behind the snapshot."""
        storage = MemoryStorage()
        log = RaftLog(storage)
        log.append(entries(4, 4))
        saved = log.unstable_entries()
        log.restore(SnapshotMetadata(EntryID(4, 1)))
        log.append(entries(4, first=2))
        storage.append(saved)
        log.stable_entries(saved)
        assert log.has_unstable_entries()
        assert log.durable == 0

    def test_a_newer_one_overtakes_it(self) -> None:
        """The older is neither taken as durable nor loaded in its place."""
        storage = MemoryStorage()
        log = RaftLog(storage)
        older, newer = (SnapshotMetadata(EntryID(4, index)) for index in (5, 9))
        log.restore(older)
        log.restore(newer)
        storage.apply_snapshot(older)
        log.stable_snapshot(older)
        assert log.unstable_snapshot == newer
        assert not log.restoring
        storage.apply_snapshot(newer)
        log.stable_snapshot(newer)
        assert log.restoring == newer
        log.restored(older)
        assert (log.applied, log.restoring) == (5, newer)
        log.restored(newer)
        assert log.applied == 9
        assert not log.restoring

    def test_a_newer_one_takes_its_place_before_it_is_loaded(self) -> None:
        """The state machine is not sent to a snapshot that is not the newest any more."""
        storage = MemoryStorage()
        log = RaftLog(storage)
        older, newer = (SnapshotMetadata(EntryID(4, index)) for index in (5, 9))
        log.restore(older)
        storage.apply_snapshot(older)
        log.stable_snapshot(older)
        log.restore(newer)
        assert log.restoring is None
        assert log.unstable_snapshot == newer

    def test_loading_leads_forward(self) -> None:
        """A state machine that would fall back is a bug of the caller."""
        log = durable(1, 1, applied=2)
        with pytest.raises(AssertionError):
            log.restored(SnapshotMetadata(EntryID(1, 1)))

    def test_it_never_takes_back_a_commit(self) -> None:
        """An old snapshot that arrives late is a case for the caller."""
        log = durable(1, 1)
        log.commit_to(2)
        with pytest.raises(AssertionError):
            log.restore(SnapshotMetadata(EntryID(1, 2)))


class TestBeginning:
    """Where a restarted node stands."""

    def test_a_loaded_snapshot_is_committed_and_applied(self) -> None:
        """The service loads it before the node begins."""
        log = durable(2, 2, snapshot=EntryID(1, 4), applied=4)
        assert (log.committed, log.applied, log.durable, log.restoring) == (4, 4, 6, None)

    def test_a_snapshot_not_loaded_comes_first(self) -> None:
        """The state machine begins empty."""
        log = durable(2, 2, snapshot=EntryID(1, 4))
        assert log.restoring == SnapshotMetadata(EntryID(1, 4))
        assert (log.committed, log.applied) == (4, 0)
        assert not log.has_next_committed()

    def test_what_was_applied_was_committed(self) -> None:
        """Even where the saved commit index is behind."""
        assert durable(1, 1, 1, applied=2).committed == 2

    def test_a_state_machine_ahead_of_the_log_is_a_bug(self) -> None:
        """Its state came from entries that are lost."""
        with pytest.raises(AssertionError):
            durable(1, applied=2)


class LogAgainstLists(RuleBasedStateMachine):
    """Any order of inputs, with one save outstanding, against two plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.storage = MemoryStorage()
        self.log = RaftLog(self.storage)
        self.memory = [Entry(0, 0)]
        self.disk = [Entry(0, 0)]
        self.saving: tuple[Entry, ...] | None = None
        self.applied = list[Entry]()
        self.term = 1

    @rule(back=st.integers(0, 5), count=st.integers(1, 3), newer=st.booleans())
    def append(self, back: int, count: int, newer: bool) -> None:
        """A leader, perhaps new, puts entries at or below the end."""
        self.term += newer
        if not newer:
            back = 0
        first = max(self.log.committed + 1, len(self.memory) - back)
        new = entries(*[self.term] * count, first=first)
        self.log.append(new)
        self.memory[first:] = new

    @precondition(lambda self: self.saving is None)
    @rule()
    def hand_out(self) -> None:
        """A Ready is taken."""
        self.saving = self.log.unstable_entries()

    @precondition(lambda self: self.saving is not None)
    @rule()
    def save(self) -> None:
        """The disk is done."""
        assert self.saving is not None
        if self.saving:
            self.storage.append(self.saving)
            self.disk[self.saving[0].index :] = self.saving
        self.log.stable_entries(self.saving)
        self.saving = None

    @rule(to=st.integers(0, 30))
    def commit(self, to: int) -> None:
        """A quorum has it."""
        self.log.commit_to(min(to, len(self.memory) - 1))

    @rule(room=st.integers(0, 200))
    def apply(self, room: int) -> None:
        """A page is taken."""
        page = self.log.next_committed(room)
        self.applied.extend(page)
        if page:
            self.log.applied_to(page[-1].index)

    @invariant()
    def reads_as_one_list(self) -> None:
        """Memory wins over the disk."""
        assert self.log.last_index == len(self.memory) - 1
        assert list(self.log.entries(1, len(self.memory), BIG)) == self.memory[1:]
        assert self.log.last == self.memory[-1].id

    @invariant()
    def durable_is_on_the_disk(self) -> None:
        """What it calls durable is there, and equal."""
        upto = self.log.durable + 1
        assert self.disk[:upto] == self.memory[:upto]

    @invariant()
    def nothing_is_forgotten(self) -> None:
        """Once nothing is left to save, all is durable."""
        assert list(self.log.unstable_entries()) == self.memory[self.log.durable + 1 :]

    @invariant()
    def applied_is_a_durable_committed_prefix(self) -> None:
        """In order, each once, never ahead of the disk [R7e]."""
        assert self.applied == self.disk[1 : len(self.applied) + 1]
        assert len(self.applied) == self.log.applied <= self.log.committed


TestLogAgainstLists = LogAgainstLists.TestCase
