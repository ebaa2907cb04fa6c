"""What is true of a whole cluster, always: the five properties of Figure 3.

Watches nodes from outside, after each input; independent of how they are driven.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from raftdb.raft import invariants
from raftdb.raft.node import RawNode
from raftdb.raft.types import Entry, EntryID, HardState, MemberID, Role


@dataclass(slots=True)
class Safety:
    """The memory of everything that must never change.

    :param leaders: who led each term
    :param entries: every entry that was ever the content of its name (term, index)
    :param previous: the name of the entry before it, likewise
    :param committed: what is committed at each index
    :param remembers: whether disks keep what they synced, so that a restarted node must have it
    """

    leaders: dict[int, MemberID] = field(default_factory=dict)
    entries: dict[EntryID, Entry] = field(default_factory=dict)
    previous: dict[EntryID, EntryID] = field(default_factory=dict)
    committed: dict[int, Entry] = field(default_factory=dict)
    remembers: bool = False
    _observations: dict[MemberID, invariants.Observation] = field(default_factory=dict)
    _seen: dict[MemberID, EntryID] = field(default_factory=dict)
    _durable: dict[MemberID, tuple[HardState, EntryID]] = field(default_factory=dict)

    def restarted(self, member: MemberID) -> None:
        """Note that ``member`` lost what was not durable; its next state is compared with nothing."""
        self._observations.pop(member, None)
        self._seen.pop(member, None)

    def check(self, node: RawNode) -> None:
        """Check one node after one input.

        :raises AssertionError: naming the property that is broken
        """
        before = self._observations.get(node.id)
        now = invariants.check(node.state, before)
        if now is before:
            return  # its term, its role and its log are what they were, and so were judged
        self._observations[node.id] = now
        if self.remembers:
            self._check_memory(node, now, restarted=before is None)
        if node.role is Role.LEADER:
            leader = self.leaders.setdefault(node.term, node.id)
            assert leader == node.id, f"Election Safety: {leader} and {node.id} led {node.term}"
            if before is None or before.role is not Role.LEADER:
                self._check_completeness(node)
        self._check_matching(node)
        self._check_committed(node, before.committed.index if before else 0)

    def applied(self, entry: Entry) -> None:
        """Note an entry that some state machine was given."""
        committed = self.committed.get(entry.index)
        assert committed == entry, f"State Machine Safety: {entry.id} is applied, not {committed}"

    def check_all(self, nodes: Mapping[MemberID, RawNode]) -> None:
        """Check every node."""
        for node in nodes.values():
            self.check(node)

    def _check_memory(self, node: RawNode, now: invariants.Observation, *, restarted: bool) -> None:
        """What a node knew to be durable, it has after a restart: term, vote and log."""
        log, durable = node.state.log, node.state.durable
        known = self._durable.get(node.id)
        if restarted and known is not None:
            before, last = known
            assert durable.term >= before.term, (
                f"{node.id.id} forgot its term: {before.term} was durable, now it is {durable.term}"
            )
            voted = durable.term > before.term or before.vote in {None, durable.vote}
            assert voted, f"{node.id.id} forgot its durable vote for {before.vote} of {before.term}"
            assert log.last >= last, (
                f"{node.id.id} forgot durable entries: its log ended at {last}, now at {log.last}"
            )
        if log.unstable_snapshot is None:
            self._durable[node.id] = (durable, now.saved)

    def _check_matching(self, node: RawNode) -> None:
        """Log Matching: one name, one entry, one predecessor; walked only as far as is new."""
        log = node.state.log
        if self._seen.get(node.id) == log.last:
            return
        self._seen[node.id] = log.last
        for index in range(log.last_index, log.first_index - 1, -1):
            entry = log.entries(index, index + 1, 1)[0]
            known = self.entries.setdefault(entry.id, entry)
            assert known == entry, f"Log Matching: two entries are named {entry.id}"
            before = EntryID(log.term(index - 1), index - 1)
            settled = entry.id in self.previous
            assert self.previous.setdefault(entry.id, before) == before, (
                f"Log Matching: {entry.id} follows {before} and {self.previous[entry.id]}"
            )
            if settled:
                return

    def _check_committed(self, node: RawNode, before: int) -> None:
        """State Machine Safety, already when committing: one index, one entry."""
        log = node.state.log
        for index in range(max(before + 1, log.first_index), log.committed + 1):
            entry = log.entries(index, index + 1, 1)[0]
            known = self.committed.setdefault(index, entry)
            assert known == entry, f"two entries are committed at {index}: {known.id}, {entry.id}"

    def _check_completeness(self, node: RawNode) -> None:
        """Leader Completeness: a new leader has everything that is committed anywhere."""
        log = node.state.log
        for index, entry in self.committed.items():
            if index >= log.first_index:
                assert index <= log.last_index, f"Leader Completeness: {node.id} lacks {entry.id}"
                mine = log.term(index)
                assert mine == entry.term, f"Leader Completeness: {node.id} has {mine} at {index}"
