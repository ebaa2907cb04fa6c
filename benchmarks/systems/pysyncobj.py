"""PySyncObj: three processes with journals, asked from inside the leader, for want of a door."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import select
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.processes import BenchFailed, Process
from benchmarks.systems.base import NODES, ROOT, VALUE_BYTES, Sample, System, key
from raftdb.cli.ports import free_ports

ANSWER_S = 100.0
_KEYS = {"write": 1, "write10": 10, "write100": 100}


class PySyncObj(System):
    """Three nodes of a Python library that does not fsync."""

    name = "PySyncObj"
    operations = frozenset(_KEYS)

    def __init__(self, directory: Path, *, bulk: bool = False) -> None:
        super().__init__(directory, bulk=bulk)
        self._addresses = [f"127.0.0.1:{port}" for port in free_ports(NODES)]

    @classmethod
    def missing(cls) -> str | None:
        """Look for the package."""
        if importlib.util.find_spec("pysyncobj"):
            return None
        return "PySyncObj is not installed and is left out; pip install '.[benchmark]' brings it"

    @classmethod
    def version(cls) -> str:
        """Ask the package."""
        return importlib.metadata.version("pysyncobj")

    def spawn(self, number: int) -> Process:
        """Start a node."""
        me = self._addresses[number]
        others = ",".join(address for address in self._addresses if address != me)
        path = self.directory / f"node{number}"
        module = "benchmarks.systems.pysyncobj_node"
        return Process(
            [
                sys.executable,
                "-m",
                module,
                me,
                others,
                str(path),
                "batch" if self.bulk else "single",
            ],
            self.directory / f"node{number}.log",
            talks=True,
            environment={"PYTHONPATH": str(ROOT)},
        )

    def _say(self, number: int, do: str, **arguments: object) -> None:
        to_node, _ = self.process(number).pipes
        to_node.write(json.dumps({"do": do, **arguments}) + "\n")
        to_node.flush()

    def _hear(self, number: int, timeout_s: float = ANSWER_S) -> dict[str, Any]:
        process = self.process(number)
        _, from_node = process.pipes
        readable, _, _ = select.select([from_node], [], [], timeout_s)
        line = from_node.readline() if readable else ""
        if not line:
            raise BenchFailed(f"a node of {self.name} does not answer:\n{process.tail()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _ask(self, number: int, do: str, **arguments: object) -> dict[str, Any]:
        self._say(number, do, **arguments)
        return self._hear(number)

    def find_leader(self) -> int | None:
        """Ask every node."""
        leaders = {self._ask(number, "status")["leader"] for number in self.running}
        leader = leaders.pop()
        if leader is None or leaders:
            return None
        number = self._addresses.index(leader)
        return number if number in self.running else None

    def load(self, operation: str, connections: int, seconds: int) -> Sample:
        """Have the leader ask itself."""
        leader = self.leader()
        before = self.cpu_s()
        told = self._ask(
            leader,
            "load",
            connections=connections,
            seconds=seconds,
            keys=_KEYS[operation],
            value="v" * VALUE_BYTES,
        )
        cpu_us = (self.cpu_s() - before) / max(1, told["requests"]) * 1e6
        return Sample(**told, cpu_us=cpu_us)

    def fill(self, first: int, count: int, *, per_request: int = 1) -> None:
        """Have the leader write."""
        told = self._ask(
            self.leader(),
            "fill",
            first=first,
            count=count,
            per_request=per_request,
            value="v" * VALUE_BYTES,
        )
        if told["failed"]:
            raise BenchFailed(f"{self.name}: {told['failed']} writes failed")

    def holds(self, number: int, first: int) -> bool:
        """Look into the node's dictionary."""
        return bool(self._ask(number, "holds", key=key(first))["holds"])

    def next_write_s(self, since: float) -> float:
        """Have both survivors write; the first acknowledgement counts."""
        for number in self.running:
            self._say(number, "put_until_done", value="v" * VALUE_BYTES)
        return min(float(self._hear(number)["at"]) for number in self.running) - since

    def visible_ms(self, count: int) -> list[float]:
        """Compare when the leader was answered with when a follower applied: one clock for both."""
        leader, follower = self.leader(), self.follower()
        acknowledged = self._ask(leader, "put_visible", count=count)["times"]
        time.sleep(1)
        seen = self._ask(follower, "seen")["times"]
        return [(seen[value] - at) * 1000 for value, at in acknowledged.items()]
