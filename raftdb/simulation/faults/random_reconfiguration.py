"""Members that come and go while everything else happens: learners, promotions, removals, swaps."""

from __future__ import annotations

from random import Random

from raftdb.raft.types import ConfChange, ConfChangeKind, ConfChangeSingle, ConfState, MemberID
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.nodes.founding import member_record
from raftdb.simulation.nodes.node import SimulatedNode
from raftdb.state.members import encode_context

NEWCOMERS_MAX = 8

SETTLES_S = 10.0
"""Within so long a healed cluster has committed, or lost, whatever was proposed before."""


class RandomReconfiguration:
    """Proposes a change of the membership every now and then, by what the leader has in force.

    :param cluster: whose members change; it keeps the size it began with, or one more
    :param rng: draws what, whom and when
    """

    def __init__(self, cluster: Cluster, rng: Random) -> None:
        self._cluster = cluster
        self._rng = rng
        self._size = len(cluster.nodes)
        self._newcomers = 0
        self._stopped = False
        self.changes = 0
        """How many changes were applied."""

    def start(self) -> None:
        """Begin, a little later."""
        self._cluster.clock.callLater(self._rng.uniform(0.1, 0.5), self._step)

    def stop(self) -> None:
        """Propose nothing new."""
        self._stopped = True

    def forget_strangers(self) -> None:
        """Take away the nodes that the leader does not count among the members.

        A change that was proposed long ago may be committed only now, and make a voter of somebody
        who was none: it is waited for.
        """
        self._cluster.run_while(self._is_changing, limit_s=SETTLES_S)
        leader = self._cluster.leader
        if leader is not None:
            members = leader.replica.core.conf_state.members
            for name, node in list(self._cluster.nodes.items()):
                if node.member not in members:
                    node.kill()
                    del self._cluster.nodes[name]

    def _is_changing(self) -> bool:
        leader = self._cluster.leader
        if leader is None:
            return True
        core = leader.replica.core
        return core.conf_state.is_joint or leader.replica.applied < core.state.log.last_index

    def _step(self) -> None:
        if self._stopped:
            return
        leader = self._cluster.leader
        if leader is not None and leader.replica.lease_fresh():
            change = self._change(leader)
            if change is not None:
                proposed = leader.replica.propose_conf_change(change, 1.0)
                proposed.addCallbacks(self._applied, lambda _: None)
        self.start()

    def _applied(self, _: object) -> None:
        self.changes += 1

    def _change(self, leader: SimulatedNode) -> ConfChange | None:
        conf = leader.replica.core.conf_state
        if conf.is_joint:
            return None
        if conf.learners:
            return self._promotion(leader, conf, conf.learners[0])
        if len(conf.voters) > self._size:
            return _change(ConfChangeKind.REMOVE, self._rng.choice(conf.voters))
        if self._newcomers < NEWCOMERS_MAX:
            self._newcomers += 1
            node = self._cluster.add_blank(f"new{self._newcomers}")
            node.boot()
            return _change(ConfChangeKind.ADD_LEARNER, node.member)
        return None

    def _promotion(
        self, leader: SimulatedNode, conf: ConfState, learner: MemberID
    ) -> ConfChange | None:
        if self._rng.random() < 0.1:
            return _change(ConfChangeKind.REMOVE, learner)
        peer = leader.replica.status().raft.peers.get(learner)
        if peer is None or peer.match < leader.replica.applied - 5:
            return None
        promotion = ConfChangeSingle(ConfChangeKind.ADD_VOTER, learner)
        if self._rng.random() < 0.5:
            return ConfChange(changes=(promotion,))
        leaves = ConfChangeSingle(ConfChangeKind.REMOVE, self._rng.choice(conf.voters))
        return ConfChange(changes=(promotion, leaves))


def _change(kind: ConfChangeKind, member: MemberID) -> ConfChange:
    context = b"" if kind is ConfChangeKind.REMOVE else encode_context((member_record(member),))
    return ConfChange(changes=(ConfChangeSingle(kind, member),), context=context)
