"""Leadership transfers that somebody waits for (thesis 3.10), and the choice of a successor."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from raftdb.errors import ProposalDropped, RaftDBError, Timeout
from raftdb.raft.ready import Status
from raftdb.raft.types import MemberID
from raftdb.replica.waiters import Waiter


def best_successor(status: Status) -> MemberID | None:
    """Return the voter whose log is longest among those in contact, None where there is none.

    One that has room for entries comes before one that has none.
    Of equals the first in the order of their ids, so that a replay chooses the same.
    """
    candidates = [
        (peer.full, -peer.match, member)
        for member, peer in status.peers.items()
        if member in status.conf_state.voters and member != status.id and peer.recent_active
    ]
    return min(candidates)[2] if candidates else None


class Transfers:
    """Who waits for leadership to arrive somewhere; asked after every turn."""

    def __init__(self) -> None:
        self._waiting: list[tuple[MemberID, float, Waiter[None]]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, to: MemberID, deadline_s: float) -> Deferred[None]:
        """Return a Deferred that fires once ``to`` leads."""
        waiter: Waiter[None] = Waiter()
        self._waiting.append((to, deadline_s, waiter))
        return waiter.deferred

    def observe(self, leader: MemberID | None, transferee: MemberID | None, me: MemberID) -> None:
        """Decide by who leads now and whom this node, as a leader, is handing over to."""
        still: list[tuple[MemberID, float, Waiter[None]]] = []
        decided: list[tuple[Waiter[None], ProposalDropped | None]] = []
        for to, deadline_s, waiter in self._waiting:
            if leader == to:
                decided.append((waiter, None))
            elif leader == me and transferee != to:
                decided.append(
                    (
                        waiter,
                        ProposalDropped(f"{to.id} did not take over in time; {me.id} still leads"),
                    )
                )
            elif leader is not None and leader != me:
                decided.append((waiter, ProposalDropped(f"{leader.id} leads now, not {to.id}")))
            else:
                still.append((to, deadline_s, waiter))
        self._waiting = still
        for waiter, error in decided:
            if error is None:
                waiter.succeed(None)
            else:
                waiter.fail(error)

    def expire(self, now_s: float) -> None:
        """End what has waited until its deadline."""
        due = [waiter for _, deadline_s, waiter in self._waiting if deadline_s <= now_s]
        self._waiting = [wait for wait in self._waiting if wait[1] > now_s]
        for waiter in due:
            waiter.fail(Timeout("the deadline passed before the transfer was decided"))

    def abandon(self, error: RaftDBError) -> None:
        """End everything with ``error``: the node stops."""
        waiting, self._waiting = self._waiting, []
        for _, _, waiter in waiting:
            waiter.fail(error)
