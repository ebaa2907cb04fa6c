"""What must be true at the end of a run, and a broken promise in words."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from raftdb.errors import Corrupt, DataLost, StorageError
from raftdb.simulation.checks.linearizability import check
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.run.workload import Record


def judge(cluster: Cluster, record: Record) -> None:
    """Judge what the clients saw and why nodes ended, once the cluster is at rest.

    :raises AssertionError: naming the promise that was broken
    """
    leader = cluster.leader
    assert leader is not None, "nobody leads"
    judge_crashes(cluster)
    for value, (key, revision) in record.acknowledged.items():
        kept = leader.machine.kv.get(key, revision)
        found = None if kept is None else kept.value
        assert found == value, f"lost: {key!r} = {value!r} was acknowledged; there is {found!r}"
    violation = check(record.history)
    assert violation is None, f"not linearizable: {violation}"
    late = record.freshness.older_than(cluster.election_s)
    assert late is None, f"older than its bound: {late}"
    back = record.freshness.backwards()
    assert back is None, f"went backwards: {back}"


def judge_crashes(cluster: Cluster) -> None:
    """See to it that no node ended by itself but for its disk.

    :raises AssertionError: one did
    """
    for failure in cluster.failures:
        error = failure.value
        assert error is not None
        assert by_disk(failure), f"a node ended by itself: {in_words(error)}"


def by_disk(failure: Failure) -> bool:
    """Whether a node ended because its disk failed, as it should then, and for no other reason."""
    return isinstance(failure.value, StorageError | OSError) and not isinstance(
        failure.value, Corrupt | DataLost
    )


def in_words(error: BaseException) -> str:
    """Return what an error says; for a bare assertion, the line of code that is not true."""
    message = str(error)
    if message and not isinstance(error, AssertionError):
        return f"{type(error).__name__}: {message}"
    if message:
        return message
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    frame = frames[-1]
    return f"{type(error).__name__} in {frame.name}: {frame.line}"


@implementer(ILogObserver)
class Unheard:
    """Collects exceptions in Deferreds that nobody waits for: they are only logged."""

    def __init__(self) -> None:
        self.failures: list[Failure] = []

    def __call__(self, event: LogEvent) -> None:
        """Look at one event of the log."""
        if "log_failure" in event and event.get("log_namespace") == Deferred.__module__:
            self.failures.append(event["log_failure"])


@contextmanager
def nothing_unheard() -> Iterator[None]:
    """See to it that no error ends in the log alone.

    :raises AssertionError: one did
    """
    unheard = Unheard()
    globalLogPublisher.addObserver(unheard)
    try:
        yield
        gc.collect()  # a Deferred complains when it is collected
    finally:
        globalLogPublisher.removeObserver(unheard)
    for failure in unheard.failures:
        assert failure.value is not None
        raise AssertionError(f"{in_words(failure.value)}\n{failure.getTraceback()}")
