"""Whole runs of the simulator, as its command line does them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raftdb.replica import Options
from raftdb.simulation import command, storm
from raftdb.simulation.swarm import Verdict, run_seed

ROOT = Path(storm.__file__).parents[2]
KEPT = Path(__file__).with_name("kept_seeds.txt")

FRESH_S = float(os.environ.get("RAFTDB_SIMULATION_S", "45"))
"""For how long fresh seeds are run."""


def _kept() -> list[int]:
    lines = KEPT.read_text(encoding="utf-8").splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


def _told(verdict: Verdict) -> str:
    lines = [str(verdict.violation), *verdict.events]
    return "\n".join([*lines, f"python -m raftdb.simulation --seed {verdict.plan.seed}"])


class TestSeeds:
    """Whatever a seed stands for, every promise is kept."""

    @pytest.mark.parametrize("seed", _kept())
    def test_that_found_something(self, seed: int) -> None:
        """None of them finds it again."""
        verdict = run_seed(seed)
        assert verdict.violation is None, _told(verdict)

    def test_nobody_has_run_yet(self) -> None:
        """As many as fit into the time; they begin somewhere else each time."""
        begin = seed = int(time.time()) * 1000
        ends_s = time.monotonic() + FRESH_S
        while time.monotonic() < ends_s:
            verdict = run_seed(seed)
            assert verdict.violation is None, _told(verdict)
            seed += 1
        assert seed > begin

    def test_an_append_larger_than_a_segment(self) -> None:
        """Seed 10028 as it was found: limits must nest, or a follower never catches up [30]."""
        options = Options(snapshot_entries=1000)
        storm.run(10028, "abcd", durable=True, reconfigure=True, options=options)


class TestTheCommandLine:
    """It says the same everywhere, and how to see a failure again."""

    def test_one_seed_is_the_same_in_every_process(self) -> None:
        """All events, byte for byte: string hashes differ per process, and nothing shows it [26]."""
        told = [_run(hash_seed, "--seed", "40", "--events") for hash_seed in ("1", "2")]
        assert told[0] == told[1]
        assert len(told[0].splitlines()) > 100
        assert "all promises kept" in told[0]

    def test_a_failure_tells_how_to_repeat_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The promise in words, the last events, the command."""
        verdict = run_seed(40)
        broken = Verdict(
            plan=verdict.plan,
            digest=verdict.digest,
            violation="two leaders",
            events=verdict.events,
            answered=0,
            acknowledged=0,
            boots=0,
            term=0,
            changes=0,
        )
        command.tell(broken)
        told = capsys.readouterr().out
        assert "two leaders" in told
        assert "python -m raftdb.simulation --seed 40" in told
        assert len(verdict.events) == 100
        assert verdict.events[-1] in told

    def test_several_seeds_are_summed_up(self) -> None:
        """On several processes; the status says whether all went well."""
        told = _run("0", "--seeds", "2:4", "--jobs", "2")
        assert "2 seeds in" in told
        assert "0 broke a promise" in told


def _run(hash_seed: str, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "raftdb.simulation", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout
