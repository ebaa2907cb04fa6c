"""A cluster of bare cores does what a cluster does: the shortest way to see the core alive."""

from __future__ import annotations

from raftdb.raft.types import ConfChange, ConfChangeKind, ConfChangeSingle, Role
from raftdb.simulation.cores.network import Network, member


class TestThreeNodes:
    """The life of three nodes."""

    def test_time_alone_elects_a_leader(self) -> None:
        """No node needs to be told to begin."""
        network = Network(3)
        network.run(40)
        assert len(network.leaders) == 1

    def test_a_proposal_reaches_every_machine(self) -> None:
        """What the leader takes in, all apply."""
        network = Network(3)
        network.elect("a")
        network.propose("a", b"x")
        network.propose("a", b"y")
        assert [network.values(name) for name in "abc"] == [[b"x", b"y"]] * 3

    def test_a_follower_away_past_compaction_gets_a_snapshot(self) -> None:
        """It comes back by a snapshot and the entries behind it."""
        network = Network(3)
        network.elect("a")
        network.isolate("c")
        for number in range(20):
            network.propose("a", b"%d" % number)
        network.snapshot("a", keep=3)
        network.heal()
        network.run(10)
        assert network["c"].applied == network["a"].applied
        assert network.peer("c").restored_to.last.index == 21

    def test_a_restart_loses_nothing(self) -> None:
        """All crash and come back; the log is still there."""
        network = Network(3)
        network.elect("a")
        network.propose("a", b"x")
        for name in "abc":
            network.restart(name)
        network.run(60)
        assert all(network.values(name) == [b"x"] for name in "abc")

    def test_members_come_and_go(self) -> None:
        """A learner becomes a voter, the leader removes itself, the rest elects."""
        network = Network(3, strangers="d")
        network.elect("a")
        for kind, name in (
            (ConfChangeKind.ADD_LEARNER, "d"),
            (ConfChangeKind.ADD_VOTER, "d"),
            (ConfChangeKind.REMOVE, "a"),
        ):
            network.change("a", ConfChange((ConfChangeSingle(kind, member(name)),)))
            network.run(4)
        assert network["a"].role is not Role.LEADER
        network.run(60)
        (leader,) = network.leaders
        assert leader != "a"
        assert member("a") not in network[leader].conf_state.members

    def test_a_read_is_confirmed_at_leader_and_follower(self) -> None:
        """Both get an index that covers what was committed before."""
        network = Network(3)
        network.elect("a")
        network.propose("a", b"x")
        reads = [network[name].read_index() for name in "ab"]
        network.deliver()
        states = [network.peer(name).reads for name in "ab"]
        assert [[state.id for state in found] for found in states] == [[read] for read in reads]
        assert [found[0].index for found in states] == [2, 2]

    def test_leadership_goes_where_it_is_sent(self) -> None:
        """A transfer needs no timeout."""
        network = Network(3)
        network.elect("a")
        network["a"].transfer_leadership(member("b"))
        network.deliver()
        assert network.leaders == ["b"]

    def test_one_node_alone_leads_with_its_first_tick(self) -> None:
        """Nobody else could."""
        network = Network(1)
        network.run(1)
        network.propose("a", b"x")
        assert network.values("a") == [b"x"]
