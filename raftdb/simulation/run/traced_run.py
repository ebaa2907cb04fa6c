"""A run that is told to the public TLA+ specification of etcd's raft: what a seed stands for, tamed.

Switched off is what that specification cannot follow: pre-votes, joint changes, and deaths that lose
what was not synced. All else stays as the seed has it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from raftdb.raft.config import Config
from raftdb.simulation.disk.memory_disk import Platter
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.nodes.event_log import EVENTS_KEPT
from raftdb.simulation.nodes.node import SimulatedNode
from raftdb.simulation.run.plan import Plan
from raftdb.simulation.run.run_seed import Verdict, run
from raftdb.simulation.trace.trace import Trace
from raftdb.simulation.trace.traced import TracedNode

HARMLESS = (
    "kill",
    "kill all",
    "burst",
    "isolate",
    "deafen",
    "bridge",
    "ring",
    "flap",
    "pause",
    "weather",
    "hang",
    "slow disk",
    "transfer",
    "wall clock",
)
"""The faults after which every node still has what it had."""

SWITCHED_OFF = (
    "pre-votes, joint changes, deaths that lose anything, and the phases that count on pre-votes"
)


@dataclass(frozen=True, slots=True)
class Traced:
    """A verdict and its trace."""

    verdict: Verdict
    trace: Trace


def tame(plan: Plan) -> Plan:
    """Return the plan without what the specification cannot follow.

    Without pre-votes a node that was away may cost an election, so the phases that forbid it go, too.
    """
    faults = tuple(fault for fault in plan.faults if fault in HARMLESS)
    plan = replace(plan, faults=faults, durable=False, wired=False)
    return replace(plan, liveness=False, manners=False)


def run_traced(plan: Plan, *, events_kept: int | None = EVENTS_KEPT) -> Traced:
    """Run a plan, tamed, and trace it."""
    trace = Trace()

    def found(plan: Plan, events_kept: int | None) -> Cluster:
        return Cluster(
            plan.seed,
            plan.names,
            options=plan.options,
            fast_failover=plan.fast_failover,
            events_kept=events_kept,
            configure=lambda config: _without_pre_votes(plan.limits.configure(config)),
            core=partial(TracedNode, trace),
            crash=_lose_nothing,
        )

    return Traced(run(tame(plan), events_kept=events_kept, found=found), trace)


def _without_pre_votes(config: Config) -> Config:
    return replace(config, pre_vote=False)


def _lose_nothing(node: SimulatedNode) -> None:
    core, disk = node.replica.core, node.host
    assert isinstance(core, TracedNode)
    assert isinstance(disk, Platter)
    core.dies(disk)
