"""Fast failover [R10]: a leader whose process is gone is replaced in milliseconds.

The evidence is one's own and strong: the connection from the leader ended *and* its address refuses
a new one at once. A time-out or a successful redial proves nothing, and a peer's word never does:
otherwise one broken link could depose a leader that has a quorum. Then this follower forgets its
leader, so that its lease does not hold back the votes it is asked for, and campaigns after a random
part of a heartbeat. Voters that have not noticed yet do not answer; the core repeats an unanswered
pre-vote every heartbeat, and this module begins anew what was refused, while there is no leader.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from raftdb.raft.node import RawNode
from raftdb.raft.types import MemberID, Role


class Failover:
    """Campaigns on evidence that the leader is gone.

    :param clock: the monotonic clock
    :param node: the core
    :param rng: draws the delays
    :param heartbeat_s: between two heartbeat rounds
    :param campaign: stands for election; called in a reactor call, raises nothing
    """

    def __init__(
        self,
        clock: IReactorTime,
        node: RawNode,
        *,
        rng: Random,
        heartbeat_s: float,
        campaign: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._node = node
        self._rng = rng
        self._heartbeat_s = heartbeat_s
        self._campaign = campaign
        self._call: IDelayedCall | None = None

    def link_lost(self, member: MemberID, *, refused: bool) -> None:
        """Take the evidence: the connection from ``member`` ended; was the redial refused?"""
        if not refused or member != self._node.leader:
            return
        self._node.forget_leader()
        self._schedule(self._rng.uniform(0.0, self._heartbeat_s))

    def stop(self) -> None:
        """Campaign no more."""
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _schedule(self, delay_s: float) -> None:
        self.stop()
        self._call = self._clock.callLater(delay_s, self._again)

    def _again(self) -> None:
        if self._node.leader is not None:
            return
        # To start over as a pre-candidate would forget the answers under way, and as a candidate
        # burn a term each heartbeat.
        if self._node.role is Role.FOLLOWER:
            self._campaign()
        self._schedule(self._heartbeat_s * self._rng.uniform(1.0, 2.0))
