"""One seed, from its plan to a verdict: storm, a broken minority, healing, judgement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from raftdb.simulation.faults.liveness import Liveness, write_at_last
from raftdb.simulation.faults.nemesis import Nemesis
from raftdb.simulation.faults.operators import Operators
from raftdb.simulation.faults.random_reconfiguration import RandomReconfiguration
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.nodes.event_log import EVENTS_KEPT
from raftdb.simulation.nodes.wired import WiredCluster
from raftdb.simulation.run.disruption import check_manners
from raftdb.simulation.run.plan import Plan, draw
from raftdb.simulation.run.verdict import in_words, judge, judge_crashes, nothing_unheard
from raftdb.simulation.run.wired_disruption import check_wired_manners
from raftdb.simulation.run.workload import Client, Record

HEAL_S = 2.0
"""Within how long after the last fault a write must succeed: an election, twice over."""

CALM_S = 10.0
"""Within how long after that everybody must have applied what the leader has."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one seed.

    :param plan: what was run
    :param digest: a hash of everything that crossed the network, and when
    :param violation: the broken promise in words, None where all were kept
    :param events: the newest events, the oldest first
    :param answered: operations of clients
    :param acknowledged: values written and acknowledged
    :param boots: of all nodes together
    :param term: reached
    :param changes: of the membership
    """

    plan: Plan
    digest: str
    violation: str | None
    events: tuple[str, ...]
    answered: int
    acknowledged: int
    boots: int
    term: int
    changes: int


def run_seed(seed: int) -> Verdict:
    """Run what a seed stands for."""
    return run(draw(seed))


def found(plan: Plan, events_kept: int | None) -> Cluster:
    """Return the cluster of a plan, not started yet."""
    kind = WiredCluster if plan.wired else Cluster
    return kind(
        plan.seed,
        plan.names,
        options=plan.options,
        durable=plan.durable,
        fast_failover=plan.fast_failover,
        events_kept=events_kept,
        drift=plan.drift,
        configure=plan.limits.configure,
    )


def run(
    plan: Plan,
    *,
    events_kept: int | None = EVENTS_KEPT,
    found: Callable[[Plan, int | None], Cluster] = found,
) -> Verdict:
    """Run a plan; a broken promise is part of the verdict, never an error."""
    return Run(plan, events_kept=events_kept, found=found).verdict()


class Run:
    """One run.

    :param plan: what happens
    :param events_kept: how many of the newest events can be told, None for all
    :param found: makes the cluster
    """

    def __init__(
        self,
        plan: Plan,
        *,
        events_kept: int | None = EVENTS_KEPT,
        found: Callable[[Plan, int | None], Cluster] = found,
    ) -> None:
        self.plan = plan
        self.cluster = found(plan, events_kept)
        seed = plan.seed
        self.record = Record()
        self.clients = [
            Client(
                self.cluster,
                number,
                Random(f"{seed}/client/{number}"),
                self.record,
                keys=plan.keys,
                pause_s=plan.pause_s,
            )
            for number in range(plan.clients)
        ]
        people = Random(f"{seed}/reshuffle")
        self.reconfiguration: Operators | RandomReconfiguration
        if isinstance(self.cluster, WiredCluster):
            self.reconfiguration = Operators(self.cluster, people)
        else:
            self.reconfiguration = RandomReconfiguration(self.cluster, people)
        self.nemesis = Nemesis(
            self.cluster,
            Random(f"{seed}/nemesis"),
            interval_s=plan.interval_s,
            faults=plan.faults,
        )

    def verdict(self) -> Verdict:
        """Run it and say what came of it."""
        violation = self._violation()
        cluster = self.cluster
        return Verdict(
            plan=self.plan,
            digest=cluster.network.digest,
            violation=violation,
            events=tuple(cluster.event_log.lines()),
            answered=self.record.answered,
            acknowledged=len(self.record.acknowledged),
            boots=sum(node.boots for node in cluster.nodes.values()),
            term=max(cluster.safety.leaders, default=0),
            changes=self.reconfiguration.changes,
        )

    def _violation(self) -> str | None:
        try:
            with nothing_unheard():
                self._run()
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the verdict
            self.cluster.event_log.close()
            # A node that ended by itself is the cause of whatever followed from it.
            try:
                judge_crashes(self.cluster)
            except AssertionError as cause:
                return in_words(cause)
            return in_words(error)
        return None

    def _run(self) -> None:
        cluster, plan = self.cluster, self.plan
        cluster.boot()
        cluster.await_leader()
        for client in self.clients:
            client.start()
        self.nemesis.start()
        if plan.reconfigure:
            self.reconfiguration.start()
        cluster.run_for(plan.storm_s)
        self.reconfiguration.stop()
        self.nemesis.cease()
        if plan.liveness:
            partial = not plan.reconfigure
            Liveness(cluster, Random(f"{plan.seed}/liveness"), partial=partial).run()
        self.nemesis.stop()
        cluster.event_log.note("everything is healed")
        healed = write_at_last(cluster)
        pause_s = max(node.clock.pause_left_s for node in cluster.nodes.values() if node.is_up)
        cluster.result(healed, limit_s=HEAL_S + pause_s)
        for client in self.clients:
            client.stop()
        self.reconfiguration.forget_strangers()
        cluster.converge(limit_s=CALM_S + pause_s)
        judge(cluster, self.record)
        if plan.manners:
            check_manners(cluster, narrow=plan.narrow)
            if isinstance(cluster, WiredCluster):
                chance = Random(f"{plan.seed}/copied")
                check_wired_manners(cluster, chance, copied=plan.copied)
            judge_crashes(cluster)
