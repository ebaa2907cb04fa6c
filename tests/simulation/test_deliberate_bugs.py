"""The simulator finds what it is there for: bugs, put into production code one at a time.

Each bug is a patch of a named function (production has no switch), and each must be found by the
simulator's own checks within so many seeds, counted from 0. The table is in ``docs/testing.md``.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec
import pytest
from twisted.internet.defer import Deferred

from raftdb.disk.failpoints import FailpointFileSystem
from raftdb.raft import candidate, leader, reconfiguration, state, transfer
from raftdb.raft.config import Config
from raftdb.raft.log import RaftLog
from raftdb.raft.messages import RequestVote
from raftdb.raft.read_only import ReadOnly
from raftdb.raft.ready import Ready
from raftdb.raft.state import State
from raftdb.raft.types import Entry, EntryID, HardState, MemberID, Role, SnapshotMetadata
from raftdb.replica import ReplicaOptions
from raftdb.replica.lease import Lease
from raftdb.replica.pump import Pump
from raftdb.simulation.clock import NodeClock
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.run.plan import Limits, Plan
from raftdb.simulation.run.run_seed import run
from raftdb.state.kv.pins import Pins
from raftdb.storage import directory, recovery, wal
from raftdb.storage.durable import DurableStorage
from raftdb.storage.segment import SegmentHeader, segment_name

Patch = Callable[[pytest.MonkeyPatch], None]


class Bug(NamedTuple):
    """A bug, and where to look for it.

    :param found_by: a regular expression for the promise that breaks: nothing else counts
    :param within: so many seeds
    :param plan: everything of the runs but the seed
    """

    name: str
    found_by: str
    patch: Patch
    within: int
    plan: Plan


def _plan(*faults: str, **changes: Any) -> Plan:
    quick = Plan(seed=0, storm_s=3.0, interval_s=0.3, faults=faults, liveness=False, manners=False)
    return replace(quick, **changes)


# -- promises and the disk --


def _vote_not_persisted(patch: pytest.MonkeyPatch) -> None:
    save = DurableStorage.save

    def forgetful(self: DurableStorage, ready: Ready) -> Deferred[None]:
        if ready.hard_state is not None:
            hard_state = HardState(ready.hard_state.term, None, ready.hard_state.commit)
            ready = msgspec.structs.replace(ready, hard_state=hard_state)
        return save(self, ready)

    patch.setattr(DurableStorage, "save", forgetful)


def _request_vote_before_fsync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(state, "PERSISTED", tuple(k for k in state.PERSISTED if k is not RequestVote))


def _own_match_at_propose(patch: pytest.MonkeyPatch) -> None:
    append = leader._append

    def eager(raft: State, entry: Entry) -> EntryID:
        name = append(raft, entry)
        raft.tracker.progress[raft.id].maybe_update(name.index)
        return name

    patch.setattr(leader, "_append", eager)


def _ack_before_fsync(patch: pytest.MonkeyPatch) -> None:
    save = Pump._save

    def eager(self: Pump, ready: Ready) -> None:
        self._transport.send(ready.persisted_messages)
        rest = msgspec.structs.replace(ready, persisted_messages=())
        self._node.state.outstanding = rest
        save(self, rest)

    patch.setattr(Pump, "_save", eager)


def _hard_state_lost_with_segments(patch: pytest.MonkeyPatch) -> None:
    """Here each batch repeats the hard state; the bug is that of logs where only changes of it do.

    With batches as they are, a header without it would be harmless: a segment is deleted only when
    entries follow it, and they came with a hard state.
    """
    header, append = SegmentHeader, wal.Wal.append

    def sparing(self: wal.Wal, record: Any, *rest: Any) -> Any:
        known, new = self._hard_state, record.hard_state
        if new is not None and (new.term, new.vote) == (known.term, known.vote):
            record = record._replace(hard_state=None)
        return append(self, record, *rest)

    patch.setattr(wal.Wal, "append", sparing)

    def empty(**fields: Any) -> SegmentHeader:
        return header(**{**fields, "hard_state": HardState()})

    patch.setattr(wal, "SegmentHeader", empty)


def _nothing_rewritten(patch: pytest.MonkeyPatch) -> None:
    def in_place(files: Any, directory: str, log: recovery.ReadLog, _: Any) -> recovery.Recovered:
        for name in log.leftovers:
            files.unlink(posixpath.join(directory, name))
        path = posixpath.join(directory, segment_name(log.header.number))
        end = log.end
        file = files.open(path)
        file.write_at(end.offset, bytes(log.header.size - end.offset))
        tail = recovery.Tail(file, path, log.header, end.offset, end.sequence, end.chain)
        return recovery.Recovered(log.replay, log.held, tail, [], log.mark)

    _everywhere(patch, recovery, "rewrite_log", in_place)


def _cut_in_the_middle(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recovery, "objection", lambda *_, **__: None)


def _end_not_missed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(directory, "check_complete", lambda *_: None)


def _lost_directory_fsync(patch: pytest.MonkeyPatch) -> None:
    """Of the log's directory; the mark's would make a segment's name durable a moment later."""
    sync = FailpointFileSystem.fsync_dir

    def careless(self: FailpointFileSystem, path: str) -> None:
        if posixpath.basename(path) != "wal":
            sync(self, path)

    patch.setattr(FailpointFileSystem, "fsync_dir", careless)


