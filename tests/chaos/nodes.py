"""Real nodes: one twistd in one network namespace each, with a data directory of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from tests.chaos.clients import Address, Reply, ask
from tests.chaos.netlab import Lab

T = TypeVar("T")
ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 30.0
"""For what takes a second or two on an idle machine."""
SMALL_DISK = "48m"
_FLAGS = ("--segment-bytes", "2097152", "--snapshot-entries", "2000")
"""Small files, so that segments and snapshots come and go while the faults happen."""


class Failed(Exception):  # a verdict, not an error
    """Something that must not happen has happened."""


def wait_until(what: str, look: Callable[[], T | None], patience_s: float = PATIENCE_S) -> T:
    """Return the first true answer.

    :raises Failed: where there is none in time
    """
    ends_s = time.monotonic() + patience_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > ends_s:
            raise Failed(f"waited {patience_s} s in vain for {what}")
        time.sleep(0.05)


class Node:
    """One member: a host, a directory, and a process while it runs."""

    def __init__(self, lab: Lab, base: Path, number: int, join: Node | None) -> None:
        self.name = f"node{number:02}"
        self.ip = lab.add(self.name, number)
        self.data = base / self.name
        self.log_path = base / f"{self.name}.log"
        self._base = base
        self._process: subprocess.Popen[bytes] | None = None
        self._hang_flag = base / f"{self.name}.hang"
        self._join: tuple[str, ...] = ()
        if join is not None:
            self.joins(join)
        self.may_hang = False
        self.starts = 0

    @property
    def address(self) -> Address:
        """Where clients ask it."""
        return (self.ip, 8091)

    @property
    def log(self) -> str:
        """Everything that it has logged, over all its starts."""
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def runs(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it; the same flags are right each time."""
        program = [str(Path(sys.executable).with_name("twistd"))]
        if self.may_hang:  # twistd as well, on a file system that can hang
            program = [sys.executable, str(ROOT / "tests/integration/launcher.py")]
        command = ["ip", "netns", "exec", self.name, *program, "-n"]
        command += [f"--pidfile={self._base / self.name}.pid", "raftdb", "--id", self.name]
        command += ["--haddr", f"{self.ip}:8091", "--raddr", f"{self.ip}:8089"]
        command += [*_FLAGS, *self._join, str(self.data)]
        environ = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "RAFTDB_TEST_HANG_WHILE": str(self._hang_flag),
        }
        self.starts += 1
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ
            )

    def kill(self) -> None:
        """End it as a power cut would, as far as a process can tell."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """End it politely, and see that it ends as twistd ends."""
        self.signal(signal.SIGTERM)
        code = self.wait()
        if code != -signal.SIGTERM:
            raise Failed(f"{self.name} ended with {code} when it was asked to stop")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        assert self._process is not None
        try:
            return self._process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} did not end within {PATIENCE_S} s") from None

    def joins(self, member: Node) -> None:
        """Ask this member to be taken in, where the directory is empty."""
        self._join = ("--join", f"{member.ip}:8091")

    def hang(self) -> None:
        """Let no fdatasync of the log return, where this node ``may_hang``."""
        assert self.may_hang
        self._hang_flag.touch()

    def unhang(self) -> None:
        """Let them all return."""
        self._hang_flag.unlink()

    def wipe(self) -> None:
        """Lose the disk's content."""
        for path in self.data.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def give_small_disk(self) -> None:
        """Put the data directory on a disk of its own that can be filled."""
        self.data.mkdir()
        options = f"size={SMALL_DISK},mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", self.data], check=True)

    def fill_disk(self) -> None:
        """Leave not one byte free on its small disk."""
        free = shutil.disk_usage(self.data).free
        ballast = os.open(self.data / "ballast", os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            os.posix_fallocate(ballast, 0, free)
        finally:
            os.close(ballast)

    def empty_disk(self) -> None:
        """Give the space back."""
        (self.data / "ballast").unlink()

    def ask(self, method: str, target: str, body: bytes | None = None) -> Reply:
        """Ask it once, following redirects."""
        return ask(self.address, method, target, body, hops=3)

    def status(self) -> dict[str, Any]:
        """Return what it says about itself; empty where it says nothing."""
        reply = self.ask("GET", "/api/status") if self.runs else Reply(0)
        return json.loads(reply.body) if reply.status == 200 else {}


class Cluster:
    """Several nodes, and the words that faults are told in.

    :param lab: the network
    :param base: where directories and logs go
    :param first: the number of the first node; numbers are used once in a lab
    """

    def __init__(self, lab: Lab, base: Path, first: int) -> None:
        self.lab = lab
        self.nodes: list[Node] = []
        self.since_s = 0.0
        self._base = base
        self._next = first
        self._formed = False

    def form(self, count: int) -> None:
        """Start so many nodes at once and wait until all of them vote.

        The last has a small disk, and the one before it a disk that may hang.
        """
        for _ in range(count):
            self.node()
        self.hangable.may_hang = True
        self.small.give_small_disk()
        for one in self.nodes:
            one.start()
        self._formed = True
        self.wait_until_settled()

    def node(self) -> Node:
        """Make one more node; it is not started."""
        one = Node(self.lab, self._base, self._next, self.nodes[0] if self.nodes else None)
        self._next += 1
        self.nodes.insert(len(self.nodes) - 2 if self._formed else len(self.nodes), one)
        return one

    @property
    def small(self) -> Node:
        """The node on the small disk."""
        return self.nodes[-1]

    @property
    def hangable(self) -> Node:
        """The node whose disk may hang."""
        return self.nodes[-2]

    @property
    def size(self) -> int:
        """How many members there are."""
        return len(self.nodes)

    def leader(self) -> Node:
        """Return the leader; wait for one."""

        def look() -> Node | None:
            seen = [(one.status(), one) for one in self.nodes]
            leaders = [(s["term"], one) for s, one in seen if s.get("role") == "leader"]
            return max(leaders, key=lambda pair: int(pair[0]))[1] if leaders else None

        return wait_until("a leader", look)

    def followers(self) -> list[Node]:
        """Return everybody but the leader."""
        leader = self.leader()
        return [one for one in self.nodes if one is not leader]

    def starts_of(self, address: Address) -> int:
        """Return how often the node at an address was started."""
        return sum(one.starts for one in self.nodes if one.address == address)

    def lead(self, wanted: Node) -> None:
        """Make a node the leader."""

        def done() -> bool:
            leader = self.leader()
            if leader is not wanted:
                body = json.dumps({"to": wanted.name}).encode()
                leader.ask("POST", "/api/cluster/transfer", body)
            return self.leader() is wanted

        wait_until(f"{wanted.name} to lead", done)

    def mark(self) -> None:
        """Count the write gap from now on."""
        self.since_s = time.monotonic()

    def cut(self, senders: list[Node], receivers: list[Node]) -> None:
        """Let nothing through from the former to the latter."""
        self.lab.cut([(a.name, b.name) for a in senders for b in receivers if a is not b])

    def part(self, some: list[Node], others: list[Node]) -> None:
        """Let nothing through in either direction."""
        self.cut(some, others)
        self.cut(others, some)

    def heal(self) -> None:
        """Repair the network."""
        self.lab.heal()

    def wait_until_settled(self) -> None:
        """Wait until all nodes know one leader, and all the members to be voters."""
        roles = ["leader"] + ["voter"] * (self.size - 1)

        def settled() -> bool:
            seen = [one.status() for one in self.nodes]
            return all(
                status
                and status["leader"] is not None
                and sorted(str(member["role"]) for member in status["members"]) == roles
                for status in seen
            )

        wait_until(f"{self.size} nodes that agree", settled)

    def wait_until_majority_is_up(self) -> None:
        """Wait until so many processes have started that they could elect a leader."""

        def up() -> bool:
            live = [one for one in self.nodes if one.ask("GET", "/livez").status == 200]
            return 2 * len(live) > self.size

        wait_until("a majority of processes", up)

    def wait_until_equal(self) -> str:
        """Wait until all have applied the same; return the hash of their state."""

        def equal() -> str | None:
            seen = [one.status() for one in self.nodes]
            if not all(seen) or len({status["applied_index"] for status in seen}) != 1:
                return None
            hashes = {str(status["state_hash"]) for status in seen}
            if len(hashes) != 1:
                raise Failed(f"replicas differ at applied index {seen[0]['applied_index']}")
            return hashes.pop()

        return wait_until("equal replicas", equal)

    def examine(self) -> None:
        """See that nobody died of himself and nobody logged a bug."""
        for one in self.nodes:
            if not one.runs:
                raise Failed(f"{one.name} has ended by itself: {one.log[-500:]}")
            for sign in ("Traceback", "this is a bug", "Unhandled", "#error]", "#critical]"):
                if sign in one.log:
                    at = one.log.index(sign)
                    raise Failed(f"{one.name} logged: {one.log[max(0, at - 300) : at + 3000]}")
