"""Measures a three-node cluster on this machine: real processes, real fsyncs, loopback.

Prints a table in Markdown, and what the machine is. All numbers of one run were taken one after the
other on the same cluster; compare runs of one machine only. ``--tool wrk`` uses wrk for everything
it can ask (reads and single writes), ``own`` the generator beside this file, which runs in this
process; ``auto`` takes wrk where it is installed.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import NamedTuple

from load import load
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react
from twisted.internet.utils import getProcessOutputAndValue

from raftdb.cli.cluster import LocalCluster, Node, Reactor

VALUE = "v" * 100
KEYS = 1_000
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


class Row(NamedTuple):
    """One line of the table."""

    what: str
    connections: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    failed: int


class Operation(NamedTuple):
    """Something to measure.

    :param ask: makes the bytes of the next request
    :param wrk: method, path and Lua script for wrk, None where it cannot ask that
    :param leader: whether the leader is asked, or a follower
    """

    name: str
    ask: Callable[[], bytes]
    wrk: tuple[str, str] | None = None
    leader: bool = True


def http(method: str, path: str, body: str = "") -> bytes:
    """Return a request."""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def operations() -> dict[str, Operation]:
    """Return what can be measured."""
    numbers = count()

    def write() -> bytes:
        return http("POST", "/key", f'{{"key-{next(numbers) % KEYS:06}":"{VALUE}"}}')

    def write_100() -> bytes:
        first = next(numbers) * 100
        pairs = (f'"key-{(first + n) % KEYS:06}":"{VALUE}"' for n in range(100))
        return http("POST", "/key", "{" + ",".join(pairs) + "}")

    def read(level: str) -> Callable[[], bytes]:
        return lambda: http("GET", f"/key/key-{next(numbers) % KEYS:06}?level={level}")

    def path(level: str) -> tuple[str, str]:
        return f"/key/key-000007?level={level}", ""

    return {
        "write": Operation("write", write, ("/key", "write.lua")),
        "write100": Operation("POST of 100 keys", write_100),
        "consistent": Operation("consistent read", read("consistent"), path("consistent")),
        "default": Operation("default read", read("default"), path("default")),
        "stale": Operation("stale read, follower", read("stale"), path("stale"), leader=False),
    }


class Bench:
    """One run over one cluster."""

    def __init__(
        self, reactor: Reactor, cluster: LocalCluster, options: argparse.Namespace
    ) -> None:
        self._reactor = reactor
        self._cluster = cluster
        self._seconds = options.seconds
        self._wrk = options.tool != "own" and shutil.which("wrk")
        if options.tool == "wrk" and not self._wrk:
            sys.exit("wrk is not installed; on Debian and Ubuntu: apt install wrk")

    async def fill(self, write_100: Operation) -> None:
        """Write every key, so that reads find something."""
        leader = await self._cluster.wait_for_leader(60.0)
        await load(self._reactor, leader.http, write_100.ask, connections=1, seconds=0.5)

    async def row(self, operation: Operation, connections: int) -> Row:
        """Measure one operation at so many connections."""
        leader = await self._cluster.wait_for_leader(30.0)
        followers = [node for node in self._cluster.nodes if node is not leader]
        node = leader if operation.leader else followers[0]
        before = self._cpu_s()
        if self._wrk and operation.wrk is not None:
            answered, per_second, p50, p99, failed = await self._ask_wrk(
                node, operation.wrk, connections
            )
        else:
            figures = await load(
                self._reactor,
                node.http,
                operation.ask,
                connections=connections,
                seconds=self._seconds,
            )
            answered, failed = figures.statuses[200], figures.failed
            per_second = figures.per_second
            p50, p99 = figures.percentile_ms(50), figures.percentile_ms(99)
        cpu_us = (self._cpu_s() - before) / max(1, answered) * 1e6
        return Row(operation.name, connections, per_second, p50, p99, cpu_us, failed)

    async def _ask_wrk(
        self, node: Node, what: tuple[str, str], connections: int
    ) -> tuple[int, float, float, float, int]:
        path, script = what
        lua = [f"--script={Path(__file__).with_name(script)}"] if script else []
        out, _, _ = await getProcessOutputAndValue(
            self._wrk,
            [
                "--threads=1",
                f"--connections={connections}",
                f"--duration={self._seconds:.0f}s",
                "--latency",
                *lua,
                f"http://{node.http}{path}",
            ],
            env=os.environ,
            reactor=self._reactor,
        )
        return parse_wrk(out.decode())

    def _cpu_s(self) -> float:
        """Return the CPU time of all nodes so far, in seconds."""
        return sum(cpu_s(node.pid) for node in self._cluster.nodes if node.pid is not None)


def parse_wrk(text: str) -> tuple[int, float, float, float, int]:
    """Return answers, answers per second, p50 and p99 in ms, and failures, from wrk's report."""

    def number(pattern: str) -> float:
        found = re.search(pattern, text)
        return float(found[1]) if found else 0.0

    def milliseconds(percent: int) -> float:
        found = re.search(rf"{percent}%\s+([\d.]+)(us|ms|s)", text)
        return float(found[1]) * {"us": 0.001, "ms": 1, "s": 1000}[found[2]] if found else 0.0

    answered = int(number(r"(\d+) requests in"))
    failed = int(number(r"Non-2xx or 3xx responses: (\d+)"))
    failed += sum(int(n) for n in re.findall(r"(?:connect|read|write|timeout) (\d+)", text))
    per_second = number(r"Requests/sec:\s+([\d.]+)")
    return answered, per_second, milliseconds(50), milliseconds(99), failed


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process in seconds, its threads included; 0 where it is not told."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MB; 0 where it is not told."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


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


async def main(reactor: Reactor, options: argparse.Namespace) -> None:
    """Start, measure, print, stop."""
    vars(reactor)["seconds"] = time.monotonic
    cluster = LocalCluster(reactor)
    reactor.addSystemEventTrigger(
        "before", "shutdown", lambda: Deferred.fromCoroutine(cluster.stop())
    )
    cluster.start()
    bench = Bench(reactor, cluster, options)
    chosen = operations()
    await bench.fill(chosen["write100"])
    print(f"{machine()}; {options.seconds:.0f} s each; {time.strftime('%Y-%m-%d')}\n")
    print(
        "| operation | connections | per second | p50 ms | p99 ms | CPU us/op, 3 nodes | failed |"
    )
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in options.operations.split(","):
        for connections in map(int, options.connections.split(",")):
            row = await bench.row(chosen[name], connections)
            print(
                f"| {row.what} | {row.connections} | {row.per_second:,.0f} | {row.p50_ms:.1f}"
                f" | {row.p99_ms:.1f} | {row.cpu_us:.0f} | {row.failed} |",
                flush=True,
            )
            await deferLater(reactor, 0.5)
    memory = ", ".join(f"{resident_mb(node.pid or 0):.0f}" for node in cluster.nodes)
    print(f"\nresident memory, MB: {memory}")


def parse() -> argparse.Namespace:
    """Return what is to be measured."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--connections", default="1,16,64,256")
    parser.add_argument("--operations", default=",".join(operations()))
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--tool", choices=["auto", "wrk", "own"], default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    given = parse()
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, given)))
