"""A world for programs that use raftdb: their own code and a cluster, in one thread, from one seed.

For the tests of your program, with nothing of raftdb replaced that it could notice: its
:class:`raftdb.client.Client` speaks HTTP, byte for byte, to production nodes on simulated disks and
links; an hour of time-outs passes in a second; and what fails once fails again with its seed.

::

    def test_no_order_is_lost():
        world = World(seed=7)
        shop = Shop(world.clock, world.client())     # your code, with a clock in place of a reactor
        world.trouble()                  # kills, pauses, partitions, drawn from the seed
        world.run(shop.sell(100))
        world.heal()
        assert world.run(shop.count()) == 100
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from random import Random
from typing import Any, TypeVar

from treq.client import HTTPClient
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, HTTPConnectionPool
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from raftdb.client import Client
from raftdb.client.exchange import CONNECT_TIMEOUT_S, Body
from raftdb.dialects.site import make_site
from raftdb.node.status import NodeStatus, node_status, unready
from raftdb.raft.types import MemberID
from raftdb.replica import ReplicaOptions
from raftdb.simulation.clock import NodeClock
from raftdb.simulation.faults.nemesis import Nemesis
from raftdb.simulation.nodes.node import Machinery, SimulatedNode
from raftdb.simulation.nodes.wired import WiredCluster
from raftdb.simulation.nodes.wired_node import WiredNode

T = TypeVar("T")

NAMES = ("a", "b", "c", "d", "e", "f", "g")

TROUBLES = (
    "kill",
    "isolate",
    "deafen",
    "bridge",
    "flap",
    "pause",
    "weather",
    "slow disk",
    "transfer",
)
"""What :meth:`World.trouble` does unless told otherwise; all of it passes when the world is healed."""

LIMIT_S = 60.0


class World:
    """A running cluster, and a clock that moves only while something is waited for.

    :param seed: everything that happens by chance follows from it
    :param nodes: how many, from 1 to 7; they are called a, b, c …
    :ivar clock: the time of everything that is no node; give it to your own code as its reactor
    :ivar cluster: what is below, for tests that look closer
    """

    def __init__(self, seed: int, *, nodes: int = 3) -> None:
        self.cluster = _ServedCluster(seed, NAMES[:nodes], options=ReplicaOptions(), durable=True)
        self.clock: IReactorTime = self.cluster.clock
        self._nemesis: Nemesis | None = None
        self._clients = 0
        self.cluster.boot()
        self.cluster.await_leader()

    # -- your side ------------------------------------------------------------------------------

    def client(self, host: str = "", *, timeout_s: float = 10.0) -> Client:
        """Return a client that lives on a host of its own.

        :param host: its name, for cuts and pauses; one is made up if it is left away
        :param timeout_s: of each operation, as of every client
        """
        self._clients += 1
        host = host or f"client{self._clients}"
        cluster = self.cluster
        clock = NodeClock(cluster.clock)
        cluster.lossy_streams.attach(host, clock)
        cluster.lossy_streams.know(host)
        pool = HTTPConnectionPool(clock, persistent=True)
        pool.retryAutomatically = False
        agent = Agent.usingEndpointFactory(clock, _Ways(self, host, clock), pool)
        return Client(
            clock,
            [node.record.http_address for node in cluster.nodes.values()],
            timeout_s=timeout_s,
            http=HTTPClient(agent, data_to_body_producer=Body),
            rng=Random(f"{cluster.seed}/client/{host}"),
        )

    def run(self, awaitable: Awaitable[T], *, limit_s: float = LIMIT_S) -> T:
        """Let time pass until ``awaitable`` is done; return its result, or raise its error.

        :raises AssertionError: it is not done after ``limit_s`` of simulated time
        """
        done: Deferred[Any] = _as_deferred(awaitable)
        result: T = self.cluster.result(done, limit_s=limit_s)
        return result

    def sleep(self, seconds: float) -> Deferred[None]:
        """Return a Deferred that fires after so long, for use in your coroutines."""
        return deferLater(self.clock, seconds)

    def pass_time(self, seconds: float) -> None:
        """Let so much time pass."""
        self.cluster.run_for(seconds)

    # -- what happens to the cluster --------------------------------------------------------------

    @property
    def leader(self) -> str | None:
        """The name of the node that leads, None while nobody does."""
        leader = self.cluster.leader
        return None if leader is None else leader.name

    def kill(self, *names: str, silently: bool = False) -> None:
        """Cut the power of nodes: what they had not synced is gone.

        :param silently: the machine is gone, too: nobody hears of it, and a connection to it hangs;
            otherwise connections break, and new ones are refused
        """
        for name in names:
            node = self.cluster.nodes[name]
            assert isinstance(node, _ServedNode)
            node.silently = silently
            node.kill()

    def start(self, *names: str) -> None:
        """Start nodes again on what their disks kept."""
        for name in names:
            self.cluster.nodes[name].boot_if_down()

    def pause(self, name: str, seconds: float) -> None:
        """Let a node stand still, as SIGSTOP or a garbage collection does."""
        self.cluster.nodes[name].pause(seconds)

    def part(self, group: Sequence[str], others: Sequence[str]) -> None:
        """Let nothing pass between two groups of hosts, nodes or clients; :meth:`heal` ends it."""
        for one in group:
            for other in others:
                self.cluster.lossy_streams.part(one, other)

    def trouble(self, faults: Sequence[str] = TROUBLES, *, interval_s: float = 0.5) -> None:
        """Let things go wrong from now on, by chance, until :meth:`heal`.

        :param faults: which, by the names of :data:`raftdb.simulation.faults.nemesis.FAULTS`
        :param interval_s: between two of them, on average
        """
        cluster = self.cluster
        self._nemesis = Nemesis(
            cluster, Random(f"{cluster.seed}/nemesis"), interval_s=interval_s, faults=tuple(faults)
        )
        self._nemesis.start()

    def heal(self) -> None:
        """End all trouble, start all nodes, and let time pass until they agree."""
        if self._nemesis is not None:
            self._nemesis.cease()
            self._nemesis.stop()
            self._nemesis = None
        self.cluster.heal()
        self.cluster.await_leader(limit_s=LIMIT_S)
        self.cluster.converge(limit_s=LIMIT_S)


def _as_deferred(awaitable: Awaitable[T]) -> Deferred[T]:
    if isinstance(awaitable, Deferred):
        return awaitable

    async def wait() -> T:
        return await awaitable

    return ensureDeferred(wait())


class _ServedCluster(WiredCluster):
    """Nodes that speak HTTP as well."""

    def make_node(self, member: MemberID, host: Machinery) -> SimulatedNode:
        """Return a founder."""
        return _ServedNode(self, member, host)


class _ServedNode(WiredNode):
    """A node with production's site at its HTTP address.

    :ivar silently: how it dies next, None for as chance will have it
    """

    silently: bool | None = None

    def disconnect(self) -> None:
        """Be gone from the network, as was asked for or by chance."""
        silently, self.silently = self.silently, None
        if silently is None:
            super().disconnect()
        else:
            self.died_s = self.cluster.clock.seconds()
            lossy_streams = self.wired.lossy_streams
            lossy_streams.vanish(self.name) if silently else lossy_streams.kill(
                self.name, told=False
            )

    def begin(self) -> None:
        """Take part, and answer clients."""
        super().begin()
        patience_s = 2 * self.replica.core.state.config.election_ticks * self.cluster.options.tick_s
        site = make_site(
            self.clock,
            database=self.database,
            membership=self.membership,
            status=self._status,
            unready=lambda: unready(self.replica, self.machine, patience_s),
        )
        site.startFactory()
        self.wired.lossy_streams.listen(self.name, self.record.http_address, site)

    def _status(self) -> NodeStatus:
        return node_status(self.replica, self.machine, self.database, self.membership)


@implementer(IAgentEndpointFactory)
class _Ways:
    """The ways from one host to the nodes' HTTP ports."""

    def __init__(self, world: World, host: str, clock: IReactorTime) -> None:
        self._world = world
        self._host = host
        self._clock = clock

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802  # twisted.web's name
        """Return the way to whoever a URL names."""
        address = f"{uri.host.decode('ascii')}:{uri.port}"
        return _Patient(
            self._world.cluster.lossy_streams.endpoint(self._host, address), self._clock
        )


@implementer(IStreamClientEndpoint)
class _Patient:
    """A way that is given up after as long as production's client waits for a connection."""

    def __init__(self, way: IStreamClientEndpoint, clock: IReactorTime) -> None:
        self._way = way
        self._clock = clock

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803  # Twisted's name
        """Dial."""
        connecting: Deferred[IProtocol] = self._way.connect(protocolFactory)
        connecting.addTimeout(CONNECT_TIMEOUT_S, self._clock, _too_late)
        return connecting.addErrback(_given_up)


def _given_up(failure: Failure) -> Failure:
    """End as Twisted's endpoints do when their Deferred is cancelled: surely nothing was sent."""
    if failure.check(CancelledError):
        raise ConnectingCancelledError(IPv4Address("TCP", "simulated", 0))
    return failure


def _too_late(result: IProtocol | Failure, seconds: float) -> IProtocol | Failure:
    if isinstance(result, Failure):
        raise ConnectTimeout(string=f"no connection within {seconds} s")
    return result
