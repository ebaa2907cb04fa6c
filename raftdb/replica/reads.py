"""Linearizable reads on their way: gathered, asked, confirmed, released (thesis 6.4).

All reads that arrive between two turns of the reactor share one ReadIndex request. A confirmed one
waits until this node's own state machine stands at the read index. A request that got no answer for
an election timeout, or whose leader is gone, is asked again under a new name until its readers'
deadlines: asking twice is harmless, an index fixed later is as good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heapify, heappop, heappush

from twisted.internet.defer import Deferred

from raftdb.errors import RaftDBError, Refused, Timeout
from raftdb.raft.types import ReadID, ReadState
from raftdb.replica.waiters import Count, Deadlines, Waiter


class _Batch:
    """The reads that share one ReadIndex request."""

    __slots__ = ("asked_s", "readers")

    def __init__(self, readers: list[Waiter[None]], asked_s: float) -> None:
        self.readers = readers
        self.asked_s = asked_s


class Reads:
    """All linearizable reads of one node that are not answered yet.

    :param ask: names a new ReadIndex request, ``RawNode.read_index``; may raise ``Refused``
    :param patience_s: after which an unanswered request is asked again; an election timeout
    :param granularity_s: of the deadlines
    """

    def __init__(
        self, ask: Callable[[], ReadID], *, patience_s: float, granularity_s: float
    ) -> None:
        self._ask = ask
        self._patience_s = patience_s
        self._deadlines: Deadlines[Waiter[None]] = Deadlines(granularity_s)
        self._gathered: list[Waiter[None]] = []
        self._asked: dict[ReadID, _Batch] = {}
        self._confirmed: list[tuple[int, int, _Batch]] = []
        self._confirmed_count = 0
        self._waiting = Count()

    def __len__(self) -> int:
        """How many wait, not counting who has timed out or gone."""
        return self._waiting.count

    def wait(self, deadline_s: float) -> Deferred[None]:
        """Return a Deferred that fires once the own state machine may answer."""
        reader: Waiter[None] = Waiter(self._waiting)
        self._gathered.append(reader)
        self._deadlines.add(deadline_s, reader)
        return reader.deferred

    def ask(self, now_s: float) -> None:
        """Ask once for everything that was gathered; where nobody leads, refuse it."""
        if not self._gathered:
            return
        readers, self._gathered = self._gathered, []
        try:
            name = self._ask()
        except Refused as error:
            self._end(readers, error)
        else:
            self._asked[name] = _Batch(readers, now_s)

    def ask_again(self, now_s: float, *, all_of_them: bool = False) -> None:
        """Ask once more for what waits for longer than the patience, or for all of it.

        Readers without an answer keep waiting for a leader to ask, until their deadlines.
        """
        lost = [
            name
            for name, batch in self._asked.items()
            if all_of_them or now_s - batch.asked_s >= self._patience_s
        ]
        if not lost:
            return
        readers: list[Waiter[None]] = []
        for name in lost:
            readers += [reader for reader in self._asked[name].readers if reader.waits]
        if not readers:
            for name in lost:
                del self._asked[name]
            return
        try:
            name = self._ask()
        except Refused:
            name = lost[0]
        for old in lost:
            del self._asked[old]
        self._asked[name] = _Batch(readers, now_s)

    def refuse(self, error: RaftDBError) -> None:
        """End everything that waits for a leader with ``error``; what is confirmed goes on."""
        batches, self._asked = self._asked, {}
        for batch in batches.values():
            self._end(batch.readers, error)

    def confirm(self, states: Iterable[ReadState]) -> None:
        """Take the confirmed indexes; an answer to an older name is not needed any more."""
        for state in states:
            batch = self._asked.pop(state.id, None)
            if batch is not None:
                self._confirmed_count += 1
                heappush(self._confirmed, (state.index, self._confirmed_count, batch))

    def release(self, applied: int) -> None:
        """Let everybody read whose index the state machine has reached."""
        while self._confirmed and self._confirmed[0][0] <= applied:
            _, _, batch = heappop(self._confirmed)
            for reader in batch.readers:
                reader.succeed(None)

    def expire(self, now_s: float) -> None:
        """End what has waited until its deadline."""
        due = list(self._deadlines.due(now_s))
        for reader in due:
            reader.fail(Timeout("the deadline passed before the read was confirmed"))
        if due and self._confirmed:
            self._forget_the_gone()

    def _forget_the_gone(self) -> None:
        """Keep nobody who waits no more: they are not counted, and may be many if nothing is applied."""
        for _, _, batch in self._confirmed:
            batch.readers = [reader for reader in batch.readers if reader.waits]
        self._confirmed = [one for one in self._confirmed if one[2].readers]
        heapify(self._confirmed)

    def abandon(self, error: RaftDBError) -> None:
        """End everything with ``error``: the node stops."""
        batches = [*self._asked.values(), *(batch for _, _, batch in self._confirmed)]
        readers = [*self._gathered, *(reader for batch in batches for reader in batch.readers)]
        self._gathered, self._asked, self._confirmed = [], {}, []
        self._end(readers, error)

    def _end(self, readers: list[Waiter[None]], error: RaftDBError) -> None:
        for reader in readers:
            reader.fail(error)