def _snapshot_half_installed(patch: pytest.MonkeyPatch) -> None:
    save = wal.Wal.append

    def half(self: wal.Wal, record: Any, *rest: Any) -> Any:
        return save(self, record._replace(snapshot=None), *rest)

    patch.setattr(wal.Wal, "append", half)


def _double_apply(patch: pytest.MonkeyPatch) -> None:
    restored = RaftLog.restored

    def one_behind(self: RaftLog, snapshot: SnapshotMetadata) -> None:
        restored(self, snapshot)
        self.applied = max(self.first_index - 1, snapshot.last.index - 1)

    patch.setattr(RaftLog, "restored", one_behind)
    patch.setattr(Pump, "_apply_entries", _apply_again)


def _pins_forget(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pins, "note", lambda *_: None)


def _apply_again(self: Pump, entries: tuple[Entry, ...]) -> None:
    for entry in entries:
        result: object = None
        if entry.change is not None:
            conf_state = self._node.apply_conf_change(entry.change)
            result = self._machine.apply_conf_change(entry.index, entry.change.context, conf_state)
        elif entry.data:
            result = self._machine.apply(entry.index, entry.data)
        self.applied = entry.index
        self._proposals.applied(entry.term, entry.index, result)
    self._applied_term = entries[-1].term
    self._snapshots.applied(self.applied, 1)
    self.take_snapshot_if_due()


def _wiped_voter_votes(patch: pytest.MonkeyPatch) -> None:
    def same(_: Cluster, member: MemberID) -> MemberID:
        return member

    patch.setattr(Cluster, "reborn", same)


# -- the algorithm --


def _old_term_by_counting(patch: pytest.MonkeyPatch) -> None:
    def count(raft: State) -> None:
        index = raft.tracker.committed()
        if index > raft.log.committed:
            raft.log.commit_to(index)
            leader._maybe_retire(raft)

    patch.setattr(leader, "maybe_commit", count)


def _truncate_on_duplicate(patch: pytest.MonkeyPatch) -> None:
    def cut(self: RaftLog, previous: EntryID, entries: tuple[Entry, ...]) -> int | None:
        if not self.matches(previous):
            return None
        news = [entry for entry in entries if entry.index > self.committed]
        if news:
            self.append(news)
        return previous.index + len(entries)

    patch.setattr(RaftLog, "maybe_append", cut)


def _older_round(patch: pytest.MonkeyPatch) -> None:
    begin = ReadOnly.begin_round

    def earlier(self: ReadOnly, commit: int | None) -> int:
        number = begin(self, commit)
        if self._rounds and self._rounds[-1].number == number:
            self._rounds[-1] = self._rounds[-1]._replace(number=max(1, number - 1))
        return number

    patch.setattr(ReadOnly, "begin_round", earlier)


def _counter_restarts(patch: pytest.MonkeyPatch) -> None:
    config = Cluster.config

    def same_boot(self: Cluster, member: MemberID, rng: Any) -> Config:
        return replace(config(self, member, rng), boot=0)

    patch.setattr(Cluster, "config", same_boot)


def _read_before_own_commit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(State, "own_term_committed", property(lambda raft: raft.role is Role.LEADER))


def _second_change(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconfiguration, "changing", lambda _: False)


