"""The durable log as the core sees it: a reader, and an implementation in memory."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Protocol, TypeAlias

from raftdb.errors import Compacted
from raftdb.raft.types import (
    ENTRY_OVERHEAD_BYTES,
    ConfChange,
    ConfState,
    Entry,
    EntryID,
    HardState,
    SnapshotMetadata,
)

_Payload: TypeAlias = bytes | ConfChange
_index = attrgetter("index")


class LogReader(Protocol):
    """What the core asks of the durable log; never waits.

    Invariant: ``first_index() - 1 <= last_index()``, and ``term(first_index() - 1)`` is known: it
    is the term of the entry just before the log, the end of what was compacted.
    """

    def initial_state(self) -> tuple[HardState, ConfState]:
        """Return what was durable at the start, with the configuration of the newest snapshot."""

    def first_index(self) -> int:
        """Return the first index kept; 1 for a log that was never compacted."""

    def last_index(self) -> int:
        """Return the last durable index; ``first_index() - 1`` where nothing is kept."""

    def term(self, index: int) -> int:
        """Return the term at ``index``, in ``[first_index() - 1, last_index()]``.

        :raises Compacted: where ``index`` lies before that range
        """

    def entries(self, lo: int, hi: int, bytes_max: int) -> tuple[Entry, ...]:
        """Return entries in ``[lo, hi)``, cut off at ``bytes_max`` but at least one.

        :raises Compacted: where ``lo < first_index()``
        """

    def snapshot(self) -> SnapshotMetadata:
        """Return the newest durable snapshot's metadata; index 0 for none."""


