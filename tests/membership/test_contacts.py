from __future__ import annotations

from raftdb.membership.liveness import MemberLiveness
from raftdb.raft.node import RawNode
from raftdb.raft.ready import Status
from raftdb.raft.types import MemberID
from raftdb.simulation.cores.network import Network, member

B = member("b")
PATIENCE_S = 0.8


def status(network: Network, *, active: bool) -> Status:
    """The picture of leader a, which has or has not heard b since it looked last."""
    node: RawNode = network["a"]
    node.state.tracker.progress[B].recent_active = active
    return node.status()


class TestAChangeOfLeader:
    """What a leader has heard is its own, and of its term alone."""

    def setup_method(self) -> None:
        self.network = Network(3)
        self.network.elect("a")
        self.contacts = MemberLiveness(PATIENCE_S)

    def again(self) -> None:
        """Somebody else leads, unseen by any sample, and then a again."""
        self.network.elect("c")
        self.network.elect("a")

    def test_answers_to_the_leader_before_count_for_nothing(self) -> None:
        """Even if that was the same node: a quorum rests on who has answered since."""
        self.contacts.sample(status(self.network, active=True), 10.0)
        assert self.contacts.answers(B, 10.1)
        self.again()
        self.contacts.sample(status(self.network, active=False), 10.1)
        assert not self.contacts.answers(B, 10.1)
        self.contacts.sample(status(self.network, active=True), 10.2)
        assert self.contacts.answers(B, 10.2)

    def test_silence_towards_the_leader_before_is_none(self) -> None:
        """A new leader has heard nobody yet, and must push nobody out for that."""
        self.contacts.sample(status(self.network, active=True), 10.0)
        self.contacts.sample(status(self.network, active=False), 15.0)
        assert not self.contacts.in_contact(B, 15.0)
        self.again()
        self.contacts.sample(status(self.network, active=False), 15.0)
        assert self.contacts.in_contact(B, 15.0)
        assert not self.contacts.in_contact(B, 15.0 + PATIENCE_S)

    def test_a_follower_has_heard_nobody(self) -> None:
        """It is told nothing; what it knew as the leader of the same term is not true for ever."""
        self.contacts.sample(status(self.network, active=True), 10.0)
        self.network["a"].state.become_follower(self.network["a"].term, None)
        self.contacts.sample(self.network["a"].status(), 10.1)
        assert not self.contacts.answers(B, 10.1)
        assert self.contacts.age_s(MemberID("b", 1), 10.1) is None
