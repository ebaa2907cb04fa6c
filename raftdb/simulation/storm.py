"""One run: a cluster, clients and faults from one seed; then everything is healed and judged.

``python -m raftdb.simulation.storm SEED [NODES]`` repeats a run and prints what came of it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from raftdb.errors import Corrupt, DataLost, StorageError
from raftdb.raft.config import Config
from raftdb.replica import Options
from raftdb.simulation.cluster import Cluster
from raftdb.simulation.linearizability import check
from raftdb.simulation.nemesis import Nemesis
from raftdb.simulation.reshuffle import Reshuffle
from raftdb.simulation.workload import Client, Record

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


@implementer(ILogObserver)
class _Unheard:
    """Collects exceptions in Deferreds that nobody waits for: they are only logged."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def __call__(self, event: LogEvent) -> None:
        """Look at one event of the log."""
        if "log_failure" in event and event.get("log_namespace") == Deferred.__module__:
            self.failures.append(event["log_failure"])


def run(
    seed: int,
    names: str = "abc",
    *,
    storm_s: float = 12.0,
    durable: bool = False,
    reconfigure: bool = False,
    options: Options | None = None,
    configure: Callable[[Config], Config] = lambda config: config,
) -> Outcome:
    """Run one seed.

    :param names: one letter per node
    :param storm_s: how long faults happen, in simulated seconds
    :param durable: whether on the production storage
    :param reconfigure: whether members come and go
    :raises AssertionError: naming the promise that was broken
    """
    unheard = _Unheard()
    globalLogPublisher.addObserver(unheard)
    try:
        outcome = _run(
            Cluster(seed, names, durable=durable, options=options, configure=configure),
            storm_s=storm_s,
            reconfigure=reconfigure,
        )
    finally:
        globalLogPublisher.removeObserver(unheard)
    assert not unheard.failures, unheard.failures[0].getTraceback()
    return outcome


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
    reshuffle = Reshuffle(cluster, Random(f"{seed}/reshuffle"))
    if reconfigure:
        reshuffle.start()
    cluster.run_for(storm_s)
    reshuffle.stop()
    nemesis.stop()
    cluster.result(_write_at_last(cluster), limit_s=HEAL_S)
    for client in clients:
        client.stop()
    reshuffle.forget_strangers()
    cluster.converge()
    _judge(cluster, record)
    assert cluster.leader is not None
    return Outcome(
        cluster.network.digest,
        record.answered,
        len(record.acknowledged),
        sum(node.boots for node in cluster.nodes.values()),
        cluster.leader.replica.term,
        reshuffle.changes,
    )


def _write_at_last(cluster: Cluster) -> Deferred[None]:
    """Return a Deferred that fires once a write has succeeded, tried again and again."""
    done: Deferred[None] = Deferred()

    def attempt() -> None:
        leader = cluster.leader
        if leader is None:
            again()
        else:
            written = leader.database.put([(b"healed", b"yes")], timeout_s=0.5)
            written.addCallbacks(lambda _: done.callback(None), lambda _: again())

    def again() -> None:
        cluster.clock.callLater(0.02, attempt)

    attempt()
    return done


def _judge(cluster: Cluster, record: Record) -> None:
    leader = cluster.leader
    assert leader is not None
    for value, (key, revision) in record.acknowledged.items():
        kept = leader.machine.kv.get(key, revision)
        found = None if kept is None else kept.value
        assert found == value, f"{key!r} = {value!r} was acknowledged; there is {found!r}"
    violation = check(record.history)
    assert violation is None, str(violation)
    election_s = 8 * cluster.options.tick_s
    late = record.freshness.older_than(election_s)
    assert late is None, f"older than its bound: {late}"
    back = record.freshness.backwards()
    assert back is None, f"went backwards: {back}"
    for failure in cluster.failures:
        # A disk that fails to sync ends its node; nothing else may.
        by_disk = isinstance(failure.value, StorageError | OSError) and not isinstance(
            failure.value, Corrupt | DataLost
        )
        assert by_disk, f"a node crashed by itself: {failure}"


if __name__ == "__main__":
    print(run(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "abc"))  # noqa: T201