class MemoryStorage:
    """A log in memory: what tests use, and what :mod:`raftdb.storage` keeps beside its files.

    Of an entry it keeps the payload alone: the index follows from the place, and the term from the
    runs of equal terms, of which there are few. An Entry and its number would take 80 bytes more, and
    a hundred thousand are kept; it is made anew when it is read.

    Invariants: ``_payloads[0]`` is of the entry at ``_compacted.index + 1``; terms never fall;
    ``_runs`` holds the first entry of each term, the first of them at or before ``_payloads[0]``, and
    is empty where they are.

    :param hard_state: what was durable at the start
    :param conf_state: short for a snapshot at index 0 with this configuration
    :param snapshot: the newest durable snapshot
    :param compacted: the entry just before ``entries``; the snapshot's unless given, never beyond
    :param entries: consecutive
    """

    def __init__(
        self,
        *,
        hard_state: HardState | None = None,
        conf_state: ConfState | None = None,
        snapshot: SnapshotMetadata | None = None,
        compacted: EntryID | None = None,
        entries: Sequence[Entry] = (),
    ) -> None:
        assert conf_state is None or snapshot is None, "the snapshot has its own configuration"
        self._hard_state = HardState() if hard_state is None else hard_state
        self._snapshot = snapshot or SnapshotMetadata(conf_state=conf_state or ConfState())
        self._compacted = self._snapshot.last if compacted is None else compacted
        assert self._compacted.index <= self._snapshot.last.index, "nothing holds what lies between"
        self._payloads: list[_Payload] = []
        self._runs: list[EntryID] = []
        self.append(entries)

    # -- LogReader --

    def initial_state(self) -> tuple[HardState, ConfState]:
        """Return the hard state and the newest snapshot's configuration."""
        return self._hard_state, self._snapshot.conf_state

    def first_index(self) -> int:
        """Return the first index kept."""
        return self._compacted.index + 1

    def last_index(self) -> int:
        """Return the last index."""
        return self._compacted.index + len(self._payloads)

    def term(self, index: int) -> int:
        """Return the term at ``index``."""
        place = index - self._compacted.index - 1
        if place >= 0:
            assert place < len(self._payloads), f"index {index} is beyond {self.last_index()}"
            run = self._runs[-1]
            return run.term if index >= run.index else self._runs[self._run_of(index)].term
        if place == -1:
            return self._compacted.term
        raise Compacted(f"index {index} is compacted; the log begins at {self.first_index()}")

    def entries(self, lo: int, hi: int, bytes_max: int) -> tuple[Entry, ...]:
        """Return entries in ``[lo, hi)``, cut off at ``bytes_max`` but at least one."""
        if lo < self.first_index():
            raise Compacted(f"index {lo} is compacted; the log begins at {self.first_index()}")
        assert lo <= hi <= self.last_index() + 1, (lo, hi, self.last_index())
        return limited(self._made(lo, hi), bytes_max)

    def _made(self, lo: int, hi: int) -> Iterator[Entry]:
        """Make the entries in ``[lo, hi)`` one by one: the log may be long, the limit small."""
        start = self._compacted.index + 1
        while lo < hi:
            run = self._run_of(lo)
            term = self._runs[run].term
            end = self._runs[run + 1].index if run + 1 < len(self._runs) else hi
            for index in range(lo, min(hi, end)):
                payload = self._payloads[index - start]
                if isinstance(payload, bytes):
                    yield Entry(term, index, payload)
                else:
                    yield Entry(term, index, b"", payload)
            lo = end

    def _run_of(self, index: int) -> int:
        """Return the place of the run that ``index`` lies in."""
        return bisect_right(self._runs, index, key=_index) - 1

    def bytes_from(self, lo: int) -> int:
        """Return the sizes of all entries from ``lo`` on, ``first_index() <= lo``, together."""
        return sum(map(_size, self._payloads[lo - self.first_index() :]))

    def fitting(self, hi: int, bytes_max: int) -> tuple[int, int]:
        """Return where the first entries that :meth:`entries` would return for so much room end.

        :param hi: ``first_index() < hi <= last_index() + 1``
        :returns: the index of the last of them, and their sizes together
        """
        first, bytes_count = self.first_index(), 0
        for index, payload in enumerate(self._payloads[: hi - first], first):
            size = _size(payload)
            if bytes_count and bytes_count + size > bytes_max:
                return index - 1, bytes_count
            bytes_count += size
        return hi - 1, bytes_count

    def snapshot(self) -> SnapshotMetadata:
        """Return the newest snapshot's metadata."""
        return self._snapshot

    # -- mutators --

    def set_hard_state(self, hard_state: HardState) -> None:
        """Replace the hard state."""
        self._hard_state = hard_state

    def append(self, entries: Sequence[Entry]) -> None:
        """Add ``entries``; whatever lay at or after the first of them is cut away.

        :param entries: consecutive; the first at ``[first_index(), last_index() + 1]``
        """
        if not entries:
            return
        first = entries[0].index
        assert self.first_index() <= first <= self.last_index() + 1, (
            f"entries from {first} leave a gap in [{self.first_index()}, {self.last_index()}]"
        )
        assert entries[-1].index == first + len(entries) - 1, "entries must be consecutive"
        assert self.term(first - 1) <= entries[0].term, "terms never fall along a log"
        del self._payloads[first - self.first_index() :]
        runs = self._runs
        while runs and runs[-1].index >= first:
            runs.pop()
        last_term = runs[-1].term if runs else 0
        if entries[-1].term != last_term:
            for entry in entries:
                if entry.term != last_term:
                    runs.append(entry.id)
                    last_term = entry.term
        self._payloads += [
            entry.data if entry.change is None else entry.change for entry in entries
        ]

    def apply_snapshot(self, metadata: SnapshotMetadata) -> None:
        """Replace the whole log by a snapshot that came from elsewhere."""
        assert metadata.last.index > self._snapshot.last.index, "a snapshot must lead forward"
        self._snapshot = metadata
        self._compacted = metadata.last
        self._payloads.clear()
        self._runs.clear()

    def create_snapshot(self, metadata: SnapshotMetadata) -> None:
        """Note a snapshot of the own state, which keeps the log as it is."""
        last = metadata.last
        assert self._snapshot.last.index <= last.index <= self.last_index(), last
        assert self.term(last.index) == last.term, "the snapshot is of another history"
        self._snapshot = metadata

    def compact(self, index: int) -> None:
        """Drop everything up to ``index`` and keep its term; nothing to do where that is done.

        :param index: at most the newest snapshot's
        """
        if index < self.first_index():
            return
        assert index <= self._snapshot.last.index, "only what a snapshot holds may be dropped"
        compacted = EntryID(self.term(index), index)
        # One move of pointers: 100,000 entries take less than a tenth of a millisecond.
        del self._payloads[: index - self._compacted.index]
        self._compacted = compacted
        del self._runs[: self._run_of(index + 1) if self._payloads else None]


def _size(payload: _Payload) -> int:
    """Return the size of the entry with this payload."""
    if isinstance(payload, bytes):
        return ENTRY_OVERHEAD_BYTES + len(payload)
    return Entry(0, 0, b"", payload).size


def limited(entries: Iterable[Entry], bytes_max: int) -> tuple[Entry, ...]:
    """Return the longest prefix of at most ``bytes_max`` bytes, at least one entry if any."""
    taken: list[Entry] = []
    room = bytes_max
    for entry in entries:
        room -= entry.size
        if room < 0 and taken:
            break
        taken.append(entry)
    return tuple(taken)
