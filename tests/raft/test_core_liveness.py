"""With a healthy majority there is always a leader soon, whatever the others do for ever.

A connected majority stays healthy; everybody else is broken for good, in a way drawn from the seed.
Within ten election timeouts something new must be committed. RAFTDB_STORMS=1000 runs more seeds.
"""

from __future__ import annotations

import contextlib
import os
from random import Random

import pytest

from raftdb.errors import RaftDBError
from raftdb.raft.messages import Message
from raftdb.raft.types import Role
from raftdb.simulation.cores.network import Network

SEEDS = int(os.environ.get("RAFTDB_STORMS", "40"))
WAYS = ("deaf", "mute", "hung", "flapping", "dead", "half", "bouncing", "stale", "full")
ELECTION_TICKS = 8


class Sickbed:
    """A cluster with a healthy majority; messages take about a tick.

    :param seed: draws everything
    :param size: of the cluster
    :param way: how the minority is broken
    """

    def __init__(self, seed: int, size: int, way: str) -> None:
        self.random = Random(f"{seed} {size} {way}")
        self.way = way
        self.network = Network(size, seed=seed)
        # first some life, with everybody, so that anybody may lead and logs may differ
        for _ in range(self.random.randrange(40)):
            self.turn()
        members = list(self.network.peers)
        self.random.shuffle(members)
        broken = members[: (size - 1) // 2]
        self.healthy = members[len(broken) :]
        self.broken = broken
        self.links = {
            (one, other): self.random.random() < 0.5 for one in members for other in members
        }
        self.network.losing = self.loses
        self.turns = 0
        if way == "hung":
            for who in broken:
                self.network.peers[who].saves_hang = True
        if way == "full":
            for who in broken:
                self.network.peers[who].full = True
        if way == "dead":
            for who in broken:
                self.network.crash(who.id)

    def loses(self, message: Message) -> bool:
        sender, receiver = message.sender, message.receiver
        match self.way:
            case "deaf":
                return receiver in self.broken
            case "mute":
                return sender in self.broken
            case "flapping":
                sick = sender in self.broken or receiver in self.broken
                return sick and self.turns // 5 % 2 == 0
            case "half" | "stale" | "full":
                sick = sender in self.broken or receiver in self.broken
                return sick and self.links[sender, receiver]
            case _:
                return False

    def turn(self) -> None:
        """One tick of everybody, in any order, and about as much delivery."""
        members = list(self.network.peers)
        self.random.shuffle(members)
        for who in members:
            self.network.tick(who.id)
        for _ in range(2):
            waiting, self.network.in_flight = self.network.in_flight, []
            self.random.shuffle(waiting)
            for message in waiting:
                if self.random.random() < 0.3:
                    self.network.in_flight.append(message)
                else:
                    self.network.carry(message)
        self.propose()

    def propose(self) -> None:
        for peer in tuple(self.network.peers.values()):
            if peer.node.role is Role.LEADER and self.random.random() < 0.3:
                with contextlib.suppress(RaftDBError):
                    peer.node.propose(b"x")
                self.network.pump(peer)

    def sicken(self) -> None:
        """What the broken ones do besides losing messages."""
        self.turns += 1
        for who in self.broken:
            if self.way == "bouncing" and self.turns % 7 == 0:
                self.network.restart(who.id)
            if self.way == "stale" and self.turns % 3 == 0 and who in self.network.peers:
                self.network.peers[who].node.campaign()
                self.network.pump(self.network.peers[who])

    def commit(self) -> int:
        return max(self.network.peers[who].node.commit for who in self.healthy)


class TestAHealthyMajority:
    """RELIABILITY: for every seed, commits within ten election timeouts."""

    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("size", [3, 5])
    def test_gets_a_leader(self, size: int, way: str) -> None:
        """Something new is committed at a healthy node in time."""
        for seed in range(SEEDS // 4):
            bed = Sickbed(seed, size, way)
            before, ticks = bed.commit(), 0
            while bed.commit() == before:
                bed.sicken()
                bed.turn()
                ticks += 1
                assert ticks <= 10 * ELECTION_TICKS, f"seed {seed}: nothing in {ticks} ticks"

    @pytest.mark.parametrize("seed", [40, 50, 80, 88])
    def test_full_disks_keep_no_leader_in_office(self, seed: int) -> None:
        """Three of seven are full and half connected; in these seeds they answer a leader that the
        healthy ones, who can store, do not hear.
        """
        bed = Sickbed(seed, 7, "full")
        before = bed.commit()
        for _ in range(10 * ELECTION_TICKS):
            bed.turn()
        assert bed.commit() > before

    @pytest.mark.parametrize("way", WAYS)
    def test_keeps_it(self, way: str) -> None:
        """The broken ones do not depose again and again: commits go on in each stretch of time."""
        for seed in range(SEEDS // 8):
            bed = Sickbed(seed, 5, way)
            for _ in range(5):
                before = bed.commit()
                for _ in range(10 * ELECTION_TICKS):
                    bed.sicken()
                    bed.turn()
                assert bed.commit() > before, f"seed {seed}: a stretch without a commit"


def _progress(network: Network, ticks: int) -> bool:
    """Whether something new is committed within ``ticks``, by whoever leads then."""
    before = max(peer.node.commit for peer in network.peers.values())
    for _ in range(ticks):
        network.run(1)
        for name in network.leaders:
            with contextlib.suppress(RaftDBError):
                network.propose(name, b"y")
    # an entry that opens a term is none of the clients'
    return max(peer.node.commit for peer in network.peers.values()) > before + 1


class TestMixedSettings:
    """A rolling change of the settings: some ask for pre-votes already, some do not yet."""

    @pytest.mark.parametrize("seed", range(6))
    @pytest.mark.parametrize("plain", ["a", "c", "ab", "bc"])
    def test_a_leader_is_replaced(self, plain: str, seed: int) -> None:
        """Whoever campaigns, and however: also after one of them was away in a term of its own."""
        network = Network(3, seed=seed)
        for name in plain:
            network.options = {"pre_vote": False}
            network.restart(name)
        network.elect("a")
        network.isolate("c")
        network.run(40)
        network.heal()
        assert _progress(network, 5 * ELECTION_TICKS)
        network.isolate(network.leaders[0])
        assert _progress(network, 5 * ELECTION_TICKS)


class TestPartialConnectivity:
    """RELIABILITY: ring, bridge, one-way: a connected quorum always gets a leader."""

    @staticmethod
    def _only(network: Network, links: str) -> None:
        """Cut everything but the links named like ``ab bc``, both ways."""
        kept = {frozenset(link) for link in links.split()}
        names = [known.id for known in network.peers]
        for one in names:
            for other in names:
                if one != other and frozenset((one, other)) not in kept:
                    network.cut(one, other)

    @pytest.mark.parametrize("seed", range(8))
    @pytest.mark.parametrize(
        "links",
        [
            "ab bc cd de ea",  # a ring: everybody reaches a majority
            "ac bc cd ce",  # a star: all talk through c
            "ab bc bd be cd ce de",  # a bridge: the leader reaches b alone
            "ab bc ac cd de",  # two who trail behind a majority
        ],
    )
    def test_five_nodes(self, links: str, seed: int) -> None:
        """Within five election timeouts after the links broke."""
        network = Network(5, seed=seed)
        network.elect("a")
        network.run(3)
        self._only(network, links)
        assert _progress(network, 5 * ELECTION_TICKS)

    @pytest.mark.parametrize("seed", range(8))
    @pytest.mark.parametrize("links", ["ab bc", "ac cb", "ba ac", "bc"])
    def test_three_nodes(self, links: str, seed: int) -> None:
        """A chain of three, and a pair without its leader."""
        network = Network(3, seed=seed)
        network.elect("a")
        network.run(3)
        self._only(network, links)
        assert _progress(network, 5 * ELECTION_TICKS)

    @pytest.mark.parametrize("seed", range(8))
    @pytest.mark.parametrize("way", ["mute", "deaf"])
    def test_a_leader_with_one_way_left(self, way: str, seed: int) -> None:
        """It neither leads on nor keeps the others from electing."""
        network = Network(3, seed=seed)
        network.elect("a")
        network.run(3)
        for other in "bc":
            if way == "mute":
                network.cut("a", other)
            else:
                network.cut(other, "a")
        assert _progress(network, 5 * ELECTION_TICKS)
        assert [name for name in network.leaders if name != "a"]

    def test_a_stable_leader_is_not_deposed_by_who_cannot_hear_it(self) -> None:
        """In a chain a - b - c the leader a stays, however often c asks b."""
        network = Network(3)
        network.elect("a")
        network.run(3)
        self._only(network, "ab bc")
        network.run(200)
        assert (network.leaders, network["a"].term) == (["a"], 1)
