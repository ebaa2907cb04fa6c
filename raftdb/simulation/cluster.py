"""A whole cluster in one thread: simulated time, network and disks around production nodes.

Everything that happens follows from one seed. What runs is the production code of the core, the
codec, the state machine, Replica and Database; replaced are the clock, the network, the disk and
every source of chance. After every event on a node the cluster checks Figure 3 and the core's
invariants, and that replicas which have applied the same index are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from raftdb.database import Database
from raftdb.machine import ReplicatedState
from raftdb.raft.config import Config
from raftdb.raft.messages import Message
from raftdb.raft.types import ConfState, MemberID, Role, SnapshotMetadata
from raftdb.replica import Options, Replica
from raftdb.simulation.carrier import Carrier, Station
from raftdb.simulation.clock import NodeClock, SimulationClock
from raftdb.simulation.memory_disk import MemoryDisk, Platter
from raftdb.simulation.safety import Safety

WALL_START_MS = 1_700_000_000_000


class SimulatedNode:
    """One node: its platter outlives it, everything else is made anew by each boot.

    :param cluster: where it lives
    :param member: who it is
    :param platter: its disk
    """

    def __init__(self, cluster: Cluster, member: MemberID, platter: Platter) -> None:
        self.cluster = cluster
        self.member = member
        self.name = member.id
        self.platter = platter
        self.boots = 0
        self.is_up = False
        self.failure: Failure | None = None
        """Why the node crashed by itself, None if it did not."""
        self.roles: list[tuple[float, Role, int]] = []
        """Every change of role or leader since the first boot: when, to which role, in which term."""

    def boot(self) -> None:
        """Start the node on what its platter holds."""
        assert not self.is_up
        self.boots += 1
        self.is_up = True
        self.failure = None
        cluster = self.cluster
        rng = Random(f"{cluster.seed}/{self.name}/{self.boots}")
        self.clock = NodeClock(cluster.clock, self._watch)
        self.disk = MemoryDisk(self.clock, self.platter, rng)
        self.machine = ReplicatedState()
        station = Station(
            deliver=self._deliver,
            receive_snapshot=self._receive_snapshot,
            report_snapshot=lambda peer, ok: self._later(self.replica.report_snapshot, peer, ok),
            report_unreachable=lambda peer: self._later(self.replica.report_unreachable, peer),
        )
        self.replica = Replica(
            self.clock,
            config=cluster.configure(Config(id=self.member, rng=rng, boot=rng.getrandbits(64))),
            storage=self.disk,
            transport=cluster.network.connect(self.member, station),
            machine=self.machine,
            options=cluster.options,
            crash=self._crashed,
            on_role_change=self._role_changed,
        )
        self.database = Database(
            self.clock, self.replica, self.machine, wall_ms=lambda: cluster.wall_ms(self.name)
        )
        cluster.safety.restarted(self.member)
        self.replica.start()

    def boot_if_down(self) -> None:
        """Start the node unless it runs."""
        if not self.is_up:
            self.boot()

    def kill(self) -> None:
        """End the node at once, as kill -9 and a power failure do."""
        if not self.is_up:
            return
        self.is_up = False
        self.clock.kill()
        self.disk.crash()
        self.cluster.network.disconnect(self.member)
        self.cluster.tell_refused(self.member)

    def pause(self, seconds: float) -> None:
        """Let the process stand still; what arrives meanwhile waits for it."""
        self.clock.pause(seconds)

    def _deliver(self, message: Message) -> None:
        self._later(self.replica.step, message)

    def _receive_snapshot(self, sender: MemberID, metadata: SnapshotMetadata) -> bool:
        pieces = self.cluster.nodes[sender.id].platter.find(metadata.last)
        if pieces is not None:
            self.disk.receive_snapshot(metadata, pieces)
        return pieces is not None

    def _later(self, function: Callable[..., object], *arguments: object) -> None:
        if self.is_up:
            self.clock.callLater(0, function, *arguments)

    def _crashed(self, failure: Failure) -> None:
        self.failure = failure
        self.kill()

    def _watch(self) -> None:
        if self.is_up:
            self.cluster.check(self)

    def _role_changed(self, role: Role, leader: MemberID | None, term: int) -> None:
        assert leader is None or term > 0
        self.roles.append((self.clock.seconds(), role, term))


class Cluster:
    """Nodes that form a cluster from the start, and others that may join it.

    :param seed: everything follows from it
    :param names: the first voters
    :param options: of every Replica
    :param fast_failover: whether a killed node's peers notice at once that its port is closed
    :param configure: changes the core's default configuration
    """

    def __init__(
        self,
        seed: int,
        names: Iterable[str] = ("a", "b", "c"),
        *,
        options: Options | None = None,
        fast_failover: bool = True,
        configure: Callable[[Config], Config] = lambda config: config,
    ) -> None:
        self.seed = seed
        self.options = options or Options()
        self.configure = configure
        self.clock = SimulationClock()
        self.network = Carrier(self.clock, Random(f"{seed}/network"))
        self.nodes: dict[str, SimulatedNode] = {}
        self.wall_steps_ms: dict[str, int] = {}
        """By how much a node's wall clock is wrong."""
        self.safety = Safety()
        self._fast_failover = fast_failover
        self._hashes: dict[int, tuple[int, str]] = {}
        voters = tuple(MemberID(name, Random(f"{seed}/{name}").getrandbits(128)) for name in names)
        self.conf_state = ConfState(voters=tuple(sorted(voters)))
        for member in voters:
            platter = Platter.blank(self.conf_state)
            self.nodes[member.id] = SimulatedNode(self, member, platter)

    def add_blank(self, name: str) -> SimulatedNode:
        """Return a new node that belongs to nothing yet; it must be added by a change."""
        member = MemberID(name, Random(f"{self.seed}/{name}").getrandbits(128))
        self.nodes[name] = SimulatedNode(self, member, Platter.blank())
        return self.nodes[name]

    def boot(self) -> None:
        """Start every node that does not run."""
        for node in self.nodes.values():
            node.boot_if_down()

    def heal(self) -> None:
        """Make network and disks good, and start every node."""
        self.network.mend()
        weather = self.network.weather
        weather.loss = weather.repetition = 0.0
        weather.delay_max_s = 0.002
        for node in self.nodes.values():
            node.platter.hangs = node.platter.full = node.platter.fails = False
        self.boot()

    @property
    def leader(self) -> SimulatedNode | None:
        """The running leader of the highest term, if there is one."""
        leading = [
            node for node in self.nodes.values() if node.is_up and node.replica.role is Role.LEADER
        ]
        return max(leading, key=lambda node: node.replica.term, default=None)

    @property
    def followers(self) -> list[SimulatedNode]:
        """The running nodes that do not lead, in order."""
        return [node for node in self.nodes.values() if node.is_up and node is not self.leader]

    def wall_ms(self, name: str) -> int:
        """Return what a node's wall clock shows."""
        return WALL_START_MS + int(self.clock.seconds() * 1000) + self.wall_steps_ms.get(name, 0)

    def tell_refused(self, dead: MemberID) -> None:
        """Let the peers of a killed node find its port closed, where they can reach it."""
        if not self._fast_failover:
            return
        for node in self.nodes.values():
            reachable = self.network.passes(node.name, dead.id)
            if node.is_up and reachable and self.network.passes(dead.id, node.name):
                node.clock.callLater(0.001, node.replica.link_lost, dead, refused=True)

    # -- letting time pass ----------------------------------------------------------------------

    def run_for(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self.clock.run_for(seconds)

    def run_while(self, condition: Callable[[], bool], *, limit_s: float = 10.0) -> float:
        """Let time pass while ``condition`` holds; return how long that was.

        :raises AssertionError: it still holds after ``limit_s``
        """
        start_s = self.clock.seconds()
        over = self.clock.run_until(start_s + limit_s, stop=lambda: not condition())
        assert over, f"it did not come to that within {limit_s} s"
        return self.clock.seconds() - start_s

    def await_leader(self, *, limit_s: float = 10.0) -> SimulatedNode:
        """Let time pass until a leader has applied an entry of its term; return it."""

        def missing() -> bool:
            return self.leader is None or not self.leader.replica.lease_fresh()

        self.run_while(missing, limit_s=limit_s)
        assert self.leader is not None
        return self.leader

    def result(self, deferred: Deferred[Any], *, limit_s: float = 10.0) -> Any:
        """Let time pass until ``deferred`` fires; return its result or raise its error."""
        results: list[object] = []
        deferred.addBoth(results.append)
        self.run_while(lambda: not results, limit_s=limit_s)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def converge(self, *, limit_s: float = 10.0) -> None:
        """Let time pass until every running node has applied what the leader has."""

        def apart() -> bool:
            leader = self.leader
            return leader is None or any(
                node.replica.applied < leader.replica.applied
                or node.replica.leader != leader.member
                for node in self.nodes.values()
                if node.is_up
            )

        self.run_while(apart, limit_s=limit_s)

    def check(self, node: SimulatedNode) -> None:
        """Compare a node with all others after something happened on it.

        :raises AssertionError: naming what is broken
        """
        self.safety.check(node.replica.core)
        index, state_hash = node.replica.applied, node.machine.state_hash
        known, first = self._hashes.setdefault(index, (state_hash, node.name))
        assert known == state_hash, f"{node.name} and {first} differ at index {index}"
