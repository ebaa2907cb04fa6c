"""Traces of whole runs: told completely, allowed by the specification, and able to be refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest

from raftdb.raft.log import RaftLog
from raftdb.raft.tracker import Tracker
from raftdb.replica import Options
from raftdb.simulation import command
from raftdb.simulation.plan import Plan, draw
from raftdb.simulation.trace import Trace, TraceError, View
from raftdb.simulation.trace_check import Rejected, check, main
from raftdb.simulation.trace_format import TraceEvent, TraceMessage, decode, encode
from raftdb.simulation.trace_run import run_traced

SEEDS = (1, 3, 7, 9, 10, 11, 17, 20, 1004, 1005)
"""Of one to five nodes; some change their members."""

JAVA, CLASSPATH = shutil.which("java"), os.environ.get("RAFTDB_TLC_CLASSPATH", "")
SPECIFICATION = os.environ.get("RAFTDB_TLC_SPECIFICATION", "")


SNAPSHOTS = Options(snapshot_entries=10)


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
        assert told["InitState"] > 3 * 4, "nodes restart, others join"
        assert told["BecomeLeader"] > 3
        assert told["BecomeFollower"] > 10
        assert told["ChangeConf"] > 2
        assert told["ApplyConfChange"] > told["ChangeConf"]
        assert told["Commit"] > 30

    def test_snapshots_are_told_as_appends(self) -> None:
        """A joiner that is sent a snapshot gets all its entries in one append."""
        events = _told(Plan(seed=1, reconfigure=True, faults=(), storm_s=3.0, options=SNAPSHOTS))
        received = [e for e in events if e.name == "ReceiveAppendEntriesRequest"]
        assert any(e.msg is not None and e.msg.entries > 20 and e.log < 10 for e in received)
        check(events)

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
        monkeypatch.setattr(
            Tracker, "committed", lambda self: max(pr.match for pr in self.progress.values())
        )
        assert "commit is" in _refusal()

    def test_a_vote_for_a_shorter_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Voters do not look at the candidate's log."""
        monkeypatch.setattr(RaftLog, "is_up_to_date", lambda *_: True)
        assert "ReceiveRequestVoteResponse" in _refusal()


def _refusal() -> str:
    """Return why the trace of one of a few runs is refused."""
    for seed in range(6):
        traced = run_traced(Plan(seed=seed, names="abcde", interval_s=0.15, storm_s=3.0))
        try:
            check(list(traced.trace.events()))
        except Rejected as error:
            return str(error)
    return "none is"


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
