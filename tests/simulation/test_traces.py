"""Traces of whole runs: told completely, allowed by the specification, and able to be refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from raftdb.raft.config import Config
from raftdb.raft.log import RaftLog
from raftdb.raft.messages import Message
from raftdb.raft.storage import MemoryStorage
from raftdb.raft.tracker import Tracker
from raftdb.raft.types import HardState, MemberID
from raftdb.replica import ReplicaOptions
from raftdb.simulation.nodes.founding import founding_entries
from raftdb.simulation.run import command
from raftdb.simulation.run.plan import Plan, draw
from raftdb.simulation.run.traced_run import run_traced
from raftdb.simulation.trace.check import Rejected, check, main
from raftdb.simulation.trace.format import TraceEvent, TraceMessage, decode, encode
from raftdb.simulation.trace.trace import Trace, TraceError, View
from raftdb.simulation.trace.traced import TracedNode

SEEDS = (1, 3, 7, 9, 10, 11, 17, 20, 1004, 1005)
"""Of one to five nodes; some change their members."""

JAVA, CLASSPATH = shutil.which("java"), os.environ.get("RAFTDB_TLC_CLASSPATH", "")
SPECIFICATION = os.environ.get("RAFTDB_TLC_SPECIFICATION", "")


SNAPSHOTS = ReplicaOptions(snapshot_entries=10)


def _events(seed: int) -> list[TraceEvent]:
    return _told(draw(seed))


def _told(plan: Plan) -> list[TraceEvent]:
    traced = run_traced(plan)
    assert traced.verdict.violation is None
    return list(traced.trace.events())


def _names(events: Sequence[TraceEvent]) -> list[str]:
    return [event.name for event in events]


class TestRuns:
    """What a seed stands for can be told to the specification."""

    @pytest.mark.parametrize("seed", SEEDS)
    def test_its_trace_is_allowed(self, seed: int) -> None:
        """Every step of every node is one that the specification allows."""
        check(_events(seed))

    def test_much_happens_in_them(self) -> None:
        """Restarts, elections, step-downs, joiners, changes of members: all of it is told."""
        told: Counter[str] = Counter()
        for seed in range(3):
            plan = Plan(seed=seed, reconfigure=True, storm_s=3.0, options=SNAPSHOTS)
            told.update(_names(_told(plan)))
        assert told["InitState"] > 3 * 3, "nodes restart, others join"
        assert told["BecomeLeader"] > 3
        assert told["BecomeFollower"] > 5
        assert told["ChangeConf"] > 0
        assert told["ApplyConfChange"] > told["ChangeConf"]
        assert told["Commit"] > 30

    def test_snapshots_are_told_as_appends(self) -> None:
        """A joiner that is sent a snapshot gets all its entries in one append."""
        for seed in range(1, 12):
            plan = Plan(seed=seed, reconfigure=True, faults=(), storm_s=3.0, options=SNAPSHOTS)
            events = _told(plan)
            check(events)
            received = [e for e in events if e.name == "ReceiveAppendEntriesRequest"]
            if any(e.msg is not None and e.msg.entries > 15 and e.log < 10 for e in received):
                return
        pytest.fail("no joiner got a snapshot")

    def test_the_same_seed_tells_the_same(self) -> None:
        """A trace can be written again."""
        assert list(encode(_events(17))) == list(encode(_events(17)))

    def test_the_command_writes_it(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file holds the events, and the checker's own command reads it."""
        monkeypatch.setattr(command, "quiet", lambda: None)
        path = tmp_path / "trace.ndjson"
        assert command.main(["--seed", "1", "--trace", str(path)]) == 0
        assert decode(path.read_bytes().splitlines()) == _events(1)
        assert "switched off for the trace" in capsys.readouterr().out
        assert main([str(path)]) == 0
        path.write_bytes(b"".join(islice(path.read_bytes().splitlines(keepends=True), 4, None)))
        assert main([str(path)]) == 1


class TestMessages:
    """Which messages a receipt can be about."""

    def test_one_that_waits_for_its_sender_cannot_arrive(self) -> None:
        """It can after the Ready; a repetition of an answer never can (seed 5049)."""
        trace = Trace()
        sender, receiver = View("1"), View("2")
        for kind, again in (("MsgVote", True), ("MsgVoteResp", False)):
            message = TraceMessage(kind, 1, "1", "2")
            trace.sent(sender, message)
            assert not trace.can_arrive(message)
            trace.ready(sender)
            assert trace.can_arrive(message)
            trace.received(receiver, message)
            assert trace.can_arrive(message) is again

    def test_one_that_arrives_twice_was_sent_twice(self) -> None:
        """The line of its sending is there once more, in its place."""
        trace = Trace()
        sender, receiver = View("1"), View("2")
        message = TraceMessage("MsgVote", 1, "1", "2")
        trace.sent(sender, message)
        trace.ready(sender)
        trace.received(receiver, message)
        trace.received(receiver, message)
        ask, receive = "SendRequestVoteRequest", "ReceiveRequestVoteRequest"
        assert _names(list(trace.events())) == [ask, ask, "Ready", receive, receive]

    def test_one_never_sent_cannot_be_received(self) -> None:
        """It would be an invention."""
        with pytest.raises(TraceError, match="never sent"):
            Trace().received(View("2"), TraceMessage("MsgVoteResp", 1, "1", "2"))


