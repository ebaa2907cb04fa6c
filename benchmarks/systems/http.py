"""A system that speaks HTTP: load comes from wrk, single requests from the standard library."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import threading
import time
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import BenchFailed
from benchmarks.systems.base import VALUE_BYTES, Sample, System, key

ATTEMPT_S = 0.1
"""A write to a cluster without a leader is given up after this and tried anew."""
FILL_CONNECTIONS = 128
FILL_S = 240
FILL_TRIES = 4
_SCRIPT = Path(__file__).parent.parent / "load.lua"


class Ask(NamedTuple):
    """One request."""

    method: str
    path: str
    body: str = ""


class Load(NamedTuple):
    """What load.lua is told.

    :param leader: whether the leader is asked, or a follower
    """

    kind: str
    keys: int = 1
    leader: bool = True


class HTTPSystem(System):
    """A cluster whose nodes answer HTTP.

    :cvar dialect: of load.lua
    :cvar loads: what load.lua is told, by operation
    """

    dialect: str
    loads: dict[str, Load]
    addresses: list[str]

    @abstractmethod
    def ask_write(self, name: str, value: str) -> Ask:
        """Return the request that writes a key."""

    @abstractmethod
    def ask_copy(self, name: str) -> Ask:
        """Return the request that reads a node's own copy of a key."""

    @abstractmethod
    def shows(self, body: bytes, value: str) -> bool:
        """Whether the answer to :meth:`ask_copy` has this value."""

    def load(self, operation: str, connections: int, seconds: int) -> Sample:
        """Ask with wrk."""
        load = self.loads[operation]
        number = self.leader() if load.leader else self.follower()
        before = self.cpu_s()
        sample = self._wrk(number, connections, seconds, load.kind, load.keys)
        cpu_us = (self.cpu_s() - before) / max(1, sample.requests) * 1e6
        return sample._replace(cpu_us=cpu_us)

    def fill(self, first: int, count: int, *, per_request: int = 1) -> None:
        """Write with wrk, which ends after the last answer."""
        requests = count // per_request
        connections = min(FILL_CONNECTIONS, max(1, requests // 10), 8 if per_request > 1 else 1000)
        for _ in range(FILL_TRIES):
            sample = self._wrk(
                self.leader(), connections, FILL_S, "fill", per_request, str(first), str(requests)
            )
            if sample.requests >= requests and not sample.failed:
                return
            self.troubles.append(f"{sample.failed} of {requests} writes failed while filling")
        raise BenchFailed(f"{self.name}: {count} keys could not be written")

    def _wrk(
        self, number: int, connections: int, seconds: int, kind: str, keys: int, *rest: str
    ) -> Sample:
        """Run wrk once against one node."""
        wrk = shutil.which("wrk")
        assert wrk is not None
        command = [wrk, "--threads=1", f"--connections={connections}", f"--duration={seconds}s"]
        command += ["--timeout=30s", "--latency", f"--script={_SCRIPT}"]
        command += [f"http://{self.addresses[number]}/", "--"]
        command += [self.dialect, kind, str(keys), str(VALUE_BYTES), *rest]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # ours
        _, found, result = ended.stdout.rpartition("RESULT ")
        if not found:
            raise BenchFailed(f"wrk failed: {ended.stderr or ended.stdout}")
        return Sample(**{"seconds": 0.0, "p50_ms": 0.0, "p99_ms": 0.0, **json.loads(result)})

    def holds(self, number: int, first: int) -> bool:
        """Read the node's own copy."""
        status, body = self.ask(number, self.ask_copy(key(first)))
        return status == http.client.OK and self.shows(body, "v" * VALUE_BYTES)

    def ask(self, number: int, ask: Ask, timeout_s: float = 1.0) -> tuple[int, bytes]:
        """Ask one node over a connection of its own; the status is 0 where it does not answer."""
        try:
            with self.connect(number, timeout_s) as connection:
                return asked(connection, ask)
        except (OSError, http.client.HTTPException):
            return 0, b""

    @contextmanager
    def connect(self, number: int, timeout_s: float) -> Iterator[http.client.HTTPConnection]:
        """Hold a connection to one node."""
        host, _, port = self.addresses[number].rpartition(":")
        with closing(http.client.HTTPConnection(host, int(port), timeout=timeout_s)) as connection:
            yield connection

    def next_write_s(self, since: float) -> float:
        """Write to each survivor in a thread of its own; the first acknowledgement counts."""
        done = threading.Event()
        times: list[float] = []

        def attempt(number: int) -> None:
            ask = self.ask_write("failover", "v" * VALUE_BYTES)
            while not done.is_set():
                status, _ = self.ask(number, ask, ATTEMPT_S)
                if status == http.client.OK:
                    times.append(time.monotonic())
                    done.set()
                else:
                    time.sleep(0.002)

        threads = [threading.Thread(target=attempt, args=(number,)) for number in self.running]
        for thread in threads:
            thread.start()
        ended = done.wait(60)
        done.set()
        for thread in threads:
            thread.join()
        if not ended:
            raise BenchFailed(f"{self.name}: no write within a minute after the leader's end")
        return min(times) - since

    def visible_ms(self, count: int) -> list[float]:
        """Write to the leader, then ask a follower until it shows the value."""
        times = []
        leader, follower = self.leader(), self.follower()
        with self.connect(leader, 5.0) as writing, self.connect(follower, 5.0) as reading:
            for number in range(count):
                value = f"{number}-{time.monotonic_ns()}"
                status, _ = asked(writing, self.ask_write("visible", value))
                if status != http.client.OK:
                    raise BenchFailed(f"{self.name}: a write was answered with {status}")
                began = time.perf_counter()
                while not self.shows(asked(reading, self.ask_copy("visible"))[1], value):
                    pass
                times.append((time.perf_counter() - began) * 1000)
        return times


def asked(connection: http.client.HTTPConnection, ask: Ask) -> tuple[int, bytes]:
    """Ask over a connection that stays open."""
    connection.request(ask.method, ask.path, ask.body or None)
    answer = connection.getresponse()
    return answer.status, answer.read()


def json_of(body: bytes) -> dict[str, object]:
    """Return the object that an answer holds; an empty one where it holds none."""
    with suppress(ValueError):
        found = json.loads(body)
        if isinstance(found, dict):
            return found
    return {}
