"""What is measured: the rows of the tables, and what each system is asked for them."""

from __future__ import annotations

from typing import NamedTuple

CONNECTIONS = (1, 16, 64, 256)


class LoadRow(NamedTuple):
    """One kind of request under load.

    :param operations: what each system is asked, by the system's name
    :param against: the row whose figures of etcd stand beside ours, where it is not this one
    :param longer: numbers of connections that are measured twice as long: the promises are about them
    """

    name: str
    title: str
    operations: dict[str, str]
    longer: tuple[int, ...] = ()
    against: str = ""


def _all(operation: str) -> dict[str, str]:
    return dict.fromkeys(("raftdb", "etcd", "PySyncObj"), operation)


LOADS = (
    LoadRow("write", "write of one key", _all("write"), longer=(1, 64, 256)),
    LoadRow("write10", "write of 10 keys at once", _all("write10")),
    LoadRow("write100", "write of 100 keys at once", _all("write100"), longer=(16, 64, 256)),
    LoadRow(
        "stale",
        "read of a follower's own copy (raftdb stale, etcd serializable)",
        {"raftdb": "stale", "etcd": "serializable"},
        longer=(64,),
    ),
    LoadRow(
        "default",
        "read by the leader's lease (raftdb default; etcd has none)",
        {"raftdb": "default"},
        longer=(64,),
        against="stale",
    ),
    LoadRow(
        "consistent",
        "linearizable read (raftdb consistent, etcd linearizable)",
        {"raftdb": "consistent", "etcd": "linearizable"},
        longer=(64,),
    ),
)

FAILOVER = "failover"
VISIBLE = "visible"
GROWTH = "growth"
MILLION = "million"

NAMES = (*(row.name for row in LOADS), FAILOVER, VISIBLE, GROWTH, MILLION)
"""All rows, in the order in which they are measured."""

FIGURES = {
    "failover_s": "kill -9 of the leader to the next acknowledged write, s",
    "visible_ms": "acknowledged write to its being seen on a follower, ms",
    "memory_100k_mb": "memory with 100,000 keys of 100 bytes, leader, MB",
    "memory_100k_follower_mb": "memory with 100,000 keys, follower, MB",
    "restart_100k_s": "restart of a follower with 100,000 keys until it serves, s",
    "catch_up_50k_s": "start of a follower that missed 50,000 keys until it has them, s",
    "catch_up_50k_serving_s": "the same, from when it serves what it had, s",
    "memory_1m_mb": "memory with 1,000,000 keys, leader, MB",
    "memory_1m_follower_mb": "memory with 1,000,000 keys, follower, MB",
    "restart_1m_s": "restart of a follower with 1,000,000 keys until it serves, s",
    "stall_start_ms": "largest stall of the event loop from the start of the nodes to the first write, ms",
    "stall_1m_ms": "the same after 1,000,000 keys were written and snapshots of them taken, ms",
    "stall_1m_snapshot_ms": "largest stall seen from outside during a snapshot of 1,000,000 keys, ms",
}
"""What is measured without a load of many clients, by its name in the results."""
