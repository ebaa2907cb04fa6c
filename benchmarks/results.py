"""What a run has found, as a value that can be written to a file and read again."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from statistics import median

import msgspec

from benchmarks.systems.base import Sample


class Cell(msgspec.Struct):
    """One row at one number of connections for one system; one entry by round in each list."""

    row: str
    connections: int
    system: str
    per_second: list[float] = []
    p50_ms: list[float] = []
    p99_ms: list[float] = []
    cpu_us: list[float] = []
    failed: int = 0

    def add(self, sample: Sample) -> None:
        """Add a round."""
        self.per_second.append(round(sample.per_second, 1))
        self.p50_ms.append(round(sample.p50_ms, 3))
        self.p99_ms.append(round(sample.p99_ms, 3))
        self.cpu_us.append(round(sample.cpu_us, 1))
        self.failed += sample.failed


class Figure(msgspec.Struct):
    """One thing that is measured by itself: all trials."""

    name: str
    system: str
    values: list[float] = []


class Results(msgspec.Struct):
    """One run.

    :param load: of the machine when the run began and when it ended, over a minute
    :param notes: what went wrong
    """

    machine: str
    day: str
    rounds: int
    seconds: int
    systems: dict[str, str]
    load: list[float] = []
    took_s: float = 0.0
    cells: list[Cell] = []
    figures: list[Figure] = []
    notes: list[str] = []

    def cell(self, row: str, connections: int, system: str) -> Cell | None:
        """Return a cell; None if it was not measured."""
        for cell in self.cells:
            if (cell.row, cell.connections, cell.system) == (row, connections, system):
                return cell
        return None

    def figure(self, name: str, system: str) -> list[float]:
        """Return the trials of a figure; none if it was not measured."""
        for figure in self.figures:
            if (figure.name, figure.system) == (name, system):
                return figure.values
        return []

    def add_sample(self, row: str, connections: int, system: str, sample: Sample) -> None:
        """Note a round of a cell."""
        cell = self.cell(row, connections, system)
        if cell is None:
            cell = Cell(row, connections, system)
            self.cells.append(cell)
        cell.add(sample)

    def add_values(self, name: str, system: str, values: list[float]) -> None:
        """Note trials of a figure."""
        values = [round(value, 4) for value in values]
        for figure in self.figures:
            if (figure.name, figure.system) == (name, system):
                figure.values.extend(values)
                return
        self.figures.append(Figure(name, system, values))

    def ratio(self, row: str, connections: int, other: str, other_row: str = "") -> list[float]:
        """Return raftdb's rate as multiples of another system's, round by round."""
        ours = self.cell(row, connections, "raftdb")
        theirs = self.cell(other_row or row, connections, other)
        if ours is None or theirs is None:
            return []
        rounds = zip(ours.per_second, theirs.per_second, strict=False)
        return [our / their for our, their in rounds if their]


def save(results: Results, path: Path) -> None:
    """Write a run to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")


def load(path: Path) -> Results:
    """Read a run from a file."""
    return msgspec.json.decode(path.read_bytes(), type=Results)


def percentile(values: list[float], percent: float) -> float:
    """Return the value below which so many lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def middle(values: list[float]) -> float:
    """Return the median."""
    return median(values)


def machine() -> str:
    """Return what this machine is, in a line."""
    model = platform.processor() or platform.machine()
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        model = re.findall(r"model name\s*: (.*)", text)[0]
    except (OSError, IndexError):
        pass
    return (
        f"{os.cpu_count()} x {model}, {platform.system()} {platform.release()},"
        f" {platform.python_implementation()} {platform.python_version()}"
    )
