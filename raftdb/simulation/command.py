"""The simulator's command line: run one seed, or many on all cores; tell what broke, and how."""

from __future__ import annotations

import argparse
import dataclasses
import os
import signal
import sys
import time
from itertools import count
from multiprocessing import get_context

from twisted.logger import globalLogBeginner

from raftdb.simulation.plan import Plan, draw
from raftdb.simulation.swarm import Verdict, run, run_seed

BLOCK = 1000
"""Seeds after which a run without end sums up."""


def main(arguments: list[str]) -> int:
    """Do what the command line asks for; return the exit status, 1 where a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m raftdb.simulation", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, help="run one seed and tell its plan and outcome")
    what.add_argument("--seeds", type=_span, metavar="A:B", help="run seeds A to B - 1")
    what.add_argument(
        "--forever", nargs="?", type=int, const=-1, metavar="A", help="run seeds until stopped"
    )
    parser.add_argument("--events", action="store_true", help="with --seed: tell all its events")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    asked = parser.parse_args(arguments)
    _quiet()
    if asked.seed is not None:
        verdict = run(draw(asked.seed), events_kept=None if asked.events else 100)
        tell_plan(verdict.plan)
        if asked.events and verdict.violation is None:
            _say("\n".join(verdict.events))
        tell(verdict)
        return int(verdict.violation is not None)
    if asked.seeds is not None:
        return _run_many(asked.seeds, jobs=asked.jobs)
    return _run_for_ever(asked.forever, jobs=asked.jobs)


def tell_plan(plan: Plan) -> None:
    """Print what a seed stands for."""
    for field in dataclasses.fields(plan):
        value = getattr(plan, field.name)
        shown = " ".join(value) if field.name == "faults" else value
        _say(f"{field.name:>14}: {shown}")


def tell(verdict: Verdict) -> None:
    """Print what came of a seed."""
    seed = verdict.plan.seed
    if verdict.violation is not None:
        _say(f"seed {seed} BROKE A PROMISE: {verdict.violation}")
        _say("the last events:")
        _say("\n".join(f"  {line}" for line in verdict.events))
        _say(f"seed {seed} broke a promise (above): {verdict.violation.splitlines()[0]}")
        _say(f"replay it with: python -m raftdb.simulation --seed {seed}")
        return
    _say(
        f"seed {seed}: all promises kept; {verdict.answered} operations answered,"
        f" {verdict.acknowledged} values acknowledged, {verdict.boots} starts,"
        f" {verdict.changes} changes of members, term {verdict.term}; digest {verdict.digest}"
    )


def _run_for_ever(first: int, *, jobs: int) -> int:
    """Run seeds from ``first`` on, or from a number nobody else begins with, until one fails."""
    begin = first if first >= 0 else int(time.time()) * 1000
    for block in count(begin, BLOCK):
        status = _run_many(range(block, block + BLOCK), jobs=jobs)
        if status:
            return status
    raise AssertionError("counting ends")


def _run_many(seeds: range, *, jobs: int) -> int:
    done, answered, boots, failures = 0, 0, 0, []
    begin_s = time.monotonic()
    interrupted = False
    with get_context("spawn").Pool(jobs, initializer=_begin_worker) as pool:
        try:
            for verdict in pool.imap_unordered(run_seed, seeds):
                done += 1
                answered += verdict.answered
                boots += verdict.boots
                if verdict.violation is not None:
                    failures.append(verdict)
                    _progress("\n")
                    tell(verdict)
                spent_s = time.monotonic() - begin_s
                _progress(
                    f"\r{done} of {len(seeds)} seeds, {len(failures)} failed,"
                    f" {done / spent_s:.1f} a second "
                )
        except KeyboardInterrupt:
            pool.terminate()
            interrupted = True
    _progress("\n")
    _say(
        f"{done} seeds in {time.monotonic() - begin_s:.0f} s: {len(failures)} broke a promise;"
        f" {answered} operations answered, {boots} starts of nodes"
    )
    for verdict in sorted(failures, key=lambda failure: failure.plan.seed):
        first = (verdict.violation or "").splitlines()[0]
        _say(f"  python -m raftdb.simulation --seed {verdict.plan.seed}  # {first}")
    return 130 if interrupted else int(bool(failures))


def _begin_worker() -> None:

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _quiet()


def _quiet() -> None:
    """Let the nodes' log go nowhere: simulated failures are expected, the verdict tells the rest."""
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)


def _span(text: str) -> range:
    first, _, end = text.partition(":")
    return range(int(first), int(end))


def _progress(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
