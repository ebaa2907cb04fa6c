"""Real daemons on loopback: started by twistd, spoken to over HTTP, killed by signals."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from raftdb.cli.ports import free_ports

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 40.0
"""For what takes a second or two on an idle machine."""


class Reply(NamedTuple):
    """An HTTP answer; status 0 where no connection could be made, -1 where it broke."""

    status: int
    body: bytes
    location: str = ""

    @property
    def refused(self) -> bool:
        """Whether the request surely did not happen."""
        return self.status in {0, 503} or 400 <= self.status < 500


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: object, **_keywords: object) -> None:
        """Leave redirects to the caller."""


_OPENER = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))


def ask(
    method: str, url: str, body: bytes | None = None, *, hops: int = 5, timeout_s: float = 5.0
) -> Reply:
    """Ask once, following redirects as curl -L does."""
    request = urllib.request.Request(url, data=body, method=method)
    try:
        with _OPENER.open(request, timeout=timeout_s) as answer:
            return Reply(answer.status, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            location = error.headers.get("Location", "")
            reply = Reply(error.code, error.read(), location)
        if reply.status == 307 and hops and location:
            return ask(method, location, body, hops=hops - 1, timeout_s=timeout_s)
        return reply
    except urllib.error.URLError as error:
        refused = isinstance(error.reason, ConnectionRefusedError)
        return Reply(0 if refused else -1, repr(error.reason).encode())
    except (OSError, http.client.HTTPException) as error:
        return Reply(-1, repr(error).encode())


def wait_until(what: str, look: Callable[[], T | None], patience_s: float = PATIENCE_S) -> T:
    """Return the first true answer; fail with ``what`` where there is none in time."""
    ends_s = time.monotonic() + patience_s
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < ends_s, f"waited {patience_s} s in vain for {what}"
        time.sleep(0.05)


@dataclass
class Daemon:
    """One node: its name, its ports, its directory, and its process while it runs."""

    name: str
    base: Path
    http_port: int
    raft_port: int
    flags: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)
    directory: str = ""
    foreground: bool = True
    process: subprocess.Popen[bytes] | None = None
    program: tuple[str, ...] = (str(Path(sys.executable).with_name("twistd")),)

    def on_failing_disk(self, **environ: str) -> None:
        """Use the launcher with failpoints from the next start on; see ``launcher.py``."""
        self.program = (sys.executable, str(Path(__file__).with_name("launcher.py")))
        self.environ = {f"RAFTDB_TEST_{name.upper()}": value for name, value in environ.items()}

    @property
    def http(self) -> str:
        """Its HTTP address."""
        return f"127.0.0.1:{self.http_port}"

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.base / (self.directory or self.name)

    @property
    def log(self) -> str:
        """Everything it has logged, over all its starts."""
        return self.log_path.read_text() if self.log_path.exists() else ""

    @property
    def log_path(self) -> Path:
        """Where it logs."""
        return self.base / f"{self.name}.log"

    def start(self, *more: str, id_flag: bool = True) -> Daemon:
        """Start it with its flags, and ``more``."""
        assert self.process is None or self.process.poll() is not None, "it runs already"
        command = [
            *self.program,
            "-n" if self.foreground else f"--logfile={self.base / 'twistd.log'}",
            f"--pidfile={self.base / self.name}.pid",
            "raftdb",
            *(("--id", self.name) if id_flag else ()),
            "--haddr",
            self.http,
            "--raddr",
            f"127.0.0.1:{self.raft_port}",
            *self.flags,
            *more,
            str(self.data),
        ]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), **self.environ}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.base, env=environ
            )
        return self

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can tell."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> float:
        """End it politely; return the seconds that took. Checks that it ended as twistd ends."""
        begun_s = time.monotonic()
        self.signal(signal.SIGTERM)
        assert self.wait() == -signal.SIGTERM, self.log[-3000:]
        return time.monotonic() - begun_s

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        assert self.process is not None
        return self.process.wait(PATIENCE_S)

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    def ask(self, method: str, path: str, body: bytes | None = None, *, hops: int = 5) -> Reply:
        """Ask it once."""
        return ask(method, f"http://{self.http}{path}", body, hops=hops)

    def status(self) -> dict[str, Any]:
        """Return what it says about itself; empty where it does not."""
        reply = self.ask("GET", "/api/status")
        return json.loads(reply.body) if reply.status == 200 else {}

    def get(self, key: str, level: str = "stale") -> str | None:
        """Read a key; None where it was not answered."""
        reply = self.ask("GET", f"/key/{key}?level={level}")
        return str(json.loads(reply.body)[key]) if reply.status == 200 else None


class Workload:
    """Writers that put one key after the other, and a journal on disk of what they were told.

    Each operation is in the journal before it is sent and after it is answered. An unknown outcome
    counts as unknown, and nothing is sent twice: a refusal is written down as one.

    :param cluster: whose nodes are asked in turn
    :param writers: how many at a time
    """

    def __init__(self, cluster: Cluster, writers: int = 3) -> None:
        self._cluster = cluster
        self._stopping = threading.Event()
        self._journal = os.open(cluster.base / "journal", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self._threads = [threading.Thread(target=self._write, args=(n,)) for n in range(writers)]
        for thread in self._threads:
            thread.start()

    def _write(self, writer: int) -> None:
        targets = itertools.cycle(list(self._cluster.nodes))
        for number in itertools.count():
            if self._stopping.is_set():
                return
            key = f"w{writer}-{number}"
            self._note("sent", key)
            reply = next(targets).ask("POST", "/key", json.dumps({key: key}).encode())
            outcome = "acknowledged" if reply.status == 200 else "unknown"
            self._note(
                "refused" if reply.refused else outcome, key, f"{reply.status} {reply.body!r}"
            )
            if reply.refused:
                time.sleep(0.02)

    def _note(self, what: str, key: str, more: str = "") -> None:
        os.write(self._journal, f"{what} {key} {more}\n".encode())

    def outcomes(self) -> dict[str, str]:
        """Return what the journal says of each key."""
        lines = (self._cluster.base / "journal").read_text().splitlines()
        found: dict[str, str] = {}
        for line in lines:
            what, key, _ = line.split(" ", 2)
            found[key] = what
        return found

    def acknowledged(self) -> int:
        """Count the writes acknowledged so far."""
        return sum(1 for what in self.outcomes().values() if what == "acknowledged")

    def unknown(self) -> list[str]:
        """Return the journal's lines of unknown outcome."""
        lines = (self._cluster.base / "journal").read_text().splitlines()
        return [line for line in lines if line.startswith("unknown")]

    def wait_for(self, more: int) -> None:
        """Wait until that many more writes are acknowledged."""
        wanted = self.acknowledged() + more
        wait_until(f"{more} more writes", lambda: self.acknowledged() >= wanted)

    def stop(self) -> None:
        """End the writers."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def verify(self) -> None:
        """Compare every key on every node: acknowledged is there, refused is not."""
        self._cluster.wait_until_equal()
        wrong = []
        for key, outcome in self.outcomes().items():
            for one in self._cluster.running:
                value = one.get(key)
                if (outcome == "acknowledged" and value != key) or (
                    outcome == "refused" and value != ""
                ):
                    wrong.append(f"{key} was {outcome}, {one.name} has {value!r}")
        assert not wrong, wrong[:20]


class Cluster:
    """Several daemons under one directory, all ended with the test."""

    wait_until = staticmethod(wait_until)

    def __init__(self, base: Path) -> None:
        self.base = base
        self.nodes: list[Daemon] = []
        self.workload: Workload | None = None

    def node(self, *flags: str, join: Daemon | str | None = None) -> Daemon:
        """Make one more daemon; it is not started."""
        http_port, raft_port = free_ports(2)
        if join is not None:
            flags = (*flags, "--join", join if isinstance(join, str) else join.http)
        one = Daemon(f"node{len(self.nodes) + 1:02}", self.base, http_port, raft_port, flags)
        self.nodes.append(one)
        return one

    def three(self, *flags: str) -> list[Daemon]:
        """Start three daemons at once and wait until all of them vote."""
        first = self.node(*flags)
        trio = [first, self.node(*flags, join=first), self.node(*flags, join=first)]
        for one in trio:
            one.start()
        self.wait_for_voters(3)
        return trio

    def wait_for_voters(self, count: int) -> None:
        """Wait until every running node sees that many voters and nobody else, and one leader."""

        def settled() -> bool:
            seen = [one.status() for one in self.running]
            return all(
                status
                and status["leader"] is not None
                and sorted(m["role"] for m in status["members"])
                == ["leader"] + ["voter"] * (count - 1)
                for status in seen
            )

        try:
            wait_until(f"{count} voters", settled)
        except AssertionError:
            for one in self.nodes:
                sys.stdout.write(f"--- {one.name}\n{one.log[-4000:]}")
            raise

    @property
    def running(self) -> list[Daemon]:
        """Those with a process."""
        return [one for one in self.nodes if one.runs]

    def leader(self) -> Daemon:
        """Wait for a leader that knows itself to be one, and return it."""

        def look() -> Daemon | None:
            for one in self.running:
                if one.status().get("role") == "leader":
                    return one
            return None

        return wait_until("a leader", look)

    def put(self, key: str, value: str) -> None:
        """Write a key, asking again as long as it is surely refused."""
        body = json.dumps({key: value}).encode()

        def written() -> bool:
            for one in self.running:
                reply = one.ask("POST", "/key", body)
                if reply.status == 200:
                    return True
                assert reply.refused, f"the outcome is unknown: {reply}"
            return False

        wait_until(f"a write of {key}", written)

    def wait_until_equal(self) -> str:
        """Wait until all running nodes have applied the same; return their state hash."""

        def equal() -> str | None:
            seen = [one.status() for one in self.running]
            if not all(seen) or len({status["applied_index"] for status in seen}) != 1:
                return None
            hashes = {status["state_hash"] for status in seen}
            assert len(hashes) == 1, f"replicas differ at one index: {seen}"
            return str(hashes.pop())

        return wait_until("equal replicas", equal)

    def load(self, writers: int = 3) -> Workload:
        """Begin to write to all nodes."""
        self.workload = Workload(self, writers)
        return self.workload

    def end(self) -> None:
        """Leave no process and no writer behind."""
        if self.workload is not None:
            self.workload.stop()
        for one in self.nodes:
            if one.process is not None and one.process.poll() is None:
                one.process.kill()
                one.process.wait()
            pid_file = self.base / f"{one.name}.pid"
            if not one.foreground and pid_file.exists():
                os.kill(int(pid_file.read_text()), signal.SIGKILL)


@pytest.fixture(name="cluster")
def cluster_fixture(tmp_path: Path) -> Iterator[Cluster]:
    """Return an empty cluster; its processes end with the test."""
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.end()
