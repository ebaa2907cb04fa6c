"""How a healthy cluster takes the absence of one node: pre-vote and CheckQuorum, seen from outside."""

from __future__ import annotations

from raftdb.raft.transfer import REACH_MIN
from raftdb.simulation.faults.liveness import ELECTION_TIMEOUTS, write_at_last
from raftdb.simulation.network.links import STRAGGLE_S
from raftdb.simulation.nodes.cluster import Cluster

ABSENCE_S = 2.0
RETURN_S = 1.0
HAND_OVER_S = 10.0
"""Within so long every transfer that was asked for has come about or was given up."""


MTU_BYTES = 1400
REACH_TIMEOUTS = REACH_MIN + 2 + ELECTION_TIMEOUTS
"""Within so many of them somebody else has to have written, where the leader's entries do not get through."""


def check_manners(cluster: Cluster, *, narrow: bool = False) -> None:
    """Cut off a follower, hang the leader's disk, cut off the leader, in a cluster where everything works.

    :param narrow: whether large frames of the leader are lost, too
    :raises AssertionError: the follower's return cost an election, or a leader led on that could
        do nothing for anybody
    """
    _await_transfers(cluster)
    leader = cluster.leader
    assert leader is not None
    voters = leader.replica.core.conf_state.voters
    absent = [voter.id for voter in voters if voter != leader.member]
    nodes = cluster.nodes
    up = [name for name in absent if name in nodes and nodes[name].is_up]
    if len(up) > len(voters) // 2:  # a quorum is left without one of them
        _check_return(cluster, up[0])
        _check_hung_disk(cluster)
        if narrow:
            _check_narrow(cluster)
    if absent:
        _check_cut_off(cluster)


def _await_transfers(cluster: Cluster) -> None:
    """Let every order to campaign arrive that was given before: it deposes a leader, as it should."""

    def hands_over() -> bool:
        up = [node for node in cluster.nodes.values() if node.is_up]
        return any(node.replica.core.status().transferee is not None for node in up)

    cluster.run_while(hands_over, limit_s=HAND_OVER_S)
    cluster.run_for(STRAGGLE_S)
    cluster.await_leader()


def _check_return(cluster: Cluster, absent: str) -> None:
    leader = cluster.leader
    assert leader is not None
    term = leader.replica.term
    cluster.event_log.note("is away", absent)
    cluster.network.isolate(absent)
    cluster.run_for(ABSENCE_S)
    cluster.network.mend()
    cluster.run_for(RETURN_S)
    now = cluster.leader
    assert now is leader, f"{absent} was away, and its return cost an election"
    assert now.replica.term == term, f"{absent} was away, and its return cost an election"


def _check_hung_disk(cluster: Cluster) -> None:
    leader = cluster.leader
    assert leader is not None
    cluster.event_log.note("has a hung disk", leader.name)
    leader.host.hangs = True
    limit_s = ELECTION_TIMEOUTS * cluster.election_s
    written: list[None] = []
    write_at_last(cluster, timeout_s=limit_s).addCallback(written.append)
    cluster.clock.run_until(cluster.clock.seconds() + limit_s, stop=lambda: bool(written))
    assert written, f"{leader.name} led on though its disk hung"
    leader.host.mend()
    cluster.await_leader()


def _check_narrow(cluster: Cluster) -> None:
    leader = cluster.leader
    assert leader is not None
    cluster.event_log.note("loses what is large of all it sends", leader.name)
    cluster.network.narrow(leader.name, MTU_BYTES)
    limit_s = REACH_TIMEOUTS * cluster.election_s
    written: list[None] = []
    large = write_at_last(cluster, timeout_s=limit_s, value=bytes(2 * MTU_BYTES))
    large.addCallback(written.append)
    cluster.clock.run_until(cluster.clock.seconds() + limit_s, stop=lambda: bool(written))
    assert written, f"{leader.name} led on though its entries reached nobody"
    cluster.network.mend()
    cluster.await_leader()


def _check_cut_off(cluster: Cluster) -> None:
    leader = cluster.leader
    assert leader is not None
    cluster.event_log.note("is cut off", leader.name)
    cluster.network.isolate(leader.name)
    cluster.run_for(2.25 * cluster.election_s)
    leads = leader in cluster.leaders
    assert not leads, f"{leader.name} led on alone for two election timeouts"
    cluster.network.mend()
