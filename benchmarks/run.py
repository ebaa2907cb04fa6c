"""One run: all systems in turns, round by round, one of them awake at a time."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks import rows, scenarios
from benchmarks.processes import BenchFailed
from benchmarks.progress import Progress
from benchmarks.results import Results, machine
from benchmarks.systems.base import REST_S, System
from benchmarks.systems.etcd import Etcd
from benchmarks.systems.pysyncobj import PySyncObj
from benchmarks.systems.raft_db import RaftDB

SYSTEMS: dict[str, type[System]] = {cls.name: cls for cls in (RaftDB, Etcd, PySyncObj)}
FAILOVERS = 10
SETTLE_S = 0.3
START_S = 2.5
KEYS = 10_000

COST_S = {
    rows.FAILOVER: 3.0,
    rows.VISIBLE: 0.8,
    rows.GROWTH: 50.0,
    rows.MILLION: 50.0,
}
"""About how long a trial (failover), a round (visible) or all of it takes for one system."""


class Run:
    """Measures what was chosen.

    :param names: of the systems; those that are not installed are left out already
    :param only: the rows
    :param seconds: of a load; the longer ones take twice that
    :param directory: on a real disk; removed at the end
    """

    def __init__(
        self,
        names: list[str],
        only: list[str],
        *,
        rounds: int,
        seconds: int,
        directory: Path,
        connections: tuple[int, ...] = rows.CONNECTIONS,
    ) -> None:
        self._names = names
        self._only = only
        self._connections = connections
        self._directory = directory
        self.results = Results(
            machine=machine(),
            day=time.strftime("%Y-%m-%d"),
            rounds=rounds,
            seconds=seconds,
            systems={name: SYSTEMS[name].version() for name in names},
            load=[os.getloadavg()[0]],
        )
        self._progress = Progress(self._estimate_s())

    @property
    def _loads(self) -> list[rows.LoadRow]:
        return [row for row in rows.LOADS if row.name in self._only]

    def _seconds(self, row: rows.LoadRow, connections: int) -> int:
        return self.results.seconds * (2 if connections in row.longer else 1)

    def _estimate_s(self) -> float:
        """Return about how long all of it takes."""
        cells_s = sum(
            SETTLE_S + REST_S + sum(self._seconds(row, n) + 0.2 for n in self._connections)
            for row in self._loads
            for name in row.operations
            if name in self._names
        )
        by_round_s = COST_S[rows.VISIBLE] * (rows.VISIBLE in self._only) * len(self._names)
        once_s = sum(COST_S[name] for name in (rows.GROWTH, rows.MILLION) if name in self._only)
        failover_s = COST_S[rows.FAILOVER] * FAILOVERS * (rows.FAILOVER in self._only)
        return self.results.rounds * (cells_s + by_round_s) + len(self._names) * (
            START_S + once_s + failover_s
        )

    def measure(self) -> None:
        """Measure everything; :attr:`results` has what was found, also after an interruption."""
        began = time.monotonic()
        try:
            self._rounds()
            for name, grow in (
                (rows.GROWTH, scenarios.grow_small),
                (rows.MILLION, scenarios.grow_large),
            ):
                if name in self._only:
                    self._grow(name, grow)
        finally:
            self._progress.end()
            self.results.took_s = round(time.monotonic() - began, 1)
            self.results.load.append(os.getloadavg()[0])

    def _rounds(self) -> None:
        by_round = [*(row.name for row in rows.LOADS), rows.FAILOVER, rows.VISIBLE]
        if not set(by_round) & set(self._only):
            return
        with ExitStack() as held:
            clusters: dict[str, System] = {}
            for name in self._names:
                self._progress.tell(f"starting {name}")
                clusters[name] = held.enter_context(self._cluster(name, "rounds"))
                with self._excused(clusters[name], "start", clusters):
                    clusters[name].start()
                    clusters[name].fill(0, KEYS, per_request=100)  # so that reads find something
                    clusters[name].pause()
                self._progress.did(START_S)
            for number in range(self.results.rounds):
                self._round(number, clusters)

    def _round(self, number: int, clusters: dict[str, System]) -> None:
        label = f"round {number + 1} of {self.results.rounds}"
        trials = len(range(number, FAILOVERS, self.results.rounds))
        for row in self._loads:
            for system in [one for one in clusters.values() if one.name in row.operations]:
                self._progress.tell(f"{label}: {row.name}, {system.name}")
                with self._excused(system, row.name, clusters), _awake(system):
                    self._load(row, system)
        for system in list(clusters.values()):
            add = self._adder(system.name)
            if rows.VISIBLE in self._only:
                self._progress.tell(f"{label}: visible, {system.name}")
                with self._excused(system, rows.VISIBLE, clusters), _awake(system):
                    scenarios.visible(system, add)
                self._progress.did(COST_S[rows.VISIBLE])
            if rows.FAILOVER in self._only and system.name in clusters:
                self._progress.tell(f"{label}: failover, {system.name}")
                with self._excused(system, rows.FAILOVER, clusters), _awake(system):
                    scenarios.failover(system, add, trials)
                self._progress.did(COST_S[rows.FAILOVER] * trials)

    def _load(self, row: rows.LoadRow, system: System) -> None:
        operation = row.operations[system.name]
        self._progress.did(SETTLE_S + REST_S)
        for connections in self._connections:
            seconds = self._seconds(row, connections)
            sample = system.load(operation, connections, seconds)
            self.results.add_sample(row.name, connections, system.name, sample)
            self._progress.did(seconds + 0.2)

    def _grow(
        self,
        row: str,
        grow: Callable[[System, scenarios.Add, Callable[[str], None]], None],
    ) -> None:
        for name in self._names:
            self._progress.tell(f"{row}: starting {name}")
            with self._cluster(name, row) as system, self._excused(system, row, {}):
                system.start()
                grow(system, self._adder(name), partial(self._tell, f"{row}, {name}"))
            self._progress.did(COST_S[row])

    @contextmanager
    def _excused(self, system: System, row: str, clusters: dict[str, System]) -> Iterator[None]:
        """Note that a system failed at something, leave it out from now on, and let the others go on."""
        try:
            yield
        except BenchFailed as failed:
            clusters.pop(system.name, None)
            self.results.notes.append(f"{row}, {system.name}: {str(failed).splitlines()[0]}")
            sys.stderr.write(f"\n{failed}\n")

    def _tell(self, where: str, what: str) -> None:
        self._progress.tell(f"{where}: {what}")

    def _adder(self, system: str) -> scenarios.Add:
        return lambda name, values: self.results.add_values(name, system, values)

    @contextmanager
    def _cluster(self, name: str, purpose: str) -> Iterator[System]:
        """Hold a cluster that can be started."""
        system = SYSTEMS[name](self._directory / f"{name}-{purpose}", bulk=purpose != "rounds")
        try:
            yield system
        finally:
            system.stop()
            self.results.notes.extend(
                f"{purpose}, {name}: {trouble}" for trouble in system.troubles
            )


@contextmanager
def _awake(system: System) -> Iterator[None]:
    """Let a system run, and nobody else."""
    system.resume()
    time.sleep(SETTLE_S)  # a leader that was stopped may step down when it notices the time
    system.leader()
    system.rest()
    try:
        yield
    finally:
        system.pause()
