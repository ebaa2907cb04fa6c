"""A cluster of real ``twistd`` processes on this machine, in a directory of its own.

Used by the demonstration, the benchmark and whoever wants to see real processes die. It knows the
command line of a node and its HTTP status, nothing of what is inside.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import (
    IProcessTransport,
    IReactorCore,
    IReactorFromThreads,
    IReactorProcess,
    IReactorTime,
)
from twisted.internet.protocol import ProcessProtocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from raftdb.cli.ports import free_ports
from raftdb.client import Client
from raftdb.errors import RaftDBError

T = TypeVar("T")

POLL_S = 0.05
STOP_S = 5.0
"""After which a node that was asked to end is killed."""


class Reactor(IReactorCore, IReactorTime, IReactorProcess, IReactorFromThreads):
    """What the command line wants of Twisted's reactor."""


class ClusterFailed(Exception):
    """A node died or did not do what was waited for; the message says which."""


class _Process(ProcessProtocol):
    """One run of one node.

    :param ended: is called once, when it is over
    """

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended

    def processEnded(self, reason: Failure = connectionDone) -> None:  # noqa: N802  # Twisted's name
        """Tell the node; how it ended stands in its log."""
        del reason
        self._ended()


class Node:
    """One member: its place on disk, its addresses, its process.

    :param reactor: spawns and waits
    :param name: the id in the cluster
    :param directory: holds its data directory and its log; exists
    :param join: HTTP addresses to join through; empty for the first
    :param options: further options of ``twistd raftdb``
    """

    def __init__(
        self,
        reactor: Reactor,
        name: str,
        directory: Path,
        join: tuple[str, ...] = (),
        options: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.data = directory / name
        self.log = directory / f"{name}.log"
        self.http, self.raft = (f"127.0.0.1:{port}" for port in free_ports(2))
        self._pid_file = directory / f"{name}.pid"
        self._reactor = reactor
        self._join = join
        self._options = options
        self._transport: IProcessTransport | None = None
        self._waiting: list[Deferred[None]] = []
        self.is_wanted = False

    @property
    def pid(self) -> int | None:
        """The process's id while it runs."""
        return None if self._transport is None else self._transport.pid

    @property
    def has_failed(self) -> bool:
        """Whether it ended though nobody ended it."""
        return self.is_wanted and self._transport is None

    @property
    def command(self) -> list[str]:
        """What is run."""
        join = [f"--join={','.join(self._join)}"] if self._join else []
        return [
            sys.executable,
            "-m",
            "raftdb.cli.leash",  # it must not outlive this process
            "--nodaemon",
            f"--pidfile={self._pid_file}",
            "raftdb",
            f"--id={self.name}",
            f"--haddr={self.http}",
            f"--raddr={self.raft}",
            *join,
            *self._options,
            str(self.data),
        ]

    def start(self) -> None:
        """Start the process, also after it died; the flags are always the same."""
        assert self._transport is None, f"{self.name} runs already"
        self.is_wanted = True
        self._pid_file.unlink(missing_ok=True)  # a killed twistd leaves its own behind
        with self.log.open("ab") as log:
            self._transport = self._reactor.spawnProcess(
                _Process(self._ended),
                self.command[0],
                self.command,
                env=None,
                childFDs={0: "w", 1: log.fileno(), 2: log.fileno()},
            )

    def _ended(self) -> None:
        self._transport = None
        waiting, self._waiting = self._waiting, []
        for ended in waiting:
            ended.callback(None)

    def end(self, signal: str) -> Deferred[None]:
        """Send a signal that ends it (``KILL``, ``TERM``); fires when the process has ended."""
        self.is_wanted = False
        if self._transport is None:
            return succeed(None)
        ended: Deferred[None] = Deferred()
        self._waiting.append(ended)
        with suppress(ProcessExitedAlready):  # then its end is on the way
            self._transport.signalProcess(signal)
        return ended

    async def stop(self) -> None:
        """End the process: asked first, killed if it does not."""
        ended = self.end("TERM")
        killer = self._reactor.callLater(STOP_S, self.end, "KILL")
        await ended
        if killer.active():
            killer.cancel()

    def tail(self, lines: int = 15) -> str:
        """Return the end of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except FileNotFoundError:
            return ""


class LocalCluster:
    """Several nodes under one temporary directory, which is removed at the end.

    :param count: how many
    :param options: further options of ``twistd raftdb``, for each node
    """

    def __init__(self, reactor: Reactor, count: int = 3, *, options: tuple[str, ...] = ()) -> None:
        self._reactor = reactor
        self.directory = Path(tempfile.mkdtemp(prefix="raftdb-"))
        self.nodes: list[Node] = []
        for number in range(1, count + 1):
            join = (self.nodes[0].http,) if self.nodes else ()
            name = f"node{number:02}"
            self.nodes.append(Node(reactor, name, self.directory, join, options))
        self.client = Client(reactor, self.addresses)

    @property
    def addresses(self) -> list[str]:
        """Where clients reach the nodes."""
        return [node.http for node in self.nodes]

    def start(self) -> None:
        """Start all nodes at the same moment."""
        for node in self.nodes:
            node.start()

    async def status(self, node: Node) -> dict[str, object] | None:
        """Return what ``node`` says of itself; None where it says nothing now."""
        try:
            return await self.client.status(node.http, timeout_s=1.0)
        except RaftDBError:
            return None

    async def wait_for_leader(self, timeout_s: float) -> Node:
        """Wait until all running nodes follow one leader, and every node has a vote.

        :returns: the leader
        :raises ClusterFailed: after ``timeout_s``
        """
        found: list[Node] = []

        async def settled() -> bool:
            running = [node for node in self.nodes if node.is_wanted]
            leaders = []
            for node in running:
                status = await self.status(node)
                if status is None or voters(status) != len(self.nodes):
                    return False
                leaders.append(status["leader"])
            found[:] = [node for node in running if leaders == [node.name] * len(running)]
            return bool(found)

        await self.wait_until(settled, "one leader and a vote for every node", timeout_s)
        return found[0]

    async def wait_until(
        self, condition: Callable[[], Awaitable[bool]], what: str, timeout_s: float
    ) -> None:
        """Ask again and again until ``condition`` holds.

        :raises ClusterFailed: after ``timeout_s``, or when a node that was started has died
        """
        deadline = self._reactor.seconds() + timeout_s
        while not await condition():
            for node in self.nodes:
                if node.has_failed:
                    raise ClusterFailed(f"{node.name} ended by itself; its log:\n{node.tail()}")
            if self._reactor.seconds() > deadline:
                logs = "\n".join(f"-- {node.name}\n{node.tail(5)}" for node in self.nodes)
                raise ClusterFailed(f"waited {timeout_s:.0f} s for {what} in vain\n{logs}")
            await deferLater(self._reactor, POLL_S)

    async def stop(self) -> None:
        """End all nodes, close the client and remove the directory; harmless when repeated.

        It goes on to its end when it is cancelled meanwhile.
        """
        await to_the_end(self._stop())

    async def _stop(self) -> None:
        await gatherResults([Deferred.fromCoroutine(node.stop()) for node in self.nodes])
        await self.client.close()
        shutil.rmtree(self.directory, ignore_errors=True)


async def to_the_end(work: Coroutine[Deferred[object], object, None]) -> None:
    """Wait for ``work``; whatever cancels the waiting, as signals do, neither ends it nor hurries it."""
    running = Deferred.fromCoroutine(work)
    while not running.called:
        ended: Deferred[None] = Deferred()
        running.addBoth(_pass_on, ended)
        with suppress(CancelledError):
            await ended
    await running


def _pass_on(result: T, ended: Deferred[None]) -> T:
    if not ended.called:
        ended.callback(None)
    return result


def voters(status: dict[str, object]) -> int:
    """Return how many members have a vote, as a node's status tells."""
    members = status["members"]
    assert isinstance(members, list)
    return sum(member["role"] in {"leader", "voter"} for member in members)
