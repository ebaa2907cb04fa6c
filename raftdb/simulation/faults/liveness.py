"""The liveness phase: a random majority is made good, the rest stays broken, and writes must go on.

Which nodes are needed depends on the configurations that are in force anywhere or may still come
into force: a majority of each of them is made good.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random

from twisted.internet.defer import Deferred

from raftdb.raft import confchange
from raftdb.raft.types import ConfState, MemberID
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.nodes.node import RESTART_S, SimulatedNode
from raftdb.state.kv.commands import Put

ELECTION_TIMEOUTS = 10
"""Within so many of them a write must succeed."""

BREAKAGES = ("dead", "deaf", "mute", "hung", "flapping", "half", "cut off", "full")
"""How a node outside the majority is broken, for good."""

SHAPES = ("majority", "majority", "ring", "bridge", "one-way")
"""How the phase begins: a good majority, or good nodes whose links are partial."""


def configurations(cluster: Cluster, *, dead: bool = False) -> list[ConfState]:
    """Return every configuration in force on a running node, and every one its log may bring.

    :param dead: whether those count, too, that a dead node had when it died
    """
    found: dict[ConfState, None] = {}
    for node in cluster.nodes.values():
        if not node.is_up and not (dead and node.boots and not node.is_lost):
            continue
        core = node.replica.core
        conf_state = core.conf_state
        found[conf_state] = None
        log = core.state.log
        # A snapshot that is still to be loaded has its configuration in force already.
        loading = log.unstable_snapshot or log.restoring
        begin = log.applied if loading is None else loading.last.index
        lo = max(begin + 1, log.first_index)
        pending = list(core.state.handed_out_changes)
        if lo <= log.last_index:
            entries = log.entries(lo, log.last_index + 1, 1 << 30)
            pending += [entry.change for entry in entries if entry.change is not None]
        for change in pending:
            conf_state = confchange.apply(conf_state, change)
            found[conf_state] = None
    return list(found)


def healthy_majority(cluster: Cluster, rng: Random) -> list[SimulatedNode]:
    """Draw as few nodes as make a majority of every configuration.

    A learner that may be promoted meanwhile is one of them: the next configuration needs it.
    """
    confs = configurations(cluster)
    learners = [learner for conf in confs for learner in conf.learners] if cluster.promotes else []
    names = [name for name, node in cluster.nodes.items() if not node.is_lost]
    rng.shuffle(names)
    chosen = list(names)
    for name in names:
        if cluster.nodes[name].member in learners:
            continue
        rest = [other for other in chosen if other != name]
        if _are_enough(confs, [cluster.nodes[other].member for other in rest]):
            chosen = rest
    return [cluster.nodes[name] for name in cluster.nodes if name in chosen]


def is_spare(cluster: Cluster, node: SimulatedNode) -> bool:
    """Whether every configuration has a majority without ``node`` and all that is lost already."""
    others = [one for one in cluster.nodes.values() if one is not node and not one.is_lost]
    left = [one.member for one in others]
    return _are_enough(configurations(cluster, dead=True), left)


def _are_enough(confs: list[ConfState], members: list[MemberID]) -> bool:
    """Whether ``members`` are a majority of every configuration."""
    return all(
        _is_quorum(conf.voters, members) and _is_quorum(conf.voters_outgoing, members)
        for conf in confs
    )


def _is_quorum(voters: tuple[MemberID, ...], members: list[MemberID]) -> bool:
    return not voters or sum(voter in members for voter in voters) > len(voters) // 2


class Liveness:
    """One liveness phase.

    :param cluster: in whatever state the storm left it; nobody repairs anything any more
    :param rng: draws who is good, and how the others are broken
    :param partial: whether the shapes are allowed in which all nodes are good and links are not
    """

    def __init__(self, cluster: Cluster, rng: Random, *, partial: bool) -> None:
        self._cluster = cluster
        self._rng = rng
        self._partial = partial
        self._over = False

    def run(self) -> None:
        """Break what is to be broken, and demand a write.

        :raises AssertionError: none succeeded in time
        """
        cluster = self._cluster
        for node in list(cluster.nodes.values()):
            # A node that is down has a configuration, too, that may come into force.
            node.host.mend()
            node.boot_if_down()
        # Only now it is known who is lost: a damaged node refuses to start.
        nodes = [node for node in cluster.nodes.values() if not node.is_lost]
        partial = self._partial and not cluster.lost_a_node
        shape = self._rng.choice(SHAPES) if partial else SHAPES[0]
        good = healthy_majority(cluster, self._rng) if shape == "majority" else nodes
        told = [f"{shape}: {', '.join(node.name for node in good)} are well"]
        cluster.network.clear_weather()
        cluster.network.mend()
        if shape == "majority":
            told += [self._break(node, good) for node in nodes if node not in good]
        else:
            self._shape(shape)
        cluster.event_log.note("liveness:", ", ".join(told))
        self._supervise(good)
        pause_s = max((node.clock.pause_left_s for node in good if node.is_up), default=0.0)
        cluster.run_for(pause_s)
        limit_s = ELECTION_TIMEOUTS * cluster.election_s
        try:
            cluster.result(write_at_last(cluster, timeout_s=limit_s), limit_s=limit_s)
        except AssertionError:
            if not _are_enough(configurations(cluster), [node.member for node in good]):
                # A change that was on its way to a paused node has come into force since.
                cluster.event_log.note("liveness: others are needed by now")
                return
            raise AssertionError(
                f"no write within {ELECTION_TIMEOUTS} election timeouts: {', '.join(told)}"
            ) from None
        finally:
            self._over = True

    def _supervise(self, good: list[SimulatedNode]) -> None:
        """Start a good node again that ends, as every service manager does.

        A slow disk can report after its repair that a sync failed before: that ends the node.
        """
        if self._over:
            return
        for node in good:
            node.boot_if_down()
        self._cluster.clock.callLater(RESTART_S, self._supervise, good)

    def _shape(self, shape: str) -> None:
        network = self._cluster.network
        names = list(self._cluster.nodes)
        self._rng.shuffle(names)
        if shape == "ring":
            network.ring(names)
        elif shape == "bridge":
            network.bridge(names)
        else:
            # A majority is connected; from all others something passes one way only.
            connected = names[: len(names) // 2 + 1]
            for other in names[len(connected) :]:
                for one in connected:
                    ends = (one, other) if self._rng.random() < 0.5 else (other, one)
                    network.cut(*ends)

    def _break(self, node: SimulatedNode, good: list[SimulatedNode]) -> str:
        how = self._rng.choice(BREAKAGES)
        network = self._cluster.network
        others = [other.name for other in self._cluster.nodes.values() if other is not node]
        match how:
            case "dead":
                node.kill()
            case "deaf":
                for other in others:
                    network.cut(other, node.name)
            case "mute":
                for other in others:
                    network.cut(node.name, other)
            case "hung":
                node.host.hangs = True
            case "flapping":
                self._flap(node.name, others)
            case "half" | "full":
                # A full disk matters where it keeps a leader in office that the others do not hear.
                node.host.fill(full=how == "full")
                for one in self._rng.sample(good, len(good) // 2):
                    network.cut(node.name, one.name)
                    network.cut(one.name, node.name)
            case _:
                network.isolate(node.name)
        return f"{node.name} is {how}"

    def _flap(self, name: str, others: list[str], *, cut: bool = True) -> None:
        if self._over:
            return
        network = self._cluster.network
        act: Callable[[str, str], None] = network.cut if cut else network.restore
        for other in others:
            act(name, other)
            act(other, name)
        again = partial(self._flap, name, others, cut=not cut)
        self._cluster.clock.callLater(self._rng.uniform(0.1, 0.6), again)


def write_at_last(
    cluster: Cluster, *, timeout_s: float = 0.5, value: bytes = b"yes"
) -> Deferred[None]:
    """Return a Deferred that fires once a write has succeeded, tried wherever somebody leads."""
    done: Deferred[None] = Deferred()

    def attempt() -> None:
        if done.called:
            return
        for leader in cluster.leaders:
            written = leader.database.execute(Put(((b"healed", value),)), timeout_s=timeout_s)
            written.addCallbacks(succeeded, lambda _: None)
        cluster.clock.callLater(0.02, attempt)

    def succeeded(_: object) -> None:
        if not done.called:
            done.callback(None)

    attempt()
    return done
