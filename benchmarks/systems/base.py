"""What is asked of every system: start, lead, take load, die, come back.

A system is three processes. Here is everything that is the same for all of them; how a node is
started and asked is for the modules beside this one.
"""

from __future__ import annotations

import shutil
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import BenchFailed, Process

ROOT = Path(__file__).resolve().parents[2]
NODES = 3
VALUE_BYTES = 100
READY_S = 60.0
POLL_S = 0.005
REST_S = 0.3
REST_CORES = 0.25
REST_MAX_S = 5.0
"""All nodes are at rest that take less than so much of a core, for so long; nobody waits longer."""


def key(number: int) -> str:
    """Return the key of this number: 12 bytes."""
    return f"key-{number:08}"


class Sample(NamedTuple):
    """What one load for some seconds came to.

    :param requests: that were answered
    :param failed: of them, or not answered at all
    :param cpu_us: of all nodes together, by request
    """

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int
    cpu_us: float = 0.0

    @property
    def per_second(self) -> float:
        """Requests that did what they should, by second."""
        return (self.requests - self.failed) / self.seconds


class System(ABC):
    """One cluster of three.

    :param directory: for data and logs; made here, removed by :meth:`stop`
    :param bulk: whether much data is to come, rather than many requests: for systems that have to
        be told
    :ivar troubles: what did not go as it should and was tried again
    :cvar operations: what it can be asked, of the names in :mod:`benchmarks.rows`
    """

    name: str
    operations: frozenset[str]

    def __init__(self, directory: Path, *, bulk: bool = False) -> None:
        self.directory = directory
        self.bulk = bulk
        directory.mkdir(parents=True)
        self.nodes: list[Process | None] = [None] * NODES
        self.troubles: list[str] = []

    @classmethod
    @abstractmethod
    def missing(cls) -> str | None:
        """Say in a sentence what is not installed; None if nothing is missing."""

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Return its version."""

    @abstractmethod
    def spawn(self, number: int) -> Process:
        """Start one node."""

    @abstractmethod
    def find_leader(self) -> int | None:
        """Return which node leads, None if the running nodes do not agree about it yet."""

    @abstractmethod
    def load(self, operation: str, connections: int, seconds: int) -> Sample:
        """Ask for so long over so many connections, each with one request in flight."""

    @abstractmethod
    def fill(self, first: int, count: int, *, per_request: int = 1) -> None:
        """Write ``count`` keys from ``first`` on, once each, and return when all are acknowledged."""

    @abstractmethod
    def holds(self, number: int, first: int) -> bool:
        """Whether this node's own copy has the key ``first``; False while it does not answer."""

    @abstractmethod
    def next_write_s(self, since: float) -> float:
        """Write to whoever is up until a write is acknowledged; return how long after ``since``."""

    @abstractmethod
    def visible_ms(self, count: int) -> list[float]:
        """Write so often to the leader; return how long after each answer a follower shows it."""

    def start(self) -> None:
        """Start all nodes and wait for a leader."""
        self.nodes = [self.spawn(number) for number in range(NODES)]
        self.leader()

    def restart(self, number: int) -> None:
        """Start a node again that was killed."""
        self.nodes[number] = self.spawn(number)

    def kill(self, number: int) -> None:
        """End a node as ``kill -9`` does."""
        node = self.nodes[number]
        assert node is not None
        node.kill()
        self.nodes[number] = None

    def leader(self) -> int:
        """Wait for a leader that all running nodes follow; return which node it is."""
        found: list[int] = []

        def is_found() -> bool:
            leader = self.find_leader()
            found[:] = [] if leader is None else [leader]
            return bool(found)

        self.wait_until(is_found, "a leader")
        return found[0]

    def follower(self) -> int:
        """Return a node that does not lead."""
        leader = self.leader()
        return next(number for number in self.running if number != leader)

    @property
    def running(self) -> list[int]:
        """The numbers of the nodes that run."""
        return [number for number, node in enumerate(self.nodes) if node is not None]

    def process(self, number: int) -> Process:
        """Return a node that runs."""
        node = self.nodes[number]
        assert node is not None
        return node

    def cpu_s(self) -> float:
        """Return the CPU time of all nodes so far."""
        return sum(node.cpu_s for node in self.nodes if node is not None)

    def rest(self) -> None:
        """Wait until what an earlier load left behind is done: snapshots, compactions, catching up.

        Else it would be measured with the load that comes next.
        """
        deadline = time.monotonic() + REST_MAX_S
        while time.monotonic() < deadline:
            before = self.cpu_s()
            time.sleep(REST_S)
            if self.cpu_s() - before < REST_CORES * REST_S:
                return

    def wait_until(
        self, condition: Callable[[], bool], what: str, timeout_s: float = READY_S
    ) -> None:
        """Ask again and again.

        :raises BenchFailed: after ``timeout_s``, or when a node has died
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            for node in self.nodes:
                if node is not None and not node.is_running:
                    raise BenchFailed(f"a node of {self.name} ended by itself:\n{node.tail()}")
            if time.monotonic() > deadline:
                tails = "\n".join(node.tail() for node in self.nodes if node is not None)
                raise BenchFailed(f"{self.name}: no {what} within {timeout_s:.0f} s\n{tails}")
            time.sleep(POLL_S)

    def pause(self) -> None:
        """Stop all nodes, so that they take nothing from the others."""
        for node in self.nodes:
            if node is not None:
                node.pause()

    def resume(self) -> None:
        """Let all nodes go on, and wait until one leads."""
        for node in self.nodes:
            if node is not None:
                node.resume()
        self.leader()

    def stop(self) -> None:
        """End all nodes and remove what they wrote; harmless when repeated."""
        for number, node in enumerate(self.nodes):
            if node is not None:
                node.resume()
                node.kill()
                self.nodes[number] = None
        shutil.rmtree(self.directory, ignore_errors=True)
