"""Fault after fault on one cluster, the verdict, and the table of write gaps."""

from __future__ import annotations

import random
import statistics
import sys
import time
from pathlib import Path

from raftdb.simulation.checks.linearizability import check
from tests.chaos.clients import Load
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.netlab import Lab
from tests.chaos.nodes import Cluster, Failed, wait_until

HOLD_S = 2.5
"""How long a trouble lasts: several election timeouts."""
QUIET_S = 0.7
"""What is recorded before a trouble, so that a gap has a beginning."""
GAP_S_MAX = 10.0
"""Ten times what is promised: on a busy machine only this is a failure."""


class Campaign:
    """One cluster and what was measured on it.

    :param cluster: formed
    :param seed: of the order of the faults and of what is random in them
    :param level: of the reads during the faults
    """

    def __init__(self, cluster: Cluster, seed: str, level: str) -> None:
        self._level = level
        self.gaps_s: dict[str, list[float]] = {}
        self._cluster = cluster
        self._seed = seed
        self._rng = random.Random(seed)
        self._loads: list[Load] = []

    def run(self, ends_s: float, only: str) -> None:
        """Tell one story after the other, each kind once before any a second time.

        :param ends_s: no story begins after this moment
        :param only: part of the names of those to be told
        """
        told = [one for one in FAULTS if self._cluster.size in one.sizes and only in one.name]
        queue: list[Fault] = []
        while told and time.monotonic() < ends_s:
            if not queue:
                queue = self._rng.sample(told, len(told))
            self._suffer(queue.pop())

    def finish(self) -> None:
        """See that nothing was lost, that all nodes are alike, and that they stop when asked."""
        for number, load in enumerate(self._loads):
            load.read_all(self._cluster.nodes[number % self._cluster.size].address)
            _judge(load)
        state = self._cluster.wait_until_equal()
        self._cluster.examine()
        for one in self._cluster.nodes:
            one.stop()
        _say(f"  all {self._cluster.size} nodes have state {state}; {self._totals()}")

    def _suffer(self, fault: Fault) -> None:
        cluster = self._cluster
        name = f"{len(self._loads)}"
        addresses = [one.address for one in cluster.nodes]
        load = Load(name, addresses, f"{self._seed} {name}", self._level, cluster.starts_of)
        self._loads.append(load)
        try:
            time.sleep(QUIET_S)
            cluster.mark()
            story = fault.tell(cluster, self._rng)
            next(story)
            time.sleep(HOLD_S)
            next(story, None)
            cluster.heal()
            healed_s = time.monotonic()
            wait_until("a write", lambda: load.wrote_after(healed_s))
            cluster.wait_until_settled()
            cluster.examine()
        finally:
            load.stop()
        _judge(load)
        gap_s = load.gap_s(cluster.since_s)
        self.gaps_s.setdefault(fault.name, []).append(gap_s)
        _say(f"  {fault.name}: {gap_s:.2f} s without writes, {dict(load.counts)}")
        if gap_s > GAP_S_MAX:
            raise Failed(f"{gap_s:.1f} s without writes is too long")

    def _totals(self) -> str:
        operations = sum(len(load.history) for load in self._loads)
        unknown = sum(load.counts["unknown"] for load in self._loads)
        return f"{operations} operations are linearizable, {unknown} of unknown outcome"


def _judge(load: Load) -> None:
    if load.wrong:
        raise Failed(load.wrong[0])
    violation = check(load.history)
    if violation is not None:
        raise Failed(str(violation))


def run(
    base: Path, *, seed: str, seconds: float, sizes: tuple[int, ...], only: str, level: str
) -> int:
    """Run everything inside the lab that the calling process is to live in; return the exit code.

    :param base: an empty directory
    :param seconds: about how long, for all clusters together
    :param sizes: of the clusters, one after the other
    :param only: part of the names of the faults
    :param level: of the reads during the faults
    """
    lab = Lab()
    lab.enter("clients")
    ends_s = time.monotonic()
    gaps_s: dict[int, dict[str, list[float]]] = {}
    for size in sizes:
        ends_s += seconds / len(sizes)
        _say(f"{size} nodes, seed {seed}")
        directory = base / f"of{size}"
        directory.mkdir()
        cluster = Cluster(lab, directory, first=1 + 80 * len(gaps_s))
        try:
            cluster.form(size)
            campaign = Campaign(cluster, f"{seed} {size}", level)
            campaign.run(ends_s, only)
            campaign.finish()
        except Failed as failed:
            _say(f"FAILED: {failed}")
            _say("".join(f"--- {one.name}\n{one.log[-3000:]}\n" for one in cluster.nodes))
            return 1
        gaps_s[size] = campaign.gaps_s
    _say(table(gaps_s))
    return 0


def table(gaps_s: dict[int, dict[str, list[float]]]) -> str:
    """Return the write gaps as a table: nodes -> fault -> seconds."""
    rows = [
        "",
        "seconds without an acknowledged write, median / longest (of how many)",
        "",
        "| fault |" + "".join(f" {size} nodes |" for size in gaps_s),
        "|---|" + "---|" * len(gaps_s),
    ]
    told = {name for measured in gaps_s.values() for name in measured}
    for fault in (one for one in FAULTS if one.name in told):
        cells = [_cell(measured.get(fault.name, [])) for measured in gaps_s.values()]
        rows.append(f"| {fault.name} |" + "".join(f" {cell} |" for cell in cells))
    return "\n".join(rows)


def _cell(values_s: list[float]) -> str:
    if not values_s:
        return "-"
    return f"{statistics.median(values_s):.2f} / {max(values_s):.2f} ({len(values_s)})"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
