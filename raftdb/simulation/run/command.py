"""The simulator's command line: run one seed, or many on all cores; tell what broke, and how."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
from itertools import count
from pathlib import Path

from raftdb.simulation.nodes.event_log import EVENTS_KEPT
from raftdb.simulation.run.picture import Picture
from raftdb.simulation.run.plan import Plan, draw
from raftdb.simulation.run.processes import SeedProcesses, quiet
from raftdb.simulation.run.run_seed import Run, Verdict, run
from raftdb.simulation.run.traced_run import SWITCHED_OFF, run_traced
from raftdb.simulation.trace.check import Rejected, check
from raftdb.simulation.trace.format import encode

BLOCK = 1000
"""Seeds after which a run without end sums up."""

PROGRESS_S = 5.0
"""Between two lines of progress, where they are kept."""


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
    parser.add_argument(
        "--picture", type=Path, metavar="FILE", help="with --seed: draw the run as SVG"
    )
    parser.add_argument(
        "--trace", type=Path, metavar="FILE", help="with --seed: write its trace for TLA+"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at a time")
    asked = parser.parse_args(arguments)
    quiet()
    if asked.seed is not None:
        if asked.picture is not None:
            return _draw(asked.seed, asked.picture)
        if asked.trace is not None:
            return _trace(asked.seed, asked.trace)
        verdict = run(draw(asked.seed), events_kept=None if asked.events else 100)
        tell_plan(verdict.plan)
        if asked.events and verdict.violation is None:
            _say("\n".join(verdict.events))
        tell(verdict)
        return int(verdict.violation is not None)
    if asked.seeds is not None:
        return _run_many(asked.seeds, jobs=asked.jobs)
    return _run_for_ever(asked.forever, jobs=asked.jobs)


def _draw(seed: int, path: Path) -> int:
    """Run one seed and draw it."""
    one = Run(draw(seed), events_kept=None)
    verdict = one.verdict()
    picture = Picture(
        one.cluster.event_log.events,
        f"seed {seed}",
        subtitle=f"what may happen: {', '.join(verdict.plan.faults) or 'nothing'}",
        violation=verdict.violation,
    )
    path.write_text(picture.svg(), encoding="utf-8")
    tell(dataclasses.replace(verdict, events=verdict.events[-EVENTS_KEPT:]))
    _say(f"drawn: {path}")
    return int(verdict.violation is not None)


def _trace(seed: int, path: Path) -> int:
    """Run one seed, tamed, and write its trace; docs/traces.md says what for."""
    traced = run_traced(draw(seed))
    events = list(traced.trace.events())
    path.write_bytes(b"".join(encode(events)))
    tell_plan(traced.verdict.plan)
    _say(f"switched off for the trace: {SWITCHED_OFF}")
    tell(traced.verdict)
    try:
        check(events)
    except Rejected as error:
        _say(f"the specification does not allow this trace: {error}")
        return 1
    _say(f"{path}: {len(events)} events, allowed by the specification as trace_check reads it")
    return int(traced.verdict.violation is not None)


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
    tally = Tally(len(seeds))
    interrupted = False
    try:
        with SeedProcesses(seeds, jobs=jobs) as swarm:
            for verdict in swarm.verdicts():
                if verdict is not None:
                    tally.add(verdict)
                    if verdict.violation is not None:
                        tally.progress.clear()
                        tell(verdict)
                tally.progress.show(tally.line())
    except KeyboardInterrupt:
        interrupted = True
    tally.progress.clear()
    _say(tally.summary())
    return 130 if interrupted else int(bool(tally.failures))


class Tally:
    """What came of many seeds so far.

    :param total: how many seeds there are
    """

    def __init__(self, total: int) -> None:
        self.progress = Progress()
        self.failures: list[tuple[int, str]] = []
        """The seeds that broke a promise, and which."""
        self._total = total
        self._done = self._answered = self._boots = self._changes = 0
        self._begin_s = time.monotonic()

    def add(self, verdict: Verdict) -> None:
        """Count one seed in."""
        self._done += 1
        self._answered += verdict.answered
        self._boots += verdict.boots
        self._changes += verdict.changes
        if verdict.violation is not None:
            self.failures.append((verdict.plan.seed, verdict.violation.splitlines()[0]))

    def line(self) -> str:
        """Say how far it is."""
        return f"{self._done} of {self._total} seeds, {len(self.failures)} failed, {self._pace()}"

    def summary(self) -> str:
        """Say what came of it, and how to see each failure again."""
        spent_s = time.monotonic() - self._begin_s
        told = (
            f"{self._done} seeds in {spent_s:.0f} s ({self._pace()}):"
            f" {len(self.failures)} broke a promise; {self._answered} operations answered,"
            f" {self._boots} starts of nodes, {self._changes} changes of members"
        )
        again = [
            f"  python -m raftdb.simulation --seed {seed}  # {first}"
            for seed, first in sorted(self.failures)
        ]
        return "\n".join([told, *again])

    def _pace(self) -> str:
        return f"{self._done / max(0.001, time.monotonic() - self._begin_s):.1f} a second"


class Progress:
    """One line of a terminal, written anew; elsewhere a line every now and then."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._next_s = time.monotonic() + self._pause_s
        self._shown = 0

    @property
    def _pause_s(self) -> float:
        return 0.1 if self._terminal else PROGRESS_S

    def show(self, line: str) -> None:
        """Show how far it is, unless that was done just now."""
        now_s = time.monotonic()
        if now_s < self._next_s:
            return
        self._next_s = now_s + self._pause_s
        if self._terminal:
            self._write(f"\r{line:{self._shown}}")
            self._shown = len(line)
        else:
            self._write(f"{line}\n")

    def clear(self) -> None:
        """Leave the line to others."""
        if self._shown:
            self._write(f"\r{'':{self._shown}}\r")
            self._shown = 0

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


def _span(text: str) -> range:
    first, _, end = text.partition(":")
    return range(int(first), int(end))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
