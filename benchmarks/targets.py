"""What raftdb has promised to reach, and whether a run shows it."""

from __future__ import annotations

from typing import NamedTuple

from benchmarks.results import Results, middle


class Target(NamedTuple):
    """One promise.

    :param at_least: what must be reached
    :param aim: what is hoped for
    :param unit: ``x`` for a multiple of etcd's rate (more is better), else of a figure (less is better)
    :param where: row and connections, or the name of a figure
    :param against: etcd's row where it has another name
    """

    title: str
    at_least: float
    aim: float
    unit: str
    where: tuple[str, int] | str
    against: str = ""


TARGETS = (
    Target("writes, 1 connection, against etcd's JSON gateway", 1.1, 1.5, "x", ("write", 1)),
    Target("writes, 64 connections", 1.5, 2, "x", ("write", 64)),
    Target("writes, 256 connections", 1.5, 2, "x", ("write", 256)),
    Target(
        "POST of 100 keys, 16 connections, against etcd's transaction of 100 puts",
        3,
        6,
        "x",
        ("write100", 16),
    ),
    Target("stale reads, 64, against etcd serializable", 4, 8, "x", ("stale", 64)),
    Target("default reads, 64, against etcd serializable", 4, 8, "x", ("default", 64), "stale"),
    Target("consistent reads, 64, against etcd linearizable", 3, 5, "x", ("consistent", 64)),
    Target("failover after kill -9, median", 0.5, 0.15, "s", "failover_s"),
    Target("visible on followers after the acknowledgement, p50", 10, 2, "ms", "visible_ms"),
    Target("memory with 100,000 keys of 100 bytes, leader", 120, 80, "MB", "memory_100k_mb"),
    Target("restart with them until it serves", 1.0, 0.6, "s", "restart_100k_s"),
    Target("catch-up of 50,000 keys", 1.5, 0.6, "s", "catch_up_50k_s"),
    Target("largest stall, 1,000,000 keys, snapshot running", 50, 15, "ms", "stall_1m_ms"),
)


class Reached(NamedTuple):
    """What a run shows of a promise; None where it was not measured.

    :param measured: a multiple, or a figure's median
    :param etcd: the median of etcd's figure
    """

    target: Target
    measured: float | None
    etcd: float | None = None

    @property
    def verdict(self) -> str:
        """Say it in a word."""
        if self.measured is None:
            return "not measured"
        sign = 1 if self.target.unit == "x" else -1
        if sign * self.measured >= sign * self.target.aim:
            return "**aim reached**"
        return "reached" if sign * self.measured >= sign * self.target.at_least else "missed"


def reached(results: Results) -> list[Reached]:
    """Compare a run with all promises."""
    return [_reached(results, target) for target in TARGETS]


def _reached(results: Results, target: Target) -> Reached:
    if isinstance(target.where, tuple):
        row, connections = target.where
        ratios = results.ratio(row, connections, "etcd", target.against)
        return Reached(target, middle(ratios) if ratios else None)
    ours, theirs = (results.figure(target.where, name) for name in ("raftdb", "etcd"))
    return Reached(target, middle(ours) if ours else None, middle(theirs) if theirs else None)
