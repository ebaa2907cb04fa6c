"""Draws a run as pictures for ``docs/``: small, readable on light and on dark, labelled directly.

The pictures have no background of their own; greys and colours are chosen to be read on white and
on black. matplotlib comes with the ``benchmark`` extra and is asked for only here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Picture
from matplotlib.ticker import MaxNLocator

from benchmarks.results import Cell, Results, middle
from benchmarks.rows import CONNECTIONS

COLOURS = {"raftdb": "#d9480f", "etcd": "#3b82c4", "PySyncObj": "#8a8f4a"}
NAMES = {"PySyncObj": "PySyncObj, no fsync"}
INK = "#808080"
TITLE_SIZE, TEXT_SIZE = 10, 8
_STYLE = {
    "svg.fonttype": "none",  # text stays text: small files, and the reader's own font
    "svg.hashsalt": "raftdb",  # the same picture from the same figures
    "font.family": "sans-serif",
    "font.size": TEXT_SIZE,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
_LINES = (
    ("write", "write, one key", ("raftdb", "etcd", "PySyncObj")),
    ("write100", "write, 100 keys at once", ("raftdb", "etcd", "PySyncObj")),
    ("stale", "read, a follower's own copy", ("raftdb", "etcd")),
    ("consistent", "read, linearizable", ("raftdb", "etcd")),
)
_BARS = (
    ("failover_s", "leader killed → next write, s"),
    ("visible_ms", "acknowledged → seen on a follower, ms"),
    ("restart_100k_s", "restart with 100,000 keys, s"),
    ("catch_up_50k_s", "start and catch-up of 50,000 keys, s"),
    ("memory_100k_mb", "memory, 100,000 keys, MB"),
    ("memory_1m_mb", "memory, 1,000,000 keys, MB"),
)


def draw(results: Results, directory: Path) -> list[Path]:
    """Draw all pictures of a run; return their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    pictures: tuple[tuple[str, Callable[[Results], Picture]], ...] = (
        ("benchmark-load.svg", _load),
        ("benchmark-events.svg", _events),
    )
    paths = []
    with mpl.rc_context(_STYLE):
        for name, made in pictures:
            path = directory / name
            made(results).savefig(path, transparent=True, metadata={"Date": None})
            _tidy(path)
            paths.append(path)
    return paths


def _load(results: Results) -> Picture:
    """Draw rates over connections, a panel for each kind of request."""
    picture = Picture(figsize=(7.6, 5.4), layout="constrained")
    for axes, (row, title, systems) in zip(picture.subplots(2, 2).flat, _LINES, strict=True):
        ends = {}
        for system in systems:
            cells = [(n, results.cell(row, n, system)) for n in CONNECTIONS]
            points = [(n, cell) for n, cell in cells if cell is not None]
            if points:
                ends[system] = _line(axes, system, points)
        axes.set_title(title, fontsize=TITLE_SIZE, loc="left", color=INK)
        axes.set_xscale("log", base=4)
        axes.set_xticks(CONNECTIONS, [str(n) for n in CONNECTIONS])
        axes.minorticks_off()
        axes.set_xlim(0.8, 2500)  # room for the names at the ends of the lines
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        _plain(axes)
        _name(axes, ends)
    picture.supxlabel("connections", fontsize=TEXT_SIZE, color=INK)
    picture.supylabel("requests a second, medians", fontsize=TEXT_SIZE, color=INK)
    return picture


def _line(axes: Axes, system: str, points: list[tuple[int, Cell]]) -> float:
    """Draw medians, and the lowest and highest round as a band; return where the line ends."""
    numbers = [n for n, _ in points]
    rates = [middle(cell.per_second) for _, cell in points]
    low = [min(cell.per_second) for _, cell in points]
    high = [max(cell.per_second) for _, cell in points]
    axes.fill_between(numbers, low, high, color=COLOURS[system], alpha=0.18, linewidth=0)
    axes.plot(numbers, rates, color=COLOURS[system], linewidth=2, marker="o", markersize=3.5)
    return rates[-1]


def _name(axes: Axes, ends: dict[str, float]) -> None:
    """Write each name where its line ends, moved apart where they would lie on each other."""
    gap = axes.get_ylim()[1] * 0.085
    lowest = -gap / 3  # clear of the axis
    for system, rate in sorted(ends.items(), key=lambda end: end[1]):
        lowest = max(rate, lowest + gap)
        _label(axes, (CONNECTIONS[-1], lowest), system, f"{rate:,.0f}")


def _label(axes: Axes, at: tuple[float, float], system: str, value: str) -> None:
    axes.annotate(
        f"{NAMES.get(system, system)} {value}",
        at,
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        color=COLOURS[system],
    )


def _events(results: Results) -> Picture:
    """Draw what is measured without many clients, a panel of bars for each."""
    picture = Picture(figsize=(7.6, 3.9), layout="constrained")
    for axes, (name, title) in zip(picture.subplots(3, 2).flat, _BARS, strict=True):
        found = {system: results.figure(name, system) for system in results.systems}
        bars = {system: middle(values) for system, values in found.items() if values}
        systems = list(bars)[::-1]
        values = [bars[system] for system in systems]
        axes.barh(systems, values, color=[COLOURS[system] for system in systems], height=0.68)
        for place, (system, value) in enumerate(zip(systems, values, strict=True)):
            text = f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
            _label(axes, (value, place), system, text)
        axes.set_title(title, fontsize=TITLE_SIZE - 1, loc="left", color=INK)
        axes.set_xlim(0, max(values, default=1) * 1.6)
        axes.set_xticks([])
        axes.set_yticks([])
        _plain(axes)
        axes.spines["bottom"].set_visible(False)
    return picture


def _plain(axes: Axes) -> None:
    """Take away what says nothing."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)


def _tidy(path: Path) -> None:
    """Leave out the blanks that end lines, which editors and reviews stumble over."""
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE), encoding="utf-8")
