"""The durable log as the core sees it: a reader, and an implementation in memory."""

from __future__ import annotations

from typing import Protocol

from raftdb.raft.types import ConfState, Entry, HardState, SnapshotMetadata


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
