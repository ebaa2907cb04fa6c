"""This node's own proposals: each waits under its index for what is applied there.

A proposal ends in one of three ways [R28]: with its result, when its entry is applied; as *not
applied* (:class:`~raftdb.errors.ProposalDropped`), when its index is applied with another term;
as *unknown*, only at its deadline, at the node's end, or when a snapshot jumps over its index. A
change of leadership decides nothing: an entry of a deposed leader may still be committed by a later
one. But once an entry of a later term is applied below it, it never can be: terms never fall along a
log, and what is applied is in every later leader's log.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from raftdb.errors import LeadershipLost, ProposalDropped, RaftDBError, Timeout
from raftdb.raft.types import EntryID
from raftdb.replica.waiters import Count, Deadlines, Waiter


class _Proposal(Waiter[object]):
    """The waiter of one entry; ``older`` waits at the same index for an entry of a lesser term."""

    __slots__ = ("older", "term")

    def __init__(self, waiting: Count, term: int, older: _Proposal | None) -> None:
        super().__init__(waiting)
        self.term = term
        self.older = older


class Proposals:
    """The waiters of this node's own proposals, by index.

    Two may wait at one index: a leader proposes (2, 7), is deposed and loses it from its log, leads
    again and proposes (4, 7). Whichever entry a later leader commits at 7, the other is not
    applied; before that, neither is decided.

    :param granularity_s: of the deadlines
    """

    def __init__(self, granularity_s: float) -> None:
        self._by_index: dict[int, _Proposal] = {}
        self._deadlines: Deadlines[_Proposal] = Deadlines(granularity_s)
        self._decided: list[tuple[_Proposal, object]] = []
        self._waiting = Count()
        self._term = 0
        """The term of the newest applied entry."""

    def __len__(self) -> int:
        """How many wait: not who has timed out or gone, though what they proposed is undecided."""
        return self._waiting.count

    def wait(self, entry: EntryID, deadline_s: float) -> Deferred[object]:
        """Return a Deferred that fires once it is known what became of ``entry``."""
        proposal = _Proposal(self._waiting, entry.term, self._by_index.get(entry.index))
        self._by_index[entry.index] = proposal
        self._deadlines.add(deadline_s, proposal)
        return proposal.deferred

    def applied(self, term: int, index: int, result: object) -> None:
        """Note that the entry (term, index) is applied; nobody is called before `settle`."""
        proposal = self._by_index.pop(index, None)
        while proposal is not None:
            if proposal.term == term:
                self._decided.append((proposal, result))
            else:
                self._drop(proposal, index)
            proposal = proposal.older
        if term > self._term:
            self._entered(term, index)

    def _entered(self, term: int, index: int) -> None:
        """Drop all proposals of lesser terms beyond ``index``, applied in ``term``: none can stand.

        1. A leader takes ten writes at 8 to 17 and is cut off. 2. The others elect another one, whose
        first entry is at 8; then nobody writes for an hour. 3. The link heals, and 8 is applied:
        without this, nine clients wait for their deadlines to hear that nothing is known.
        """
        self._term = term
        for at, newest in list(self._by_index.items()):
            doomed: _Proposal | None = newest
            if newest.term < term:
                del self._by_index[at]
            else:
                last = newest
                while last.older is not None and last.older.term >= term:
                    last = last.older
                doomed, last.older = last.older, None
            while doomed is not None:
                self._drop(doomed, index)
                doomed = doomed.older

    def _drop(self, proposal: _Proposal, index: int) -> None:
        dropped = ProposalDropped(f"another entry was committed at index {index}")
        self._decided.append((proposal, dropped))

    def settle(self) -> None:
        """Answer what `applied` decided.

        Apart from it, because an answer runs the caller's code, which may read the state machine:
        it must find the whole page applied, as the node's applied index says it is.
        """
        decided, self._decided = self._decided, []
        for proposal, result in decided:
            # A command may be refused when applied, on every replica alike: its result is an error.
            if isinstance(result, RaftDBError):
                proposal.fail(result)
            else:
                proposal.succeed(result)

    def jumped(self, last: EntryID) -> None:
        """End everything up to ``last`` as unknown: a snapshot hides what stood there."""
        error = LeadershipLost(f"a snapshot replaced the log up to index {last.index}")
        self._fail([at for at in self._by_index if at <= last.index], error)
        if last.term > self._term:
            self._entered(last.term, last.index)

    def expire(self, now_s: float) -> None:
        """End as unknown what has waited until its deadline."""
        for proposal in self._deadlines.due(now_s):
            proposal.fail(Timeout("the deadline passed before the write's outcome was known"))

    def abandon(self, error: RaftDBError) -> None:
        """End everything with ``error``: the node stops."""
        self._fail(list(self._by_index), error)

    def _fail(self, indexes: list[int], error: RaftDBError) -> None:
        doomed = [self._by_index.pop(index) for index in indexes]
        for newest in doomed:
            proposal: _Proposal | None = newest
            while proposal is not None:
                proposal.fail(error)
                proposal = proposal.older
