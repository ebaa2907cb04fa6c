"""What is done to a cluster: each fault is a short story in the words of ``nodes.Cluster``.

A story makes its trouble, yields for as long as the trouble is to last, and then makes it good.
The write gap counts from the story's beginning, or from its last ``mark``; a story after which no
majority is left marks when there is one again.
"""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from tests.chaos.nodes import Cluster, Failed, Node, wait_until

Story: TypeAlias = Iterator[None]


@dataclass(frozen=True)
class Fault:
    """A story with its name and the sizes of clusters in which it makes sense."""

    name: str
    sizes: tuple[int, ...]
    tell: Callable[[Cluster, random.Random], Story]


FAULTS: list[Fault] = []
_Told: TypeAlias = Callable[[Cluster, random.Random], Story]


def fault(name: str, sizes: tuple[int, ...] = (3, 5)) -> Callable[[_Told], _Told]:
    """Put a story on the list."""

    def listed(tell: _Told) -> _Told:
        FAULTS.append(Fault(name, sizes, tell))
        return tell

    return listed


@fault("leader killed (kill -9)")
def leader_killed(c: Cluster, _: random.Random) -> Story:
    leader = c.leader()
    c.mark()
    leader.kill()
    yield
    leader.start()


@fault("leader cut off from all nodes")
def leader_isolated(c: Cluster, _: random.Random) -> Story:
    leader = c.leader()
    c.mark()
    c.part([leader], c.nodes)
    yield


@fault("leader stopped (SIGSTOP)")
def leader_paused(c: Cluster, _: random.Random) -> Story:
    leader = c.leader()
    c.mark()
    leader.signal(signal.SIGSTOP)
    yield
    leader.signal(signal.SIGCONT)


@fault("leader hears nobody")
def leader_deaf(c: Cluster, _: random.Random) -> Story:
    leader = c.leader()
    c.mark()
    c.cut(c.nodes, [leader])
    yield


@fault("leader is heard by nobody")
def leader_mute(c: Cluster, _: random.Random) -> Story:
    leader = c.leader()
    c.mark()
    c.cut([leader], c.nodes)
    yield


@fault("leader's disk full")
def disk_full(c: Cluster, _: random.Random) -> Story:
    """A segment's rest is used up first: what has its room may still be written."""
    c.lead(c.small)
    c.mark()
    c.small.fill_disk()
    use_up_log_space(c)
    yield
    c.small.empty_disk()


def use_up_log_space(c: Cluster) -> None:
    """Write large values until the small disk's node has no room for one more."""
    body = b"x" * 60_000

    def refused() -> bool:
        reply = c.small.ask("PUT", "/api/kv?key=large", body)
        return reply.error == "overloaded" or c.leader() is not c.small

    wait_until("the log to be full", refused)


@fault("leader's disk hangs")
def disk_hangs(c: Cluster, _: random.Random) -> Story:
    c.lead(c.hangable)
    c.mark()
    c.hangable.hang()
    yield
    c.hangable.unhang()


@fault("member replaced by a new one")
def member_replaced(c: Cluster, _: random.Random) -> Story:
    leaves, stays = c.nodes[0], c.nodes[1]
    c.lead(stays)
    c.mark()

    def removed() -> bool:  # a leader that is new may have to apply its first entry before
        reply = stays.ask("DELETE", f"/api/cluster/members/{leaves.name}")
        if reply.status != 200 and not reply.refused:
            raise Failed(f"removing {leaves.name}: {reply}")
        return reply.status == 200

    wait_until(f"{leaves.name} to be removed", removed)
    if leaves.wait() != 1:
        raise Failed(f"{leaves.name} was removed and did not exit with 1")
    c.nodes.remove(leaves)
    c.node().start()
    c.wait_until_settled()
    yield


@fault("rolling restart (SIGTERM)")
def rolling_restart(c: Cluster, _: random.Random) -> Story:
    for one in list(c.nodes):
        one.stop()
        one.start()
        c.wait_until_settled()
    yield


@fault("all killed; from when a majority is up again")
def power_cut(c: Cluster, _: random.Random) -> Story:
    for one in c.nodes:
        one.signal(signal.SIGKILL)
    for one in c.nodes:
        one.wait()
    yield
    for one in c.nodes:
        one.start()
    c.wait_until_majority_is_up()
    c.mark()


@fault("halves, the leader in the smaller")
def halves(c: Cluster, rng: random.Random) -> Story:
    leader, others = c.leader(), c.followers()
    rng.shuffle(others)
    few = [leader, *others[: (c.size - 1) // 2 - 1]]
    c.mark()
    c.part(few, [one for one in c.nodes if one not in few])
    yield


@fault("follower killed (kill -9)")
def follower_killed(c: Cluster, rng: random.Random) -> Story:
    victim = rng.choice(c.followers())
    c.mark()
    victim.kill()
    yield
    victim.start()


@fault("follower returns from isolation")
def follower_isolated(c: Cluster, rng: random.Random) -> Story:
    victim = rng.choice(c.followers())
    c.mark()
    c.part([victim], c.nodes)
    yield


@fault("follower's disk wiped")
def follower_wiped(c: Cluster, rng: random.Random) -> Story:
    victim = rng.choice([one for one in c.followers() if one is not c.small])
    c.mark()
    victim.kill()
    victim.wipe()
    victim.joins(next(one for one in c.nodes if one is not victim))
    victim.start()
    yield


@fault("leader's link slow and lossy")
def leader_slow(c: Cluster, _: random.Random) -> Story:
    leader = c.leader()
    c.mark()
    c.lab.slow(leader.name)
    yield


@fault("leader reaches one node only")
def leader_at_bridge(c: Cluster, rng: random.Random) -> Story:
    leader, others = c.leader(), c.followers()
    friend = rng.choice(others)
    c.mark()
    c.part([leader], [one for one in others if one is not friend])
    yield


@fault("ring: each reaches two neighbours", (5,))
def ring(c: Cluster, rng: random.Random) -> Story:
    order = list(c.nodes)
    rng.shuffle(order)
    c.mark()
    for place, one in enumerate(order):
        c.cut([one], [order[(place + 2) % 5], order[(place + 3) % 5]])
    yield


@fault("halves with a bridge between them", (5,))
def bridge(c: Cluster, rng: random.Random) -> Story:
    order: list[Node] = list(c.nodes)
    rng.shuffle(order)
    c.mark()
    c.part(order[:2], order[3:])
    yield


@fault("two killed at once, the leader too", (5,))
def two_killed(c: Cluster, rng: random.Random) -> Story:
    victims = [c.leader(), rng.choice(c.followers())]
    c.mark()
    for one in victims:
        one.kill()
    yield
    for one in victims:
        one.start()
