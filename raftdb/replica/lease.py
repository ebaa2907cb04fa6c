"""How fresh is what this node knows: the leader's rounds by sending time, the last leader contact.

A leader that answers from its own store without a round promises at most T of staleness [R13]. T
counts from when the acknowledged round was *sent*, not from when the answers came: a follower may
have answered, voted for somebody else, and seen newer writes acknowledged while its answer was
still under way.

Elapsed time is that of the node's clock, which counts what a machine was suspended for. A hypervisor
may hide even that: it stops a virtual machine with all its clocks. Often it sets the wall clock
afterwards, so a wall clock that ran further ahead than the other ends the lease as well. It is a
hint, and can only make an answer older, never younger.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from raftdb.raft.node import RawNode
from raftdb.raft.types import MemberID, Role

ROUNDS_MAX = 1024
"""Rounds whose sending time is remembered; a leader without answers steps down long before."""


class Rounds:
    """When each heartbeat round of the present term was sent."""

    def __init__(self) -> None:
        self._term = 0
        self._newest = 0
        self._sent: deque[tuple[int, float, int]] = deque(maxlen=ROUNDS_MAX)

    def is_news(self, term: int, round_: int) -> bool:
        """Whether ``round_`` of ``term`` was not noted yet: only then a clock need be read."""
        return round_ > (self._newest if term == self._term else 0)

    def sent(self, term: int, round_: int, now_s: float, wall_ms: int = 0) -> None:
        """Note that everything up to ``round_`` of ``term`` leaves now, if that is news."""
        if not self.is_news(term, round_):
            return
        if term != self._term:
            self._term = term
            self._sent.clear()
        self._newest = round_
        self._sent.append((round_, now_s, wall_ms))

    def stamp(self, term: int, acknowledged: int) -> tuple[float, int] | None:
        """Return when the acknowledged round was sent, by both clocks; None if that is not known.

        Rounds that began between two turns left together, under the latest one's number: so the
        stamp to use is that of the latest remembered round not beyond ``acknowledged``.
        """
        if term != self._term:
            return None
        while len(self._sent) > 1 and self._sent[1][0] <= acknowledged:
            self._sent.popleft()
        if not self._sent or self._sent[0][0] > acknowledged:
            return None
        return self._sent[0][1:]


class Lease:
    """What a node may say without asking: how fresh its own state is, when the leader was heard.

    :param clock: monotonic, and counting the time in which the machine was suspended
    :param node: the core, which names the rounds
    :param bound_s: T, how old an answer under the lease may be
    :param wall_ms: the wall clock, which may jump
    """

    def __init__(
        self,
        clock: IReactorTime,
        node: RawNode,
        *,
        bound_s: float,
        wall_ms: Callable[[], int],
    ) -> None:
        self._clock = clock
        self._node = node
        self._bound_s = bound_s
        self._wall_ms = wall_ms
        self._rounds = Rounds()
        self._heard_s: float | None = None

    def sending(self) -> None:
        """Note that everything up to the present round leaves now; to be called before it does."""
        term, round_ = self._node.term, self._node.round
        if self._rounds.is_news(term, round_):
            self._rounds.sent(term, round_, self._clock.seconds(), self._wall_ms())

    def heard_from(self, member: MemberID) -> None:
        """Note that a message has arrived; it counts if it is the leader's."""
        if member == self._node.leader:
            self._heard_s = self._clock.seconds()

    def ticking(self) -> None:
        """Keep what a leader knows of its contact; to be called before each tick, which may end it.

        Afterwards it was itself the leader that this node heard last, not the one before it.
        """
        stamp = self._stamp()
        if stamp is not None:
            self._heard_s = stamp[0]

    @property
    def contact_age_s(self) -> float | None:
        """How long ago the leader was in contact, None for never.

        On a follower: since its last message. On the leader: since it sent the latest round that a
        quorum has answered, so that one which is cut off shows its age.
        """
        if self._node.role is Role.LEADER:
            stamp = self._stamp()
            heard_s = None if stamp is None else stamp[0]
        else:
            heard_s = self._heard_s
        return None if heard_s is None else self._clock.seconds() - heard_s

    @property
    def fresh(self) -> bool:
        """Whether this is a leader whose own state is, at this instant, at most T old [R13].

        It has applied an entry of its term, and a quorum has answered a round that was sent at most
        T ago, by both clocks read now.
        """
        node = self._node
        if not node.own_term_applied:
            return False
        stamp = self._rounds.stamp(node.term, node.round_acknowledged)
        return (
            stamp is not None
            and self._clock.seconds() - stamp[0] <= self._bound_s
            and self._wall_ms() - stamp[1] <= self._bound_s * 1000
        )

    def _stamp(self) -> tuple[float, int] | None:
        """Return when the latest round was sent that a quorum of this leader's has answered."""
        if self._node.role is not Role.LEADER:
            return None
        return self._rounds.stamp(self._node.term, self._node.round_acknowledged)
