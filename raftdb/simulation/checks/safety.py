"""What is true of a whole cluster, always: the five properties of Figure 3.

Watches nodes from outside, after each input; independent of how they are driven.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from raftdb.raft import invariants
from raftdb.raft.node import RawNode
from raftdb.raft.types import Entry, EntryID, HardState, MemberID, Role


class _Durable(NamedTuple):
    """What a node knew to be durable, and up to where it had applied its log."""

    hard_state: HardState
    last: EntryID
    applied: int


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
    commit_max: int = 0
    """The highest index that any node ever knew to be committed."""
    _observations: dict[MemberID, invariants.Observation] = field(default_factory=dict)
    _seen: dict[MemberID, EntryID] = field(default_factory=dict)
    _durable: dict[MemberID, _Durable] = field(default_factory=dict)
    _changes: list[int] = field(default_factory=list)
    """Indexes of committed changes of the configuration, in the order in which they were seen."""
    _committed_in: dict[int, int] = field(default_factory=dict)
    """In which term each index was committed: that of the last entry that was committed with it."""
    _begun: dict[int, EntryID] = field(default_factory=dict)
    """The end of each leader's log when it was elected, by its term."""
    _asked: dict[MemberID, list[int]] = field(default_factory=dict)
    """What was committed anywhere when this process of a node asked for its n-th read."""

    def restarted(self, member: MemberID) -> None:
        """Note that ``member`` lost what was not durable; its next state is compared with nothing."""
        self._observations.pop(member, None)
        self._seen.pop(member, None)
        self._asked.pop(member, None)

    def check(self, node: RawNode) -> None:
        """Check one node after one input.

        :raises AssertionError: naming the property that is broken
        """
        state = node.state
        if state.read_states or state.read_counter:
            self._check_reads(node)
        before = self._observations.get(state.id)
        now = invariants.check(state, before)
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
                self._begun[node.term] = node.state.log.last
        self._check_matching(node)
        if before is not None:
            self._check_counting(node, before)
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
            before, last, applied = known
            assert durable.term >= before.term, (
                f"{node.id.id} forgot its term: {before.term} was durable, now it is {durable.term}"
            )
            voted = durable.term > before.term or before.vote in {None, durable.vote}
            assert voted, f"{node.id.id} forgot its durable vote for {before.vote} of {before.term}"
            assert log.last >= last, (
                f"{node.id.id} forgot durable entries: its log ended at {last}, now at {log.last}"
            )
            for index in self._changes:
                assert not durable.commit < index <= applied, (
                    f"{node.id.id} forgot that the change at {index}, which was in force, is committed"
                )
        if log.unstable_snapshot is None:
            self._durable[node.id] = _Durable(durable, now.saved, log.applied)

    def _check_reads(self, node: RawNode) -> None:
        """Reads (Thesis §6.4): an index is not below what was committed when it was asked for."""
        state = node.state
        asked = self._asked.setdefault(node.id, [])
        if len(asked) < state.read_counter:
            asked += [self.commit_max] * (state.read_counter - len(asked))
        for read in state.read_states:
            counter = read.id.counter
            assert counter <= len(asked), (
                f"{node.id.id} got an answer to read {counter}, which this process never asked for"
            )
            assert read.index >= asked[counter - 1], (
                f"{node.id.id} may read at {read.index}, but {asked[counter - 1]} was committed when it"
                " asked"
            )

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

    def _check_counting(self, node: RawNode, before: invariants.Observation) -> None:
        """What nobody knew to be committed, its leader counted, in its own term (Paper §5.4.2).

        Several messages may come in one piece: it may have counted, and have gone on to a later term.
        """
        committed = node.state.committed
        if committed.index <= self.commit_max:
            return
        told = ((before.role, before.term), (node.role, node.term))
        led = [term for role, term in told if role is Role.LEADER]
        assert led, f"{node.id.id} committed {committed.index} first, and does not lead"
        assert committed.term in led, (
            f"{node.id.id} committed {committed.term}.{committed.index} in term {node.term}: an entry of"
            " an old term is not committed by counting (Fig. 8)"
        )

    def _check_committed(self, node: RawNode, before: int) -> None:
        """State Machine Safety, already when committing: one index, one entry."""
        log = node.state.log
        for index in range(max(before + 1, log.first_index), log.committed + 1):
            entry = log.entries(index, index + 1, 1)[0]
            known = self.committed.setdefault(index, entry)
            assert known == entry, f"two entries are committed at {index}: {known.id}, {entry.id}"
            self._committed_in.setdefault(index, node.state.committed.term)
            if index > self.commit_max and entry.change is not None:
                self._changes.append(index)
        if log.committed > before and node.role is Role.LEADER:
            self._check_later_leaders(node)
        self.commit_max = max(self.commit_max, log.committed)

    def _check_later_leaders(self, node: RawNode) -> None:
        """Leader Completeness, where the leader was elected before the commit was known."""
        committed = node.state.committed
        for term, last in self._begun.items():
            name: EntryID | None = last if term > node.term else None
            while name is not None and name.index > committed.index:
                name = self.previous.get(name)
            assert name in {None, committed}, (
                f"Leader Completeness: {committed} is committed, and the leader of {term} has {name}"
            )

    def _check_completeness(self, node: RawNode) -> None:
        """Leader Completeness: a new leader has everything that was committed in earlier terms.

        Not in later ones: 1. A wins the votes of term 5, and is paused before it reads them. 2. B
        leads term 6 and commits there. 3. A wakes, and leads term 5 until it hears of term 6.
        """
        log = node.state.log
        for index, entry in self.committed.items():
            if index >= log.first_index and self._committed_in[index] < node.term:
                assert index <= log.last_index, f"Leader Completeness: {node.id} lacks {entry.id}"
                mine = log.term(index)
                assert mine == entry.term, f"Leader Completeness: {node.id} has {mine} at {index}"
