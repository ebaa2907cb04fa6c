"""One simulated node: its machinery outlives it, all else is production code made anew by each boot.

How it is connected to the others is left to :meth:`SimulatedNode.connect` and the cluster's network.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import TypeAlias

from twisted.python.failure import Failure

from raftdb.database import Database
from raftdb.duties.hash_check import HashCheckDuty
from raftdb.errors import Corrupt, StorageError
from raftdb.raft.config import Config
from raftdb.raft.messages import Message
from raftdb.raft.types import MemberID, Role
from raftdb.replica import Replica
from raftdb.replica.seams import Transport
from raftdb.simulation.clock import NodeClock
from raftdb.simulation.disk.host import DurableHost
from raftdb.simulation.disk.memory_disk import Platter
from raftdb.simulation.disk.power import PowerFailure
from raftdb.simulation.network.datagrams import Datagrams, Station
from raftdb.simulation.nodes.surroundings import Surroundings
from raftdb.state import Local, ReplicatedState

CHECKPOINT_INTERVAL = 16
"""Entries between two states that are compared through the log; few, for runs are short."""

VIGIL_S = 0.1
"""Between two looks at whether there is something to compare."""

RESTART_S = 0.3
"""After which a node that could not start is started again."""

CLOCK_ORIGIN_MAX_S = 1e6
"""Of a monotonic clock at a boot, which nobody may take for anything."""

Machinery: TypeAlias = Platter | DurableHost
"""What a node stands on; all nodes of a cluster on the same kind."""


class SimulatedNode:
    """One node: its machinery outlives it, everything else is made anew by each boot.

    :param cluster: where it lives
    :param member: who it is
    :param machinery: its disk
    """

    def __init__(self, cluster: Surroundings, member: MemberID, host: Machinery) -> None:
        self.cluster = cluster
        self.member = member
        self.name = member.id
        self.host = host
        self.boots = 0
        self.checks = 0
        self.hashed_index = -1
        """Up to where its state was compared with the others', -1 for not at all since it started."""
        self.is_up = False
        self.is_lost = False
        """Whether its disk is damaged or gone: it never comes back."""
        self.rotten = False
        """Whether its log was damaged, so that it must refuse to start."""
        self.failure: Failure | None = None
        """Why the node crashed by itself, None if it did not."""
        self.roles: list[tuple[float, Role, int]] = []
        """Every change of role or leader since the first boot: when, to which role, in which term."""

    def boot(self) -> None:
        """Start the node on what its disk holds."""
        assert not self.is_up
        self.boots += 1
        self.hashed_index = -1
        cluster = self.cluster
        cluster.event_log.note("starts", self.name, self.boots)
        rng = Random(f"{cluster.seed}/{self.name}/{self.boots}")
        self.clock_origin_s = rng.uniform(0.0, CLOCK_ORIGIN_MAX_S)
        self.clock = NodeClock(
            cluster.clock,
            self._watch,
            lambda: cluster.reactor_s(self),
            rate=cluster.rate(self.name),
        )
        if not self._open_storage(rng):
            return
        self.is_up = True
        self.failure = None
        self.machine = ReplicatedState(Local(checkpoint_interval=CHECKPOINT_INTERVAL))
        config = cluster.config(self.member, rng)
        self.replica = Replica(
            self.clock,
            config=config,
            storage=self.storage,
            transport=self.connect(config, rng),
            machine=self.machine,
            options=cluster.options,
            crash=self._crashed,
            on_role_change=self._role_changed,
            core=cluster.core,
            wall_ms=lambda: cluster.wall_ms(self.name),
        )
        self.database = Database(
            self.clock, self.replica, self.machine, wall_ms=lambda: cluster.wall_ms(self.name)
        )
        self.hash_check_duty = HashCheckDuty(
            self.clock,
            VIGIL_S,
            replica=self.replica,
            machine=self.machine,
            database=self.database,
        )
        cluster.safety.restarted(self.member)
        self.begin()

    def _open_storage(self, rng: Random) -> bool:
        """Recover what the disk holds; return False where that does not go well."""
        cluster = self.cluster
        if isinstance(self.host, DurableHost):
            self.host.power_failed = partial(self._lost_power, rng.uniform(0.0, RESTART_S))
            self.host.disk_failed = self._crashed
        try:
            self.storage = self.host.boot(self.clock, rng)
        except PowerFailure as failure:
            self.host.crash()
            self._lost_power(rng.uniform(0.0, RESTART_S), str(failure))
            return False
        except Corrupt as error:
            if not self.rotten:
                raise
            # It refuses to start, as it should: whoever looks after it takes another disk.
            cluster.event_log.note("refuses to start", self.name, str(error))
            self.is_lost = cluster.lost_a_node = True
            return False
        except StorageError as error:
            # The disk is full or failing: whoever looks after the node tries again later.
            cluster.event_log.note("cannot start", self.name, str(error))
            self.failure = Failure(error)  # type: ignore[no-untyped-call]  # Twisted's
            cluster.clock.callLater(RESTART_S, self.boot_if_down)
            return False
        assert not self.rotten, f"{self.name} starts on a damaged log"
        return True

    def connect(self, config: Config, rng: Random) -> Transport:
        """Return what the Replica of this boot sends through.

        :param config: of this boot's core; its nonce is the boot's
        :param rng: of this boot
        """
        del config, rng
        station = Station(
            deliver=self._deliver,
            receive_snapshot=lambda peer, metadata: self.host.receive(
                self.cluster.nodes[peer.id].host, metadata
            ),
            report_snapshot=lambda peer, ok: self._later(self.replica.report_snapshot, peer, ok),
            report_unreachable=lambda peer: self._later(self.replica.report_unreachable, peer),
        )
        network = self.cluster.network
        assert isinstance(network, Datagrams)
        return network.connect(self.member, station)

    def begin(self) -> None:
        """Take part, now that all parts are there."""
        self.replica.start()
        self.hash_check_duty.start()

    def disconnect(self) -> None:
        """Be gone from the network; the node is dead."""
        network = self.cluster.network
        assert isinstance(network, Datagrams)
        network.disconnect(self.member)
        self.cluster.tell_refused(self.member)

    def boot_if_down(self) -> None:
        """Start the node unless it runs."""
        if not self.is_up and not self.is_lost:
            self.boot()

    def kill(self) -> None:
        """End the node at once, as kill -9 and a power failure do."""
        if not self.is_up:
            return
        self.is_up = False
        self.cluster.event_log.note("dies", self.name)
        self.clock.kill()
        self.cluster.crash(self)
        self.disconnect()

    def pause(self, seconds: float) -> None:
        """Let the process stand still; what arrives meanwhile waits for it."""
        self.cluster.event_log.note("pauses", self.name, seconds)
        self.clock.pause(seconds)

    def suspend(self, seconds: float) -> None:
        """Let the machine sleep with everything on it; true time goes on."""
        self.cluster.event_log.note("pauses", self.name, seconds)
        self.clock.suspend(seconds)

    def _deliver(self, message: Message) -> None:
        if self.is_up:
            self.clock.call_now(self.replica.step, message)

    def _later(self, function: Callable[..., object], *arguments: object) -> None:
        if self.is_up:
            self.clock.callLater(0, function, *arguments)

    def _crashed(self, failure: Failure) -> None:
        self.cluster.event_log.note("crashes by itself", self.name, repr(failure.value))
        self.failure = failure
        self.cluster.failures.append(failure)
        self.kill()

    def _lost_power(self, restart_s: float, point: str) -> None:
        self.cluster.event_log.note("loses power", self.name, point)
        self.kill()
        self.cluster.clock.callLater(restart_s, self.boot_if_down)

    def _watch(self) -> None:
        if self.is_up:
            self.cluster.check(self)
            self.cluster.watch(self)

    def _role_changed(self, role: Role, leader: MemberID | None, term: int) -> None:
        assert leader is None or term > 0
        self.cluster.event_log.note("is", self.name, role.value, "of", leader or "nobody", term)
        self.roles.append((self.cluster.clock.seconds(), role, term))
