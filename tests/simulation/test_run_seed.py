"""Whole runs of the simulator, as its command line does them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from pathlib import Path

import pytest

from raftdb.replica import ReplicaOptions
from raftdb.simulation.faults.nemesis import RARE
from raftdb.simulation.run import command, single
from raftdb.simulation.run.plan import draw
from raftdb.simulation.run.processes import SeedProcesses
from raftdb.simulation.run.run_seed import Verdict, run, run_seed

ROOT = Path(single.__file__).parents[3]
KEPT = Path(__file__).with_name("kept_seeds.txt")

FRESH = int(os.environ.get("RAFTDB_SIMULATION_SEEDS", "300"))
"""How many fresh seeds are run."""

JOBS = 2


def _kept() -> list[int]:
    lines = KEPT.read_text(encoding="utf-8").splitlines()
    return [int(line.split()[0]) for line in lines if line and not line.startswith("#")]


def _told(verdict: Verdict) -> str:
    lines = [str(verdict.violation), *verdict.events]
    return "\n".join([*lines, f"python -m raftdb.simulation --seed {verdict.plan.seed}"])


def _fresh() -> range:
    """Return seeds that follow from the sources: every change of raftdb meets others."""
    digest = blake2b(digest_size=5)
    for path in sorted((ROOT / "raftdb").rglob("*.py")):
        digest.update(path.read_bytes())
    begin = int.from_bytes(digest.digest(), "big")
    return range(begin, begin + FRESH)


class TestSeeds:
    """Whatever a seed stands for, every promise is kept."""

    def test_kept_and_fresh_ones(self) -> None:
        """Those that found something once, and as many that nobody has run with these sources."""
        seeds = [*_kept(), *_fresh()]
        with SeedProcesses(seeds, jobs=JOBS) as swarm:
            verdicts = [verdict for verdict in swarm.verdicts() if verdict is not None]
        broken = [_told(verdict) for verdict in verdicts if verdict.violation is not None]
        assert not broken, "\n\n".join(broken)
        assert sorted(verdict.plan.seed for verdict in verdicts) == sorted(seeds)

    def test_kept_ones_as_they_were_found(self) -> None:
        """Without the faults that have come since: so they go on proving what they proved."""
        plans = [draw(seed) for seed in _kept()]
        rare = [plan for plan in plans if set(plan.faults) & set(RARE)]
        assert rare, "all others have just been run"
        for plan in rare:
            faults = tuple(fault for fault in plan.faults if fault not in RARE)
            verdict = run(replace(plan, faults=faults, narrow=False))
            assert verdict.violation is None, _told(verdict)

    def test_an_append_larger_than_a_segment(self) -> None:
        """Seed 10028 as it was found: limits must nest, or a follower never catches up [R30]."""
        options = ReplicaOptions(snapshot_entries=1000)
        single.run(10028, "abcd", durable=True, reconfigure=True, options=options)


class TestTheCommandLine:
    """It says the same everywhere, and how to see a failure again."""

    def test_one_seed_is_the_same_in_every_process(self) -> None:
        """All events, byte for byte: string hashes differ per process, and nothing shows it [R26]."""
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

    def test_an_interrupt_ends_it_with_all_its_processes(self) -> None:
        """It sums up what it has done, and nothing is left behind."""
        command = [sys.executable, "-m", "raftdb.simulation", "--forever", "5", "--jobs", "2"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as running:
            assert running.stderr is not None
            running.stderr.readline()  # its first line of progress
            os.killpg(running.pid, signal.SIGINT)
            # This ends when nobody is left who could write.
            told, _ = running.communicate(timeout=60)
        assert running.returncode == 130
        assert "0 broke a promise" in told


class TestWorkers:
    """A seed comes back, whatever becomes of the process that has it in its hands."""

    def test_one_that_dies_is_a_broken_promise(self) -> None:
        """All others are judged, each once, by the workers that follow."""
        with SeedProcesses([7, 8, 9], jobs=2, work=os._exit) as swarm:
            verdicts = [verdict for verdict in swarm.verdicts() if verdict is not None]
        told = sorted((verdict.plan.seed, verdict.violation) for verdict in verdicts)
        assert told == [(n, f"its process was ended: status {n}") for n in (7, 8, 9)]

    def test_one_that_never_ends_is_ended(self) -> None:
        """It may spend so much of a processor, even where Python never gets a word in."""
        endless = partial(sum, range(10**18))
        with SeedProcesses([5], jobs=1, work=endless, cpu_max_s=0.2) as swarm:  # type: ignore[arg-type]  # never returns
            verdicts = [verdict for verdict in swarm.verdicts() if verdict is not None]
        assert [verdict.violation for verdict in verdicts] == [
            "its process was ended: it took more than 0.2 s of a processor"
        ]


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
