"""Linearizable reads without writing to the log: ReadIndex rounds (Thesis §6.4).

A round is one heartbeat to everybody, counted from 1 within the leader's term. It confirms the reads
that were registered before it was sent, and nothing later: an answer names its round. This module
keeps the books; it sends nothing and knows no role.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from raftdb.raft.quorum import JointConfig
from raftdb.raft.types import MemberID, ReadID, ReadState


class _Round(NamedTuple):
    """The reads that ride on one round."""

    number: int
    commit: int
    reads: tuple[ReadID, ...]


class ReadOnly:
    """The reads of one leader's term.

    Invariants: ``acknowledged <= round``; the rounds grow strictly; a read is either waiting for a
    round or rides on exactly one.

    :param reads_max: of reads not yet confirmed
    """

    def __init__(self, *, reads_max: int) -> None:
        self._reads_max = reads_max
        self._waiting: list[ReadID] = []
        self._rounds: deque[_Round] = deque()
        self._answers: dict[MemberID, int] = {}
        self._count = 0
        self.round = 0
        """The latest round begun, 0 for none."""
        self.acknowledged = 0
        """The latest round that a quorum has answered, 0 for none."""

    def __len__(self) -> int:
        return self._count

    @property
    def has_waiting(self) -> bool:
        """Whether reads wait for the next round to begin."""
        return bool(self._waiting)

    def add(self, read: ReadID) -> bool:
        """Register a read for the next round; return False where there is no room."""
        if self._count >= self._reads_max:
            return False
        self._count += 1
        self._waiting.append(read)
        return True

    def begin_round(self, commit: int | None) -> int:
        """Count a new round and let the waiting reads ride on it; return its number.

        :param commit: the commit index, fixed before the round is sent; None while the leader does
            not know it for certain (no entry of its term is committed): the reads go on waiting
        """
        self.round += 1
        if commit is not None and self._waiting:
            self._rounds.append(_Round(self.round, commit, tuple(self._waiting)))
            self._waiting.clear()
        return self.round

    def answered(self, member: MemberID, number: int) -> None:
        """Note that ``member`` answered round ``number``; it then follows this leader still."""
        assert 0 < number <= self.round, (number, self.round)
        self._answers[member] = max(number, self._answers.get(member, 0))

    def confirm(self, voters: JointConfig) -> list[ReadState]:
        """Return the reads that a quorum of ``voters`` has confirmed by now, oldest first.

        A later round confirms the earlier ones: whoever answers it followed all the time.
        """
        if self.acknowledged == self.round:
            return []  # no read rides on a round that is not begun
        quorum = voters.committed_index(lambda member: self._answers.get(member, 0))
        self.acknowledged = max(self.acknowledged, min(quorum, self.round))
        confirmed: list[ReadState] = []
        while self._rounds and self._rounds[0].number <= self.acknowledged:
            done = self._rounds.popleft()
            self._count -= len(done.reads)
            confirmed.extend(ReadState(read, done.commit) for read in done.reads)
        return confirmed
