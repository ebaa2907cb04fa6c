"""The people who run a simulated cluster: nodes join, leave, move and come back by production's own ways."""

from __future__ import annotations

from random import Random

from raftdb.raft.types import MemberID
from raftdb.simulation.nodes.wired import WiredCluster
from raftdb.simulation.nodes.wired_node import WiredNode

NEWCOMERS_MAX = 8

SETTLE_S = 15.0
"""Within how long a healed cluster has taken in, promoted, told and recorded everybody."""

NOTICED_S = 1.5
"""After which a leader knows of a death: CheckQuorum's election timeout and two more of patience."""

AGAIN_S = 0.3
"""After which somebody who came to nothing is tried again."""


class Operators:
    """Does something about the members every now and then.

    :param cluster: keeps the size it began with, or one more
    :param rng: draws what, whom and when
    :ivar changes: that came about, of the membership or of who leads
    """

    def __init__(self, cluster: WiredCluster, rng: Random) -> None:
        self._cluster = cluster
        self._rng = rng
        self._size = len(cluster.nodes)
        self._invited = 0
        self._stopped = False
        self.changes = 0

    def start(self) -> None:
        """Begin, a little later."""
        self._cluster.clock.callLater(self._rng.uniform(0.1, 0.5), self._step)

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopped = True

    def forget_strangers(self) -> None:
        """Wait until everybody who belongs is in and everybody else is gone; take the gone away.

        :raises AssertionError: somebody is not taken in, promoted or told, or not known by its address
        """
        cluster = self._cluster
        ends_s = cluster.clock.seconds() + SETTLE_S
        cluster.clock.run_until(ends_s, stop=lambda: self.unsettled() is None)
        left = self.unsettled()
        assert left is None, f"{left}, {SETTLE_S} s after everything was healed"
        leader = cluster.leader
        assert leader is not None
        members = leader.replica.core.conf_state.members
        for newcomer in cluster.newcomers.values():
            newcomer.kill()
        cluster.newcomers.clear()
        for name, node in list(cluster.nodes.items()):
            if node.member not in members:
                node.kill()
                cluster.lossy_streams.forget(name)
                del cluster.nodes[name]

    def unsettled(self) -> str | None:
        """Say what is still to come about, None when everything has."""
        cluster = self._cluster
        leader = cluster.leader
        if leader is None or not leader.replica.lease_fresh():
            return "nobody leads"
        conf = leader.replica.core.conf_state
        table = cluster.nodes[leader.name].machine.members
        for name, newcomer in cluster.newcomers.items():
            if newcomer.can_ask(conf.members):
                return f"{name} is not taken in"
        for node in cluster.nodes.values():
            if not node.is_up:
                continue
            if node.member not in conf.members and node.knows(conf.members):
                return f"{node.name} was removed and not told"
            if node.member in conf.learners:
                return f"{node.name} is not made a voter"
            if table.get(node.member) not in {None, node.record}:
                return f"{node.name} moved and is not known there"
        return None

    def _step(self) -> None:
        if self._stopped:
            return
        cluster = self._cluster
        leader = cluster.leader
        if leader is not None and leader.replica.lease_fresh():
            self._act(cluster.nodes[leader.name])
        self.start()

    def _act(self, leader: WiredNode) -> None:
        cluster, rng = self._cluster, self._rng
        conf = leader.replica.core.conf_state
        chance = rng.random()
        if cluster.newcomers and chance < 0.1:
            self._lose_newcomer()
        elif chance < 0.25:
            self._move(leader, rng.choice(list(cluster.nodes.values())))
        elif chance < 0.35:
            self._bring_back()
        elif chance < 0.45:
            to = rng.choice(conf.voters).id
            leader.membership.transfer(to).addCallbacks(self._came_about, lambda _: None)
        elif len(conf.members) + len(cluster.newcomers) > self._size:
            self._remove(leader, rng.choice(conf.members))
        elif self._invited < NEWCOMERS_MAX:
            self._invited += 1
            cluster.invite(self._incarnation(f"new{self._invited}"))

    def _remove(self, leader: WiredNode, member: MemberID) -> None:
        """Remove a member, but not before the leader can know who has just been lost for good."""
        cluster = self._cluster
        now_s = cluster.clock.seconds()
        lost = [node for node in cluster.nodes.values() if node.is_lost or node.rotten]
        if any(now_s < node.died_s + NOTICED_S for node in lost):
            return
        cluster.event_log.note("is to be removed", member)
        cluster.removals += 1
        done = leader.membership.remove(member.id)
        done.addCallbacks(self._came_about, lambda _: None).addBoth(self._removal_over)

    def _removal_over(self, _: object) -> None:
        self._cluster.removals -= 1

    def _came_about(self, _: object) -> None:
        self.changes += 1

    def _lose_newcomer(self) -> None:
        """Let a process die that may have been taken in already: its disk is still empty."""
        cluster = self._cluster
        name = self._rng.choice(list(cluster.newcomers))
        cluster.event_log.note("dies before it belongs", name)
        cluster.newcomers.pop(name).kill()
        cluster.clock.callLater(AGAIN_S, cluster.invite, self._incarnation(name))

    def _incarnation(self, name: str) -> MemberID:
        return MemberID(name, self._rng.getrandbits(128))

    def _move(self, leader: WiredNode, node: WiredNode) -> None:
        """Restart a node at another address, where the others are found; its peers have to find out.

        1. a moves. 2. b moves before anybody knows where a is. 3. Neither can ever dial the other
        (seed 5022 of a mix with more moves): operators move one after the other.
        """
        nodes = self._cluster.nodes.values()
        members = leader.replica.core.conf_state.members
        known = all(
            one.machine.members.get(other.member) == other.record
            for one in (leader, node)
            for other in nodes
            if other.member in members and one.boots
        )
        if node.is_up and known:
            self._cluster.event_log.note("moves", node.name)
            node.kill()
            node.port += 1
            self._cluster.clock.callLater(self._rng.uniform(0.05, 0.5), node.boot_if_down)

    def _bring_back(self) -> None:
        """Start somebody again who was removed, with the old flags on the old disk."""
        gone = [node for node in self._cluster.nodes.values() if node.ended_removed]
        if gone:
            node = self._rng.choice(gone)
            self._cluster.event_log.note("is brought back", node.name)
            node.is_lost = False
            node.boot_if_down()
