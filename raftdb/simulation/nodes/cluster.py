"""A whole cluster in one thread: simulated time, network and disks around production nodes.

Everything that happens follows from one seed. What runs is the production code of the core, the
codec, the state machine, Replica and Database; replaced are the clock, the network, the disk and
every source of chance. After every event on a node the cluster checks Figure 3 and the core's
invariants, and that replicas which have applied the same index are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from raftdb.errors import Refused
from raftdb.raft.config import Config
from raftdb.raft.node import RawNode
from raftdb.raft.storage import LogReader, MemoryStorage
from raftdb.raft.types import Entry, HardState, MemberID, Role
from raftdb.replica import ReplicaOptions
from raftdb.simulation.checks.safety import Safety
from raftdb.simulation.clock import SimulationClock
from raftdb.simulation.disk.host import APPEND_BYTES_MAX, DurableHost
from raftdb.simulation.disk.memory_disk import Platter
from raftdb.simulation.network.datagrams import Datagrams
from raftdb.simulation.network.links import Links
from raftdb.simulation.nodes.event_log import EVENTS_KEPT, EventLog
from raftdb.simulation.nodes.founding import WALL_START_MS, founding_entries
from raftdb.simulation.nodes.node import Machinery, SimulatedNode
from raftdb.state.kv.commands import Put
from raftdb.state.kv.values import PutResult

HASHED_ANYWAY = 16
"""States are compared when an index is applied, and at every so many checks even if none was."""


class Cluster:
    """Nodes that form a cluster from the start, and others that may join it.

    :param seed: everything follows from it
    :param names: the first voters
    :param options: of every Replica
    :param durable: whether nodes stand on the production storage over lossy disks, which is
        slower, instead of a disk in memory
    :param fast_failover: whether a killed node's peers notice at once that its port is closed
    :param events_kept: how many of the newest events can be told, None for all
    :param drift: by how much the rate of a node's clock differs from the simulation's, at most;
        where it is not 0, clocks begin somewhere else at each boot, too
    :param configure: changes the core's default configuration
    :param core: makes the core of each boot
    :param crash: does to a killed node's disk what the death of a node does
    """

    promotes = False
    """Whether learners become voters by themselves once they have caught up."""

    def __init__(
        self,
        seed: int,
        names: Iterable[str] = ("a", "b", "c"),
        *,
        options: ReplicaOptions | None = None,
        durable: bool = False,
        fast_failover: bool = True,
        events_kept: int | None = EVENTS_KEPT,
        drift: float = 0.0,
        configure: Callable[[Config], Config] = lambda config: config,
        core: Callable[[Config, LogReader], RawNode] = RawNode,
        crash: Callable[[SimulatedNode], None] = lambda node: node.host.crash(),
    ) -> None:
        self.seed = seed
        self.options = options or ReplicaOptions()
        self.configure = configure
        self.core = core
        self.crash = crash
        self._durable = durable
        self._drift = drift
        self.clock = SimulationClock()
        self.event_log = EventLog(self.clock.seconds, kept=events_kept)
        self.fast_failover = fast_failover
        self.network = self.make_network(Random(f"{seed}/network"))
        self.network.watch = lambda message: self.event_log.note("arrives", message)
        self.nodes: dict[str, SimulatedNode] = {}
        self.wall_steps_ms: dict[str, int] = {}
        """By how much a node's wall clock is wrong."""
        self.safety = Safety(remembers=True)
        self.watch: Callable[[SimulatedNode], None] = lambda _: None
        """Is shown a node after every event on it that it survived."""
        self.failures: list[Failure] = []
        """Why nodes crashed by themselves, all of them."""
        self._hashes: dict[int, tuple[int, str]] = {}
        self.cluster_id = Random(f"{seed}/cluster").getrandbits(128) | 1
        members = [self._member(name) for name in names]
        self.first_size = len(members)
        self.lost_a_node = False
        """Whether one is gone for good."""
        self.removals = 0
        """Of members, under way: whoever loses a node meanwhile may take the quorum away."""
        entries = founding_entries(members, self.cluster_id)
        for member in members:
            self.nodes[member.id] = self.make_node(member, self._host(member, entries))

    def make_network(self, rng: Random) -> Links:
        """Return what connects the nodes."""
        return Datagrams(self.clock, rng)

    def make_node(self, member: MemberID, host: Machinery) -> SimulatedNode:
        """Return a node that is to be connected by this cluster's network."""
        return SimulatedNode(self, member, host)

    def add_blank(self, name: str) -> SimulatedNode:
        """Return a new node that belongs to nothing yet; it must be added by a change."""
        member = self._member(name)
        self.nodes[name] = SimulatedNode(self, member, self._host(member, ()))
        return self.nodes[name]

    def wipe(self, name: str) -> None:
        """Let a node lose its disk and come back with an empty one, as somebody new."""
        old = self.nodes[name]
        old.kill()
        old.is_lost = True
        member = self.reborn(old.member)
        self.event_log.note("is wiped", name)
        self.lost_a_node = True
        new = self.nodes[name] = SimulatedNode(self, member, self._host(member, ()))
        new.boots = old.boots
        new.boot()

    def reborn(self, member: MemberID) -> MemberID:
        """Return who an empty data directory makes of a member: another incarnation [R1]."""
        return MemberID(member.id, Random(f"{self.seed}/{member}/reborn").getrandbits(128))

    def _member(self, name: str) -> MemberID:
        return MemberID(name, Random(f"{self.seed}/{name}").getrandbits(128))

    def _host(self, member: MemberID, entries: tuple[Entry, ...]) -> Machinery:
        hard_state = HardState(term=1, commit=len(entries)) if entries else HardState()
        if not self._durable:
            return Platter(MemoryStorage(hard_state=hard_state, entries=entries))
        return DurableHost(
            member,
            self.cluster_id,
            hard_state=hard_state,
            entries=entries,
            rng=Random(f"{self.seed}/{member.id}/disk"),
        )

    def config(self, member: MemberID, rng: Random) -> Config:
        """Return the core's configuration of one boot, its limits nested [R30]."""
        config = self.configure(Config(id=member, rng=rng, boot=rng.getrandbits(64)))
        if self._durable and config.append_bytes_max > APPEND_BYTES_MAX:
            config = replace(config, append_bytes_max=APPEND_BYTES_MAX)
        return config

    def boot(self) -> None:
        """Start every node that does not run."""
        for node in self.nodes.values():
            node.boot_if_down()

    def heal(self) -> None:
        """Make network and disks good, and start every node."""
        self.network.mend()
        self.network.clear_weather()
        for node in self.nodes.values():
            node.host.mend()
        self.boot()

    @property
    def leaders(self) -> list[SimulatedNode]:
        """Every running node that thinks it leads."""
        nodes = self.nodes.values()
        return [node for node in nodes if node.is_up and node.replica.role is Role.LEADER]

    @property
    def leader(self) -> SimulatedNode | None:
        """The running leader of the highest term, if there is one."""
        return max(self.leaders, key=lambda node: node.replica.term, default=None)

    @property
    def followers(self) -> list[SimulatedNode]:
        """The running nodes that do not lead, in order."""
        return [node for node in self.nodes.values() if node.is_up and node is not self.leader]

    def reactor_s(self, node: SimulatedNode) -> float:
        """Return what a node's reactor goes by: production takes the clock that counts sleep."""
        return self.boottime_s(node)

    def boottime_s(self, node: SimulatedNode) -> float:
        """Return what a node's CLOCK_BOOTTIME shows: monotonic, and it goes on while it sleeps."""
        if not self._drift:
            return self.clock.seconds()
        return node.clock_origin_s + self.clock.seconds() * node.clock.rate

    def monotonic_s(self, node: SimulatedNode) -> float:
        """Return what a node's CLOCK_MONOTONIC shows: it stands still while its machine sleeps."""
        return self.boottime_s(node) - node.clock.slept_s * node.clock.rate

    def rate(self, name: str) -> float:
        """Return how many of a node's seconds pass in one of the simulation's."""
        if not self._drift:
            return 1.0
        return Random(f"{self.seed}/{name}/rate").uniform(1 - self._drift, 1 + self._drift)

    @property
    def election_s(self) -> float:
        """How long the least election timeout can take, by the slowest clock."""
        return 8 * self.options.tick_s / (1 - self._drift)

    def wall_ms(self, name: str) -> int:
        """Return what a node's wall clock shows."""
        return WALL_START_MS + int(self.clock.seconds() * 1000) + self.wall_steps_ms.get(name, 0)

    def tell_refused(self, dead: MemberID) -> None:
        """Let the peers of a killed node find its port closed, where they can reach it."""
        if not self.fast_failover:
            return
        # A connection ends after what was sent on it has arrived.
        delay_s = self.network.weather.delay_max_s + 0.001
        for node in self.nodes.values():
            reachable = self.network.passes(node.name, dead.id)
            if node.is_up and reachable and self.network.passes(dead.id, node.name):
                node.clock.callLater(delay_s, node.replica.link_lost, dead, refused=True)

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

    def put(self, key: bytes, value: bytes, *, limit_s: float = 10.0) -> int:
        """Write at whoever leads, again if refused; return the revision."""
        result: list[PutResult] = []

        def attempt() -> None:
            leader = self.leader
            if leader is None:
                again(None)
            else:
                leader.database.execute(Put(((key, value),))).addCallbacks(result.append, again)

        def again(failure: Failure | None) -> None:
            assert failure is None or isinstance(failure.value, Refused), failure
            self.clock.callLater(0.02, attempt)

        attempt()
        self.run_while(lambda: not result, limit_s=limit_s)
        return result[0].revision

    def result(self, deferred: Deferred[Any], *, limit_s: float = 10.0) -> Any:
        """Let time pass until ``deferred`` fires; return its result or raise its error."""
        results: list[object] = []
        deferred.addBoth(results.append)
        self.run_while(lambda: not results, limit_s=limit_s)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    def converge(self, *, limit_s: float = 10.0) -> None:
        """Let time pass until every running member has applied what the leader has."""

        def apart() -> bool:
            leader = self.leader
            return leader is None or any(
                node.replica.applied < leader.replica.applied
                or node.replica.leader != leader.member
                for node in self.nodes.values()
                if node.is_up and node.member in leader.replica.core.conf_state.members
            )

        self.run_while(apart, limit_s=limit_s)

    def check(self, node: SimulatedNode) -> None:
        """Compare a node with all others after something happened on it.

        :raises AssertionError: naming what is broken
        """
        self.safety.check(node.replica.core)
        index = node.replica.applied
        node.checks += 1
        if index == node.hashed_index and node.checks % HASHED_ANYWAY:
            return
        node.hashed_index = index
        state_hash = node.machine.state_hash
        known, first = self._hashes.setdefault(index, (state_hash, node.name))
        assert known == state_hash, f"{node.name} and {first} differ at index {index}"
