"""Everybody who waits on this node: how many may, until when, and how they end with it."""

from __future__ import annotations

from collections.abc import Callable

from raftdb.errors import LeadershipLost, Overloaded, ShuttingDown
from raftdb.raft.types import ReadID
from raftdb.replica.options import ReplicaOptions
from raftdb.replica.proposals import Proposals
from raftdb.replica.reads import Reads
from raftdb.replica.transfers import Transfers


class Clients:
    """The proposals, reads and transfers that are waited for.

    :param read_index: asks for one linearizable read
    :param options: how many may wait at the same time [R30], and the granularity of deadlines
    :param patience_s: after which a lost read is asked again
    """

    def __init__(
        self, read_index: Callable[[], ReadID], options: ReplicaOptions, *, patience_s: float
    ) -> None:
        self.proposals = Proposals(options.tick_s)
        self.reads = Reads(read_index, patience_s=patience_s, granularity_s=options.tick_s)
        self.transfers = Transfers()
        self._waiting_max = options.waiting_max

    @property
    def waiting(self) -> int:
        """How many proposals and reads are not answered yet."""
        return len(self.proposals) + len(self.reads)

    def admit(self) -> None:
        """Let one more wait.

        :raises Overloaded: enough of them do already
        """
        if self.waiting >= self._waiting_max:
            raise Overloaded(f"{self._waiting_max} requests are waiting on this node already")

    def expire(self, now_s: float) -> None:
        """End what has waited until its deadline, and ask again for reads that got lost."""
        self.proposals.expire(now_s)
        self.reads.expire(now_s)
        self.reads.ask_again(now_s)
        self.transfers.expire(now_s)

    def abandon(self) -> None:
        """End everything: the node stops. What is in the log may still be applied elsewhere."""
        self.proposals.abandon(LeadershipLost("the node stopped before the outcome was known"))
        self.reads.abandon(ShuttingDown())
        self.transfers.abandon(LeadershipLost("the node stopped during the transfer"))
