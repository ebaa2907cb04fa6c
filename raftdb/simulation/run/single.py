"""One run: a cluster, clients and faults from one seed; then everything is healed and judged.

``python -m raftdb.simulation.run.single SEED [NODES]`` repeats a run and prints what came of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from raftdb.raft.config import Config
from raftdb.replica import ReplicaOptions
from raftdb.simulation.faults.liveness import write_at_last
from raftdb.simulation.faults.nemesis import Nemesis
from raftdb.simulation.faults.random_reconfiguration import RandomReconfiguration
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.run.verdict import judge, nothing_unheard
from raftdb.simulation.run.workload import Client, Record

HEAL_S = 2.0
"""Within how long after the last fault a write must succeed: an election, twice over."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run in which every promise was kept.

    :param digest: a hash of everything that crossed the network, and when
    :param answered: operations of clients
    :param acknowledged: writes among them
    :param boots: of all nodes together
    :param term: reached
    :param changes: of the membership
    """

    digest: str
    answered: int
    acknowledged: int
    boots: int
    term: int
    changes: int


def run(
    seed: int,
    names: str = "abc",
    *,
    storm_s: float = 12.0,
    durable: bool = False,
    reconfigure: bool = False,
    options: ReplicaOptions | None = None,
    configure: Callable[[Config], Config] = lambda config: config,
) -> Outcome:
    """Run one seed.

    :param names: one letter per node
    :param storm_s: how long faults happen, in simulated seconds
    :param durable: whether on the production storage
    :param reconfigure: whether members come and go
    :raises AssertionError: naming the promise that was broken
    """
    cluster = Cluster(seed, names, durable=durable, options=options, configure=configure)
    with nothing_unheard():
        return _run(cluster, storm_s=storm_s, reconfigure=reconfigure)


def _run(cluster: Cluster, *, storm_s: float, reconfigure: bool) -> Outcome:
    seed = cluster.seed
    cluster.boot()
    cluster.await_leader()
    record = Record()
    clients = [
        Client(cluster, number, Random(f"{seed}/client/{number}"), record) for number in range(4)
    ]
    for client in clients:
        client.start()
    nemesis = Nemesis(cluster, Random(f"{seed}/nemesis"))
    nemesis.start()
    reconfiguration = RandomReconfiguration(cluster, Random(f"{seed}/reshuffle"))
    if reconfigure:
        reconfiguration.start()
    cluster.run_for(storm_s)
    reconfiguration.stop()
    nemesis.stop()
    cluster.result(write_at_last(cluster), limit_s=HEAL_S)
    for client in clients:
        client.stop()
    reconfiguration.forget_strangers()
    cluster.converge()
    judge(cluster, record)
    assert cluster.leader is not None
    return Outcome(
        cluster.network.digest,
        record.answered,
        len(record.acknowledged),
        sum(node.boots for node in cluster.nodes.values()),
        cluster.leader.replica.term,
        reconfiguration.changes,
    )


if __name__ == "__main__":
    print(run(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "abc"))  # noqa: T201
