"""Turns a run into the tables of ``docs/benchmarks.md`` and ``notes/benchmarks.md``: none is written by hand."""

from __future__ import annotations

import textwrap
from pathlib import Path

from benchmarks.results import Cell, Results, middle, percentile
from benchmarks.rows import CONNECTIONS, FIGURES, LOADS, LoadRow
from benchmarks.targets import Reached, reached

BEGIN = "<!-- begin: written by `make bench PUBLISH=1`, not by hand -->"
END = "<!-- end -->"
COLUMNS = 100


def markdown(results: Results) -> str:
    """Return all tables of a run."""
    return "\n".join([*_head(results), *_targets(results), *_loads(results), *_figures(results)])


_PICTURES = """### In pictures

![Requests a second over connections](images/benchmark-load.svg)

![Failover, restart, memory](images/benchmark-events.svg)"""


def summary(results: Results) -> str:
    """Return what a reader of the documents wants of a run: what was to be reached, in pictures."""
    return "\n".join([*_head(results), *_targets(results), _PICTURES])


def tables(results: Results) -> str:
    """Return the rest: every row of a run."""
    return "\n".join([*_head(results), *_loads(results), *_figures(results)])


def publish(text: str, page: Path) -> None:
    """Put ``text`` between the marks of a page.

    :raises ValueError: if the page has no marks
    """
    present = page.read_text(encoding="utf-8")
    before, begins, rest = present.partition(BEGIN)
    _, ends, after = rest.partition(END)
    if not begins or not ends:
        raise ValueError(f"{page} lacks the marks {BEGIN!r} and {END!r}")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def _head(results: Results) -> list[str]:
    systems = ", ".join(f"{name} {version}" for name, version in results.systems.items())
    load = " and ".join(f"{value:.1f}" for value in (results.load[0], results.load[-1]))
    text = (
        f"{results.machine}; {systems}; {results.day}. {results.rounds} rounds of {results.seconds} s"
        f" ({2 * results.seconds} s where a promise is about it), {results.took_s / 60:.0f} minutes in"
        f" all; load of the machine before and after: {load}."
    )
    return [*textwrap.wrap(text, COLUMNS, break_on_hyphens=False), ""]


def _targets(results: Results) -> list[str]:
    lines = [
        "### What must be reached",
        "",
        "Multiples are medians of the ratios of the rounds, raftdb's rate by etcd's in the same round.",
        "",
        "| | at least | aim | measured | etcd | |",
        "|---|--:|--:|--:|--:|---|",
    ]
    return [*lines, *map(_target, reached(results)), ""]


def _target(one: Reached) -> str:
    def value(number: float | None) -> str:
        if number is None:
            return "–"
        if one.target.unit == "x":
            return f"{number:.2f} ×"
        return f"{_number(number)} {one.target.unit}"

    target = one.target
    return (
        f"| {target.title} | {value(target.at_least)} | {value(target.aim)} |"
        f" {value(one.measured)} | {value(one.etcd)} | {one.verdict} |"
    )


def _loads(results: Results) -> list[str]:
    text = (
        "Medians of the rounds, the lowest and the highest of them in brackets; the CPU time is that of"
        " all three nodes. The last columns are raftdb's rate as a multiple of the others'."
    )
    lines = ["### Under load", "", text, ""]
    for row in LOADS:
        table = [
            line
            for connections in CONNECTIONS
            for system in row.operations
            for line in _cell(results, row, connections, system)
        ]
        if table:
            lines += [
                f"**{row.title[0].upper()}{row.title[1:]}**",
                "",
                "| connections | system | per second | p50 ms | p99 ms | CPU µs/op | × etcd | × PySyncObj |",
                "|--:|---|--:|--:|--:|--:|--:|--:|",
                *table,
                "",
            ]
    return lines if len(lines) > 4 else []


def _cell(results: Results, row: LoadRow, connections: int, system: str) -> list[str]:
    cell = results.cell(row.name, connections, system)
    if cell is None:
        return []
    ratios = ["", ""]
    if system == "raftdb":
        ratios = [
            _ratio(results.ratio(row.name, connections, "etcd", row.against)),
            _ratio(results.ratio(row.name, connections, "PySyncObj")),
        ]
    failed = f", {cell.failed} failed" if cell.failed else ""
    line = (
        f"| {connections} | {system} | {_rates(cell)}{failed} | {middle(cell.p50_ms):.1f} |"
        f" {middle(cell.p99_ms):.1f} | {middle(cell.cpu_us):,.0f} | {ratios[0]} | {ratios[1]} |"
    )
    return [line]


def _rates(cell: Cell) -> str:
    low, high = min(cell.per_second), max(cell.per_second)
    return f"{middle(cell.per_second):,.0f} ({low:,.0f}–{high:,.0f})"


def _ratio(ratios: list[float]) -> str:
    return f"{middle(ratios):.1f} ({min(ratios):.1f}–{max(ratios):.1f})" if ratios else "–"


def _figures(results: Results) -> list[str]:
    lines = [
        "### Deaths, growth, restarts",
        "",
        "Median (lowest–highest, of how many); of many, median and p99.",
        "",
        f"| | {' | '.join(results.systems)} |",
        f"|---|{'--:|' * len(results.systems)}",
    ]
    for name, title in FIGURES.items():
        found = [results.figure(name, system) for system in results.systems]
        if any(found):
            lines.append(f"| {title} | {' | '.join(map(_trials, found))} |")
    if len(lines) == 6:
        return []
    return [
        *lines,
        *(["", "Not everything went well:", ""] if results.notes else []),
        *(f"- {note}" for note in results.notes),
    ]


def _trials(values: list[float]) -> str:
    if not values:
        return "–"
    if len(values) == 1:
        return _number(values[0])
    if len(values) > 50:
        return f"{_number(middle(values))}, p99 {_number(percentile(values, 99))}"
    low, high = _number(min(values)), _number(max(values))
    return f"{_number(middle(values))} ({low}–{high}, {len(values)})"


def _number(value: float) -> str:
    """Write a number with as many digits as it deserves."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
