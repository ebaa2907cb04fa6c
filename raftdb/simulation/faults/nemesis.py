"""Faults drawn from a seed: crashes, pauses, cuts, bad weather, disks that hang, transfers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from raftdb.simulation.disk.damage import LogDamage
from raftdb.simulation.disk.host import DurableHost
from raftdb.simulation.disk.power import LIFE, START
from raftdb.simulation.faults.liveness import is_spare
from raftdb.simulation.faults.triggered import TriggeredFault
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.nodes.node import Machinery, SimulatedNode

FAULTS = (
    "kill",
    "kill all",
    "burst",
    "ambush",
    "failpoint",
    "isolate",
    "deafen",
    "bridge",
    "ring",
    "flap",
    "pause",
    "weather",
    "snap",
    "clog",
    "hang",
    "slow disk",
    "fail",
    "fill",
    "transfer",
    "wall clock",
    "rot",
    "misdirect",
    "behead",
    "wipe",
)
"""Everything that goes wrong in half of all runs, by name."""

RARE = ("suspend", "narrow")
"""What goes wrong more seldom; drawn apart, so that other seeds stand for what they stood for."""

NARROW_BYTES = (200, 400, 1400)
"""Above which a narrow link loses frames; the last is that of a network with a wrong MTU."""

LEADER_CHOSEN = 0.2
"""How often something is done to the leader because it leads."""


class Nemesis:
    """Does something nasty every now and then.

    :param cluster: the victim
    :param rng: draws what, whom and when
    :param interval_s: between two faults, on average
    :param faults: what it does, from :data:`FAULTS` and :data:`RARE`
    """

    def __init__(
        self,
        cluster: Cluster,
        rng: Random,
        *,
        interval_s: float = 0.6,
        faults: Sequence[str] = FAULTS,
    ) -> None:
        self._cluster = cluster
        self._rng = rng
        self._interval_s = interval_s
        self._stopped = False
        self._lost = False
        self._ambush = TriggeredFault(cluster, rng)
        acts: dict[str, Callable[[], None]] = {
            "kill": self._kill,
            "kill all": self._kill_all,
            "burst": self._burst,
            "ambush": self._lie_in_wait,
            "failpoint": self._set_trap,
            "isolate": self._isolate,
            "deafen": self._deafen,
            "bridge": self._bridge,
            "ring": self._ring,
            "flap": self._flap,
            "pause": self._pause,
            "weather": self._weather,
            "snap": self._snap,
            "clog": self._clog,
            "hang": self._hang,
            "slow disk": self._slow_disk,
            "fail": self._fail,
            "fill": self._fill,
            "transfer": self._transfer,
            "wall clock": self._wall_clock,
            "rot": self._rot,
            "misdirect": self._misdirect,
            "behead": self._behead,
            "wipe": self._wipe,
            "suspend": self._suspend,
            "narrow": self._narrow,
        }
        self._faults = [(name, acts[name]) for name in faults]

    def start(self) -> None:
        """Begin, a little later."""
        self._schedule()

    def cease(self) -> None:
        """Begin nothing new, and repair nothing either: what is broken stays so."""
        self._stopped = True
        self._ambush.leave()

    def stop(self) -> None:
        """Begin nothing new, and make everything good again."""
        self.cease()
        self._cluster.heal()

    def _schedule(self) -> None:
        delay_s = self._rng.uniform(0.0, 2 * self._interval_s)
        self._cluster.clock.callLater(delay_s, self._strike)

    def _strike(self) -> None:
        if self._stopped or not self._faults:
            return
        name, act = self._rng.choice(self._faults)
        self._cluster.event_log.note("fault:", name)
        act()
        self._schedule()

    def _later(self, low_s: float, high_s: float, act: Callable[[], None]) -> None:
        """Do something in a while, unless this is over by then."""
        delay_s = self._rng.uniform(low_s, high_s)
        self._cluster.clock.callLater(delay_s, lambda: None if self._stopped else act())

    def _victim(self) -> SimulatedNode:
        """Draw a node; more often than another one who leads, for most depends on it."""
        leader = self._cluster.leader
        if leader is not None and self._rng.random() < LEADER_CHOSEN:
            return leader
        return self._rng.choice(list(self._cluster.nodes.values()))

    # -- nodes --

    def _kill(self) -> None:
        self._kill_one(self._victim())

    def _kill_one(self, node: SimulatedNode) -> None:
        if node.is_up:
            node.kill()
            quickly = self._rng.random() < 0.3
            self._later(*((0.0, 0.03) if quickly else (0.05, 2.0)), node.boot_if_down)

    def _kill_all(self) -> None:
        for node in self._cluster.nodes.values():
            self._kill_one(node)

    def _burst(self) -> None:
        """Kill one node over and over, so soon after each start that little is saved or forgotten."""
        node, at_s = self._victim(), 0.0
        for _ in range(self._rng.randint(2, 6)):
            self._later(at_s, at_s, node.kill)
            at_s += self._rng.choice((0.001, 0.02, 0.1)) * self._rng.random()
            self._later(at_s, at_s, node.boot_if_down)
            at_s += self._rng.choice((0.003, 0.03, 0.3)) * self._rng.random()

    def _lie_in_wait(self) -> None:
        """Have something happen to a node just when it does what matters."""
        deeds: dict[str, Callable[[SimulatedNode], None]] = {
            "die": self._kill_one,
            "die with all others": lambda _: self._kill_all(),
            "be cut off": self._cut_off,
            "stand still": self._pause_one,
            "have its disk hang": self._hang_one,
            "hand leadership over": lambda _: self._transfer(),
        }
        name = self._rng.choice(tuple(deeds))
        deed = deeds[name]
        self._ambush.lie(name, lambda node: None if self._stopped else deed(node))

    def _set_trap(self) -> None:
        """Let the power of a node fail at a named durable step, perhaps one of its next start."""
        node = self._victim()
        if isinstance(node.host, DurableHost):
            dies = self._rng.random() < 0.3
            point = self._rng.choice(START if dies else LIFE)
            self._cluster.event_log.note("will lose power", node.name, point)
            node.host.trap.arm(point, self._rng.choice((0, 0, 1, 3)))
            if dies:
                self._kill_one(node)

    def _pause(self) -> None:
        self._pause_one(self._victim())

    def _pause_one(self, node: SimulatedNode) -> None:
        if node.is_up:
            node.pause(self._rng.uniform(0.05, 2.0))

    def _suspend(self) -> None:
        node = self._victim()
        if node.is_up:
            node.suspend(self._rng.uniform(0.3, 4.0))

    def _transfer(self) -> None:
        leader = self._cluster.leader
        if leader is not None:
            leader.replica.transfer_leadership(None, 1.0).addErrback(lambda _: None)

    def _wall_clock(self) -> None:
        """Set one node's wall clock, or all nodes', by milliseconds or by years, or to and fro."""
        nodes = list(self._cluster.nodes)
        chosen = nodes if self._rng.random() < 0.3 else [self._victim().name]
        step_ms = int(10 ** self._rng.uniform(1.0, 11.0)) * self._rng.choice((-1, 1))
        self._set_clocks(chosen, step_ms)
        if self._rng.random() < 0.3:
            for number in range(1, 20):
                at_s = number * self._rng.uniform(0.0, 0.1)
                self._later(at_s, at_s, partial(self._set_clocks, chosen, step_ms * (number % 2)))

    def _set_clocks(self, names: Sequence[str], step_ms: int) -> None:
        for name in names:
            self._cluster.wall_steps_ms[name] = step_ms

    # -- the network --

    def _isolate(self) -> None:
        names = list(self._cluster.nodes)
        group = self._rng.sample(names, self._rng.randint(1, len(names)))
        self._cluster.network.isolate(*group)
        self._later(0.1, 3.0, self._cluster.network.mend)

    def _cut_off(self, node: SimulatedNode) -> None:
        self._cluster.network.isolate(node.name)
        self._later(0.1, 3.0, self._cluster.network.mend)

    def _deafen(self) -> None:
        one, other = self._victim(), self._victim()
        self._cluster.network.cut(one.name, other.name)
        self._later(0.1, 3.0, self._cluster.network.mend)

    def _bridge(self) -> None:
        names = list(self._cluster.nodes)
        self._rng.shuffle(names)
        self._cluster.network.bridge(names)
        self._later(0.5, 3.0, self._cluster.network.mend)

    def _ring(self) -> None:
        names = list(self._cluster.nodes)
        self._rng.shuffle(names)
        self._cluster.network.ring(names)
        self._later(0.5, 3.0, self._cluster.network.mend)

    def _narrow(self) -> None:
        """Let large frames that a node sends, or is sent, be lost; small ones pass."""
        node = self._victim()
        bytes_max = self._rng.choice(NARROW_BYTES)
        self._cluster.network.narrow(node.name, bytes_max, inward=self._rng.random() < 0.3)
        self._later(0.5, 4.0, self._cluster.network.mend)

    def _flap(self) -> None:
        one, other = self._victim(), self._victim()
        network = self._cluster.network
        for number in range(8):
            act = network.restore if number % 2 else network.cut
            self._later(number / 4, number / 4, partial(act, one.name, other.name))

    def _weather(self) -> None:
        weather = self._cluster.network.weather
        weather.loss = self._rng.choice((0.0, 0.05, 0.3))
        weather.repetition = self._rng.choice((0.0, 0.2))
        weather.stragglers = self._rng.choice((0.0, 0.0, 0.05, 0.3))
        weather.delay_max_s = self._rng.choice((0.002, 0.02, 0.1))

    def _snap(self) -> None:
        for _ in range(self._rng.choice((1, 4, 16))):
            self._cluster.network.snap(self._rng)

    def _clog(self) -> None:
        one, other = self._victim(), self._victim()
        self._cluster.network.clog(one.name, other.name, self._rng.uniform(0.05, 2.0))

    # -- disks --

    def _hang(self) -> None:
        self._hang_one(self._victim())

    def _hang_one(self, node: SimulatedNode) -> None:
        host = node.host
        host.hangs = True
        self._later(0.1, 2.0, lambda: self._release(host))

    @staticmethod
    def _release(host: Machinery) -> None:
        host.hangs = False

    def _rot(self) -> None:
        """Flip a bit of one log, on one node of a run: the others keep what it had."""
        self._damage(LogDamage.flip)

    def _misdirect(self) -> None:
        """Let a write have landed in a wrong place of one disk, likewise."""
        self._damage(LogDamage.misdirect)

    def _behead(self) -> None:
        """Let the last segment of one log be gone, likewise."""
        self._damage(LogDamage.behead)

    def _damage(self, act: Callable[[LogDamage], str | None]) -> None:
        host = (node := self._victim()).host
        if self._may_lose(node) and isinstance(host, DurableHost) and node.is_up:
            node.kill()
            done = act(host.damage)
            if done is not None:
                self._cluster.event_log.note("is damaged", node.name, done)
                node.rotten = self._lost = True
            self._later(0.05, 1.0, node.boot_if_down)

    def _wipe(self) -> None:
        node = self._victim()
        if self._may_lose(node) and node.is_up:
            self._cluster.wipe(node.name)
            self._lost = True

    def _may_lose(self, node: SimulatedNode) -> bool:
        """Whether a majority is left without one node; no second one is lost in a run."""
        cluster = self._cluster
        if self._lost or cluster.removals or cluster.first_size < 3:
            return False
        return is_spare(cluster, node)

    def _slow_disk(self) -> None:
        """Let one disk, or every one, take its time from now on."""
        everybody = self._rng.random() < 0.3
        nodes = list(self._cluster.nodes.values()) if everybody else [self._victim()]
        save_max_s = self._rng.choice((0.002, 0.02, 0.1))
        for node in nodes:
            node.host.save_max_s = save_max_s

    def _fail(self) -> None:
        node = self._victim()
        node.host.fail()
        for delay_s in (1.0, 2.0, 4.0):
            self._later(delay_s, delay_s, node.boot_if_down)

    def _fill(self) -> None:
        host = self._victim().host
        host.fill(full=True)
        self._later(0.5, 3.0, lambda: host.fill(full=False))
