"""Traces of whole runs: told completely, allowed by the specification, and able to be refused."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest

from raftdb.raft.log import RaftLog
from raftdb.raft.tracker import Tracker
from raftdb.simulation import command
from raftdb.simulation.plan import draw
from raftdb.simulation.trace_check import Rejected, check, main
from raftdb.simulation.trace_format import TraceEvent, decode, encode
from raftdb.simulation.trace_run import run_traced

SEEDS = (1, 3, 7, 9, 10, 11, 17, 20, 1004, 1005)
"""Of one to five nodes; 11, 17, 1004 and 1005 change their members."""

JAVA, CLASSPATH = shutil.which("java"), os.environ.get("RAFTDB_TLC_CLASSPATH", "")
SPECIFICATION = os.environ.get("RAFTDB_TLC_SPECIFICATION", "")


def _events(seed: int) -> list[TraceEvent]:
    traced = run_traced(draw(seed))
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
        """Restarts, elections, step-downs, changes of members, joiners, repetitions: all are told."""
        names = [_names(events) for events in map(_events, (9, 11, 1005))]
        assert names[0].count("InitState") > 4, "nodes restart"
        assert names[1].count("ChangeConf") > 1
        assert names[1].count("ApplyConfChange") > 2
        for told in names:
            assert told.count("BecomeLeader") > 1
            assert told.count("Commit") > 10

    def test_snapshots_are_told_as_appends(self) -> None:
        """A joiner that is sent a snapshot gets all its entries in one append."""
        events = _events(1051)
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


class TestBugs:
    """A core with a bug writes a trace that is refused."""

    def test_a_commit_without_a_quorum(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The leader commits what one node has."""
        monkeypatch.setattr(
            Tracker, "committed", lambda self: max(pr.match for pr in self.progress.values())
        )
        with pytest.raises(Rejected, match=r"Commit of \d: commit is"):
            check(list(run_traced(draw(10)).trace.events()))

    def test_a_vote_for_a_shorter_log(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Voters do not look at the candidate's log."""
        monkeypatch.setattr(RaftLog, "is_up_to_date", lambda *_: True)
        with pytest.raises(Rejected, match="no such message is under way"):
            check(list(run_traced(draw(20)).trace.events()))


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
