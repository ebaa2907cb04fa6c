"""How fresh is what this node knows: the leader's rounds by sending time, the last leader contact.

A leader that answers from its own store without a round promises at most T of staleness [13]. T
counts from when the acknowledged round was *sent*, not from when the answers came: a follower may
have answered, voted for somebody else, and seen newer writes acknowledged while its answer was
still under way.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.interfaces import IReactorTime

from raftdb.raft.node import RawNode
from raftdb.raft.types import MemberID, Role

ROUNDS_MAX = 1024
"""Rounds whose sending time is remembered; a leader without answers steps down long before."""


class Rounds:
    """When each heartbeat round of the present term was sent."""

    def __init__(self) -> None:
        self._term = 0
        self._sent: deque[tuple[int, float]] = deque(maxlen=ROUNDS_MAX)

    def sent(self, term: int, round_: int, now_s: float) -> None:
        """Note that everything up to ``round_`` of ``term`` leaves now, if that is news."""
        if term != self._term:
            self._term = term
            self._sent.clear()
        if round_ > (self._sent[-1][0] if self._sent else 0):
            self._sent.append((round_, now_s))

    def age_s(self, term: int, acknowledged: int, now_s: float) -> float | None:
        """Return how long ago the acknowledged round was sent, or None if that is not known.

        Rounds that began between two turns left together, under the latest one's number: so the
        stamp to use is that of the latest remembered round not beyond ``acknowledged``.
        """
        if term != self._term:
            return None
        while len(self._sent) > 1 and self._sent[1][0] <= acknowledged:
            self._sent.popleft()
        if not self._sent or self._sent[0][0] > acknowledged:
            return None
        return now_s - self._sent[0][1]


class Lease:
    """What a node may say without asking: how fresh its own state is, when the leader was heard.

    :param clock: the monotonic clock
    :param node: the core, which names the rounds
    :param bound_s: T, how old an answer under the lease may be
    """

    def __init__(self, clock: IReactorTime, node: RawNode, *, bound_s: float) -> None:
        self._clock = clock
        self._node = node
        self._bound_s = bound_s
        self._rounds = Rounds()
        self._heard_s: float | None = None

    def sending(self) -> None:
        """Note that everything up to the present round leaves now; to be called before it does."""
        self._rounds.sent(self._node.term, self._node.round, self._clock.seconds())

    def heard_from(self, member: MemberID) -> None:
        """Note that a message has arrived; it counts if it is the leader's."""
        if member == self._node.leader:
            self._heard_s = self._clock.seconds()

    @property
    def contact_age_s(self) -> float | None:
        """How long ago the leader was in contact, None for never.

        On a follower: since its last message. On the leader: since it sent the latest round that a
        quorum has answered, so that one which is cut off shows its age.
        """
        now_s = self._clock.seconds()
        if self._node.role is Role.LEADER:
            return self._rounds.age_s(self._node.term, self._node.round_acknowledged, now_s)
        return None if self._heard_s is None else now_s - self._heard_s

    @property
    def fresh(self) -> bool:
        """Whether this is a leader whose own state is, at this instant, at most T old [13].

        It has applied an entry of its term, and a quorum has answered a round that was sent at most
        T ago, by the clock read now.
        """
        if not self._node.own_term_applied:
            return False
        age_s = self.contact_age_s
        return age_s is not None and age_s <= self._bound_s