class TestBugs:
    """A core with a bug writes a trace that is refused."""

    def test_a_commit_without_a_quorum(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The leader commits what one node has."""
        bench = Bench()
        bench.elect("a", "ab")
        check(list(bench.trace.events()))
        monkeypatch.setattr(
            Tracker, "committed", lambda self: max(pr.match for pr in self.progress.values())
        )
        bench.nodes["a"].propose(b"x")
        bench.run("a")
        with pytest.raises(Rejected, match="Commit of 1: commit is 6, must be 5"):
            check(list(bench.trace.events()))

    @pytest.mark.parametrize("bug", [False, True])
    def test_a_vote_for_a_shorter_log(self, monkeypatch: pytest.MonkeyPatch, bug: bool) -> None:
        """A voter does not look at the candidate's log."""
        bench = Bench()
        bench.elect("a", "ab")
        if bug:
            monkeypatch.setattr(RaftLog, "is_up_to_date", lambda *_: True)
        bench.elect("c", "bc")
        bench.elect("c", "bc")
        if not bug:
            check(list(bench.trace.events()))
            return
        with pytest.raises(Rejected, match="ReceiveRequestVoteResponse of 3: no such message"):
            check(list(bench.trace.events()))


class Bench:
    """Three traced cores, and nothing else: who is run exchanges messages until there is rest."""

    def __init__(self) -> None:
        self.trace = Trace()
        members = [MemberID(name, 1) for name in "abc"]
        entries = founding_entries(members, 1)
        hard_state = HardState(term=1, commit=len(entries))
        self._disks = {
            name: MemoryStorage(hard_state=hard_state, entries=entries) for name in "abc"
        }
        self.nodes = {
            member.id: TracedNode(
                self.trace,
                Config(id=member, rng=Random(1), pre_vote=False, check_quorum=False),
                self._disks[member.id],
            )
            for member in members
        }
        self.run("abc")

    def elect(self, name: str, among: str) -> None:
        """Let a node campaign; only some hear of it."""
        self.nodes[name].campaign()
        self.run(among)

    def run(self, among: str) -> None:
        """Let some nodes do all they can do; what is sent to others is lost."""
        quiet = False
        while not quiet:
            quiet = True
            for name in among:
                for message in self._turn(name):
                    quiet = False
                    if message.receiver.id in among:
                        self.nodes[message.receiver.id].step(message)

    def _turn(self, name: str) -> list[Message]:
        node, disk = self.nodes[name], self._disks[name]
        sent = node.take_messages()
        while node.has_ready():
            ready = node.ready()
            if ready.hard_state is not None:
                disk.set_hard_state(ready.hard_state)
            disk.append(ready.entries)
            sent += ready.persisted_messages
            node.advance(ready)
        while node.has_applicable():
            for entry in node.take_applicable().entries:
                if entry.change is not None:
                    node.apply_conf_change(entry.change)
        return sent + node.take_messages()


@pytest.mark.skipif(
    not (JAVA and CLASSPATH and SPECIFICATION),
    reason="needs java, RAFTDB_TLC_CLASSPATH and RAFTDB_TLC_SPECIFICATION; see docs/traces.md",
)
class TestWithTLC:
    """The judge itself: TLC with the specification as it is published."""

    @pytest.mark.parametrize("seed", [1, 7])
    def test_it_allows_a_trace(self, seed: int, tmp_path: Path) -> None:
        """TLC matches the first 400 lines."""
        assert JAVA is not None
        path = tmp_path / "trace.ndjson"
        path.write_bytes(b"".join(islice(encode(_events(seed)), 400)))
        tlc = [JAVA, "-XX:+UseParallelGC", "-cp", CLASSPATH, "tlc2.TLC", "-lncheck", "final"]
        files = ["-config", "Traceetcdraft.cfg", "Traceetcdraft.tla", "-metadir", str(tmp_path)]
        done = subprocess.run(
            [*tlc, *files],
            cwd=SPECIFICATION,
            env={**os.environ, "JSON": str(path)},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2000:]