def _campaign_unapplied(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(candidate, "unapplied_change", lambda _: False)


def _wall_clock(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Cluster, "reactor_s", lambda self, node: self.wall_ms(node.name) / 1000)


class _Monotonic:
    """A node's CLOCK_MONOTONIC, which stands still while its machine sleeps."""

    def __init__(self, clock: NodeClock) -> None:
        self._clock = clock

    def seconds(self) -> float:
        return self._clock.seconds() - self._clock.slept_s * self._clock.rate


def _standing_clock(patch: pytest.MonkeyPatch, *, hint: bool = False) -> None:
    """Without a hint from the wall clock, as where a hypervisor hides a pause from all clocks."""
    make = Lease.__init__

    def standing(self: Lease, clock: Any, node: Any, **rest: Any) -> None:
        make(self, _Monotonic(clock), node, **(rest if hint else {**rest, "wall_ms": int}))  # type: ignore[arg-type]  # all that a lease asks of a clock

    patch.setattr(Lease, "__init__", standing)


# -- liveness --


def _no_pre_vote(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(candidate, "campaign", _campaign_at_once)


def _campaign_at_once(raft: State, *, transfer: bool = False) -> None:
    if candidate.obstacle(raft) is None:
        candidate._elect(raft, transfer=transfer)


def _no_check_quorum(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(leader, "_check_quorum", lambda *_: None)


def _hung_leader_reigns(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transfer, "watch_disk", lambda _: None)


def _unreached_leader_reigns(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(transfer, "watch_reach", lambda _: None)


def _everywhere(patch: pytest.MonkeyPatch, module: Any, name: str, new: object) -> None:
    """Patch a function where it is and where it was imported to."""
    old = getattr(module, name)
    for user in (module, directory, wal, recovery):
        if getattr(user, name, None) is old:
            patch.setattr(user, name, new)


_BUSY: dict[str, Any] = {"clients": 6, "keys": 1, "pause_s": 0.02}
_READING: dict[str, Any] = {"clients": 6, "keys": 1, "pause_s": 0.02}
_ONE_BY_ONE = Limits(append_bytes_max=1, inflight_messages_max=1)
_ROTATING: dict[str, Any] = {
    "durable": True,
    "options": ReplicaOptions(snapshot_entries=5),
    "interval_s": 0.1,
}
_DISK: dict[str, Any] = {"durable": True, "options": ReplicaOptions(snapshot_entries=20)}

BUGS = (
    Bug(
        "vote not persisted",
        "forgot its durable vote",
        _vote_not_persisted,
        10,
        _plan("kill", "kill all", durable=True),
    ),
    Bug(
        "RequestVote before its fsync",
        "become_leader|Leader Completeness|Election Safety|Log Matching",
        _request_vote_before_fsync,
        20,
        _plan("transfer", "kill", "slow disk", interval_s=0.1),
    ),
    Bug(
        "own match counted at propose",
        "counts itself before its save",
        _own_match_at_propose,
        5,
        _plan("kill"),
    ),
    Bug(
        "acknowledged before the fsync",
        "become_leader|Leader Completeness|DataLost|Log Matching",
        _ack_before_fsync,
        20,
        _plan("ambush", "kill all", "slow disk", interval_s=0.15),
    ),
    Bug(
        "ReadIndex confirmed by an older round",
        "may read at|older than its bound|not linearizable",
        _older_round,
        30,
        _plan("pause", "ambush", interval_s=0.15, **_BUSY),
    ),
    Bug(
        "log cut in the middle",
        "starts on a damaged log|forgot durable entries",
        _cut_in_the_middle,
        30,
        _plan("rot", durable=True),
    ),
    Bug(
        "end of the log not missed",
        "starts on a damaged log|forgot durable entries",
        _end_not_missed,
        30,
        _plan("behead", durable=True, **_BUSY),
    ),
    Bug(
        "nothing rewritten",
        "forgot durable|Corrupt: .* is damaged",
        _nothing_rewritten,
        50,
        _plan("fail", "kill", durable=True),
    ),
    Bug(
        "truncating on a duplicate",
        "DataLost: this node acknowledged",
        _truncate_on_duplicate,
        20,
        _plan("weather", "kill"),
    ),
    Bug(
        "snapshot installed half",
        "leave a gap",
        _snapshot_half_installed,
        20,
        _plan("kill", "isolate", **_DISK),
    ),
    Bug(
        "second change before the first is applied",
        "ConfChangeError",
        _second_change,
        100,
        _plan("weather", "isolate", "hang", reconfigure=True, storm_s=6.0),
    ),
    Bug("wiped voter keeps its vote", "forgot its", _wiped_voter_votes, 10, _plan("wipe")),
    Bug(
        "double apply",
        "an entry is applied once",
        _double_apply,
        20,
        _plan("kill", options=ReplicaOptions(snapshot_entries=20)),
    ),
    Bug(
        "what a snapshot needs is freed",
        "Corrupt: snapshot",
        _pins_forget,
        10,
        _plan("kill", "isolate", **_BUSY, options=ReplicaOptions(snapshot_entries=10)),
    ),
    Bug(
        "lost directory fsync",
        "forgot durable|forgot its term|segments?( of the log is| are) missing",
        _lost_directory_fsync,
        50,
        _plan("kill all", **_DISK),
    ),
    Bug("pre-vote ignored", "its return cost an election", _no_pre_vote, 10, _plan(manners=True)),
    Bug("check-quorum off", "led on alone", _no_check_quorum, 5, _plan(manners=True)),
    Bug(
        "hung disk keeps its leader",
        "led on though its disk hung",
        _hung_leader_reigns,
        5,
        _plan(manners=True),
    ),
    Bug(
        "a leader whose entries reach nobody stays",
        "led on though its entries reached nobody",
        _unreached_leader_reigns,
        5,
        _plan(manners=True, narrow=True),
    ),
    Bug(
        "the same on the wire",
        "led on though its entries reached nobody",
        _unreached_leader_reigns,
        5,
        _plan(manners=True, narrow=True, wired=True, durable=True),
    ),
    Bug(
        "commit of an old term by counting",
        "by counting|Leader Completeness",
        _old_term_by_counting,
        30,
        _plan("kill", "ambush", "weather", interval_s=0.12, limits=_ONE_BY_ONE),
    ),
    Bug(
        "ReadIndex counter restarts",
        "never asked for|may read at",
        _counter_restarts,
        30,
        _plan("burst", "ambush", "weather", interval_s=0.15, **_READING),
    ),
    Bug(
        "read before the own-term commit",
        "may read at",
        _read_before_own_commit,
        30,
        _plan("ambush", "slow disk", "transfer", interval_s=0.15, **_READING),
    ),
    Bug(
        "hard state lost with segments",
        "forgot its|but the term is|does not fit the node's state",
        _hard_state_lost_with_segments,
        30,
        _plan("kill", "burst", **_ROTATING),
    ),
    Bug(
        "campaign with an unapplied change",
        "campaigns, and the change",
        _campaign_unapplied,
        30,
        _plan("ambush", "transfer", "slow disk", reconfigure=True, interval_s=0.15),
    ),
    Bug(
        "lease by a clock that stands still",
        "older than its bound",
        _standing_clock,
        10,
        _plan("suspend", interval_s=0.5, storm_s=8.0, **_BUSY),
    ),
    Bug(
        "wall clock",
        "gave up after|without an answer|older than its bound",
        _wall_clock,
        30,
        _plan("wall clock", "isolate", "pause", interval_s=0.2, liveness=True, **_BUSY),
    ),
)


def seeds_needed(bug: Bug) -> tuple[int, str] | None:
    """Return how many seeds it took, and what broke; None where none found it."""
    for seed in range(bug.within):
        violation = run(replace(bug.plan, seed=seed)).violation
        if violation is not None:
            return seed + 1, violation
    return None


class TestDeliberateBugs:
    """Each is found by the simulator's own checks, within the seeds it is given."""

    @pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
    def test_is_found(self, bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
        """A simulator that cannot fail proves nothing."""
        bug.patch(monkeypatch)
        found = seeds_needed(bug)
        assert found is not None
        assert re.search(bug.found_by, found[1]), found[1]


class TestAWallClock:
    """It gives a hint where a hypervisor hides that a machine stood still."""

    def test_ends_the_lease_of_a_leader_whose_own_clock_stood_still(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The bug above, and a wall clock that is right when the machine goes on: nothing breaks."""
        _standing_clock(monkeypatch, hint=True)
        plan = _plan("suspend", interval_s=0.5, storm_s=8.0, **_BUSY)
        broken = [run(replace(plan, seed=seed)).violation for seed in range(10)]
        assert broken == [None] * 10
