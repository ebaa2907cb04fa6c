"""What is measured without a load of many clients: deaths, growth, restarts, catching up.

Each function does one thing to one system whose cluster is up and healthy, and leaves it so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from benchmarks.systems.base import System
from benchmarks.systems.http import Ask
from benchmarks.systems.raft_db import RaftDB

Add = Callable[[str, list[float]], None]
"""Takes the trials of a figure."""

SMALL = 100_000
LARGE = 1_000_000
MISSED = 50_000
LARGE_PER_REQUEST = 100
MARKS = 90_000_000
VISIBLE_WRITES = 100
RESTARTS = 3
CATCH_UPS = 2
LONG_S = 120.0
SETTLE_S = 1.0


def failover(system: System, add: Add, trials: int) -> None:
    """Kill the leader of three healthy nodes, wait for the next acknowledged write, start it again."""
    for trial in range(trials):
        leader = system.leader()
        time.sleep(SETTLE_S)
        killed = time.monotonic()
        system.kill(leader)
        add("failover_s", [system.next_write_s(killed)])
        system.restart(leader)
        system.leader()
        # It may follow and still be loading what it had: killing the next one then would measure that.
        system.fill(MARKS + trial, 1)
        _until_held(system, leader, MARKS + trial)


def visible(system: System, add: Add) -> None:
    """Write to the leader and look at a follower."""
    add("visible_ms", system.visible_ms(VISIBLE_WRITES))


def grow_small(system: System, add: Add, tell: Callable[[str], None]) -> None:
    """Write 100,000 keys one by one; weigh; restart a follower; let it miss 50,000 more."""
    tell("writing 100,000 keys")
    system.fill(0, SMALL)
    follower = system.follower()
    _until_held(system, follower, SMALL - 1)
    time.sleep(SETTLE_S)
    add("memory_100k_mb", [system.process(system.leader()).resident_mb])
    add("memory_100k_follower_mb", [system.process(follower).resident_mb])
    for trial in range(RESTARTS):
        tell(f"restarting a follower, {trial + 1} of {RESTARTS}")
        add("restart_100k_s", [_restart_s(system, system.follower(), SMALL - 1)])
        system.leader()
        time.sleep(SETTLE_S)
    for trial in range(CATCH_UPS):
        tell(f"a follower misses 50,000 keys, {trial + 1} of {CATCH_UPS}")
        first, follower = LARGE + trial * MISSED, system.follower()
        system.kill(follower)
        system.fill(first, MISSED)
        time.sleep(SETTLE_S)  # 50,000 entries may cause snapshots, which are no part of a catch-up
        began = time.monotonic()
        serving_s = _restart_s(system, follower, SMALL - 1, killed=True)
        _until_held(system, follower, first + MISSED - 1)
        caught_up_s = time.monotonic() - began
        add("catch_up_50k_s", [caught_up_s])
        add("catch_up_50k_serving_s", [caught_up_s - serving_s])
        system.leader()
        time.sleep(SETTLE_S)


def grow_large(system: System, add: Add, tell: Callable[[str], None]) -> None:
    """Write 1,000,000 keys, weigh, watch a snapshot (raftdb), restart a follower."""
    if isinstance(system, RaftDB):
        add("stall_start_ms", [_stall_ms(system)])
    tell("writing 1,000,000 keys")
    system.fill(0, LARGE, per_request=LARGE_PER_REQUEST)
    follower = system.follower()
    _until_held(system, follower, LARGE - 1)
    time.sleep(SETTLE_S)
    add("memory_1m_mb", [system.process(system.leader()).resident_mb])
    add("memory_1m_follower_mb", [system.process(follower).resident_mb])
    if isinstance(system, RaftDB):
        tell("waiting for a snapshot of 1,000,000 keys")
        _watch_snapshot(system, add)
    tell("restarting a follower with 1,000,000 keys")
    add("restart_1m_s", [_restart_s(system, follower, LARGE - 1)])


def _until_held(system: System, number: int, first: int) -> None:
    system.wait_until(lambda: system.holds(number, first), f"key {first}", LONG_S)


def _restart_s(system: System, number: int, first: int, *, killed: bool = False) -> float:
    """Kill a node, start it, and return how long it takes until its own copy shows a key."""
    if not killed:
        system.kill(number)
    began = time.monotonic()
    system.restart(number)
    _until_held(system, number, first)
    return time.monotonic() - began


def _watch_snapshot(system: RaftDB, add: Add) -> None:
    """Write the same keys again until the leader has taken a snapshot; measure its stalls.

    Once by its own metric, which covers all since its start, and once from outside: how long it
    takes to answer, asked every few milliseconds, while it takes that snapshot.
    """
    leader = system.leader()

    def snapshot_index() -> int:
        return int(str(system.status(leader).get("snapshot_index", 0)))

    before = snapshot_index()
    worst_s, ended = [0.0], threading.Event()

    def probe() -> None:
        while not ended.is_set():
            began = time.perf_counter()
            status, _ = system.ask(leader, Ask("GET", "/livez"), 5.0)
            if status:
                worst_s[0] = max(worst_s[0], time.perf_counter() - began)
            time.sleep(0.003)

    prober = threading.Thread(target=probe)
    prober.start()
    try:
        for first in range(0, LARGE, 10_000):
            system.fill(first, 10_000, per_request=LARGE_PER_REQUEST)
            if snapshot_index() > before:
                break
    finally:
        ended.set()
        prober.join()
    add("stall_1m_snapshot_ms", [worst_s[0] * 1000])
    add("stall_1m_ms", [_stall_ms(system)])


def _stall_ms(system: RaftDB) -> float:
    """Return the largest stall that any node has had since its start."""
    stalls = [system.status(n).get("event_loop_stall_max_s", 0.0) for n in system.running]
    return max(float(str(stall)) for stall in stalls) * 1000
