"""Faults drawn from a seed: crashes, pauses, cuts, bad weather, disks that hang, transfers."""

from __future__ import annotations

from random import Random

from raftdb.simulation.cluster import Cluster, Machinery, SimulatedNode


class Nemesis:
    """Does something nasty every now and then.

    :param cluster: the victim
    :param rng: draws what, whom and when
    :param interval_s: between two faults, on average
    """

    def __init__(self, cluster: Cluster, rng: Random, *, interval_s: float = 0.6) -> None:
        self._cluster = cluster
        self._rng = rng
        self._interval_s = interval_s
        self._stopped = False
        self._faults = (
            self._kill,
            self._kill,
            self._kill_all,
            self._isolate,
            self._deafen,
            self._pause,
            self._weather,
            self._hang,
            self._fail,
            self._fill,
            self._transfer,
        )

    def start(self) -> None:
        """Begin, a little later."""
        self._schedule()

    def stop(self) -> None:
        """Begin nothing new, and make everything good again."""
        self._stopped = True
        self._cluster.heal()

    def _schedule(self) -> None:
        delay_s = self._rng.uniform(0.0, 2 * self._interval_s)
        self._cluster.clock.callLater(delay_s, self._strike)

    def _strike(self) -> None:
        if self._stopped:
            return
        self._rng.choice(self._faults)()
        self._schedule()

    def _victim(self) -> SimulatedNode:
        return self._rng.choice(list(self._cluster.nodes.values()))

    def _kill(self) -> None:
        self._kill_one(self._victim())

    def _kill_one(self, node: SimulatedNode) -> None:
        if node.is_up:
            node.kill()
            self._cluster.clock.callLater(self._rng.uniform(0.05, 2.0), node.boot_if_down)

    def _kill_all(self) -> None:
        for node in self._cluster.nodes.values():
            self._kill_one(node)

    def _isolate(self) -> None:
        names = list(self._cluster.nodes)
        group = self._rng.sample(names, self._rng.randint(1, len(names)))
        self._cluster.network.isolate(*group)
        self._cluster.clock.callLater(self._rng.uniform(0.1, 3.0), self._cluster.network.mend)

    def _deafen(self) -> None:
        one, other = self._victim(), self._victim()
        self._cluster.network.cut(one.name, other.name)
        self._cluster.clock.callLater(self._rng.uniform(0.1, 3.0), self._cluster.network.mend)

    def _pause(self) -> None:
        node = self._victim()
        if node.is_up:
            node.pause(self._rng.uniform(0.05, 2.0))

    def _weather(self) -> None:
        weather = self._cluster.network.weather
        weather.loss = self._rng.choice((0.0, 0.05, 0.3))
        weather.repetition = self._rng.choice((0.0, 0.2))
        weather.delay_max_s = self._rng.choice((0.002, 0.02, 0.1))

    def _hang(self) -> None:
        machinery = self._victim().machinery
        machinery.hangs = True
        self._cluster.clock.callLater(self._rng.uniform(0.1, 2.0), self._release, machinery)

    def _fail(self) -> None:
        node = self._victim()
        node.machinery.fail()
        for delay_s in (1.0, 2.0, 4.0):
            self._cluster.clock.callLater(delay_s, node.boot_if_down)

    def _fill(self) -> None:
        machinery = self._victim().machinery
        machinery.fill(full=True)
        self._cluster.clock.callLater(self._rng.uniform(0.5, 3.0), machinery.fill, full=False)

    @staticmethod
    def _release(machinery: Machinery) -> None:
        machinery.hangs = False

    def _transfer(self) -> None:
        leader = self._cluster.leader
        if leader is not None:
            leader.replica.transfer_leadership(None, 1.0).addErrback(lambda _: None)
