"""How a healthy wired cluster takes broken connections and a copied disk: it goes on, with who it was.

A data directory that was copied gives a second process the identity of a member. While the first is
alive its peers refuse the second and say so; a vote of each would be two votes of one member [R29].
"""

from __future__ import annotations

from random import Random

from raftdb.raft.types import MemberID
from raftdb.simulation.disk.host import DurableHost
from raftdb.simulation.nodes.node import Machinery
from raftdb.simulation.nodes.wired import WiredCluster
from raftdb.simulation.nodes.wired_node import WiredNode

WATCH_S = 1.0
"""For how long it is watched what comes of something: more than two election timeouts."""


class Ghost(WiredNode):
    """A second process with the identity of a member that is alive: nobody may let it in.

    :param cluster: that refuses it
    :param member: whose identity it has
    :param machinery: the copied disk
    :param name: of the host it runs on
    """

    def __init__(self, cluster: WiredCluster, member: MemberID, host: Machinery, name: str) -> None:
        super().__init__(cluster, member, host)
        self.name = name

    def _watch(self) -> None:
        """See to it that it has no connection; what it makes of itself is of no interest."""
        if self.is_up:
            for member in self.machine.members.members:
                assert not self.transport.is_connected(member.id), (
                    f"{member.id.id} let in a copy of {self.member.id}, which is alive"
                )


def check_wired_manners(cluster: WiredCluster, rng: Random, *, copied: bool) -> None:
    """Break connections, and copy a disk if asked, in a cluster where everything works.

    :param copied: whether a disk is copied
    :raises AssertionError: somebody was deposed, or a copy was let in
    """
    cluster.await_leader()
    cluster.run_for(WATCH_S)
    _check_broken_connections(cluster)
    if not copied:
        return
    leader = cluster.leader
    assert leader is not None
    members = leader.replica.core.conf_state.members
    nodes = [node for node in cluster.nodes.values() if node.is_up and node.member in members]
    if len(nodes) < 2 or len(nodes) < len(members):
        return  # nobody is there to refuse it, or to go on without it
    node = rng.choice(nodes)
    if rng.random() < 0.5 or len(nodes) < 3:
        check_copy_of_the_living(cluster, node)
    else:
        check_copy_of_the_dead(cluster, node)


def _check_broken_connections(cluster: WiredCluster) -> None:
    """All connections of the leader break; whoever redials it finds it alive [R10]."""
    leader = cluster.leader
    assert leader is not None
    term = leader.replica.term
    cluster.event_log.note("loses all its connections", leader.name)
    for end in [end for end in cluster.lossy_streams.ends if end.host == leader.name]:
        end.snap(told=(True, True))
    cluster.run_for(WATCH_S)
    now = cluster.leader
    assert now is leader, f"broken connections deposed {leader.name}"
    assert now.replica.term == term, f"broken connections deposed {leader.name}"


def check_copy_of_the_living(cluster: WiredCluster, node: WiredNode) -> None:
    """Start a process on a copy of a running node's disk, and hold an election beside it.

    :raises AssertionError: somebody let it in, or nobody noticed it
    """
    assert isinstance(node.host, DurableHost)
    copy = node.host.copy()
    ghost = Ghost(cluster, node.member, copy, f"{node.name}-copy")
    _haunt(cluster, ghost)


def check_copy_of_the_dead(cluster: WiredCluster, node: WiredNode) -> WiredNode:
    """Let a node go on from a copy of its disk, on another host; then start the first one again.

    :returns: the node that goes on
    :raises AssertionError: the first one was let in beside it, or nobody noticed it
    """
    assert isinstance(node.host, DurableHost)
    node.kill()
    moved = WiredNode(cluster, node.member, node.host.copy())
    moved.name = f"{node.name}-moved"
    del cluster.nodes[node.name]
    cluster.nodes[moved.name] = moved
    moved.boot()
    cluster.await_leader()
    cluster.run_for(WATCH_S)
    assert moved.replica.leader is not None, (
        f"{moved.name} was not let in though it is the only one"
    )
    _haunt(cluster, Ghost(cluster, node.member, node.host, node.name))
    return moved


def _haunt(cluster: WiredCluster, ghost: Ghost) -> None:
    cluster.event_log.note("a second process of", ghost.member, "on", ghost.name)
    noticed = sum(node.duplicates for node in cluster.nodes.values())
    ghost.boot()
    cluster.run_for(WATCH_S)
    leader = cluster.leader
    if leader is not None:
        leader.replica.transfer_leadership(None, WATCH_S).addErrback(lambda _: None)
    cluster.run_for(WATCH_S)
    assert sum(node.duplicates for node in cluster.nodes.values()) > noticed, (
        f"nobody noticed a second {ghost.member.id}"
    )
    ghost.kill()
    cluster.lossy_streams.forget(ghost.name)
    cluster.await_leader()
