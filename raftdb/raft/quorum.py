"""Majorities, single and joint: who has to agree before something holds.

Pure arithmetic over members; it knows neither logs nor elections. An empty majority agrees to
everything, so that a joint configuration with an empty outgoing half is an ordinary one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

import msgspec

from raftdb.raft.types import MemberID, MemberIDs

INDEX_MAX = 2**63 - 1
"""What an empty majority has agreed to: more than any index or round ever is."""


class VoteResult(Enum):
    """How a vote stands."""

    PENDING = "pending"
    WON = "won"
    LOST = "lost"


class MajorityConfig(msgspec.Struct, frozen=True):
    """Decides by more than half of its members.

    :param members: sorted, without duplicates
    """

    members: MemberIDs = ()

    def __post_init__(self) -> None:
        """Check the order; everything here relies on each member counting once."""
        assert all(a < b for a, b in zip(self.members, self.members[1:], strict=False)), (
            self.members
        )

    def __contains__(self, member: MemberID) -> bool:
        return member in self.members

    @property
    def quorum(self) -> int:
        """How many members decide."""
        return len(self.members) // 2 + 1

    def committed_index(self, acked: Callable[[MemberID], int]) -> int:
        """Return the highest index that a quorum has acknowledged, INDEX_MAX for no members.

        Works for anything that grows and is acknowledged cumulatively: log indexes (Paper 5.3) and
        heartbeat rounds (Thesis 6.4) alike.

        :param acked: the highest index each member has acknowledged, 0 for none
        """
        if not self.members:
            return INDEX_MAX
        # sorted downwards, place quorum - 1 holds what a quorum has reached at least
        return sorted(map(acked, self.members), reverse=True)[len(self.members) // 2]

    def vote_result(self, votes: Mapping[MemberID, bool]) -> VoteResult:
        """Return how the vote stands; votes of strangers do not count.

        :param votes: True for yes, False for no; who is missing has not answered
        """
        if not self.members:
            return VoteResult.WON
        answers = [votes.get(member) for member in self.members]
        if answers.count(True) >= self.quorum:
            return VoteResult.WON
        if answers.count(True) + answers.count(None) >= self.quorum:
            return VoteResult.PENDING
        return VoteResult.LOST


class JointConfig(msgspec.Struct, frozen=True):
    """Decides by both of its majorities (Thesis 4.3); an ordinary one has no outgoing half."""

    incoming: MajorityConfig = MajorityConfig()
    outgoing: MajorityConfig = MajorityConfig()

    def __contains__(self, member: MemberID) -> bool:
        return member in self.incoming or member in self.outgoing

    @property
    def members(self) -> MemberIDs:
        """Everybody who votes, sorted, each once."""
        return tuple(sorted({*self.incoming.members, *self.outgoing.members}))

    def committed_index(self, acked: Callable[[MemberID], int]) -> int:
        """Return the highest index acknowledged by a quorum of each half."""
        index = self.incoming.committed_index(acked)
        if not self.outgoing.members:
            return index  # as nearly always, and every answer asks
        return min(index, self.outgoing.committed_index(acked))

    def vote_result(self, votes: Mapping[MemberID, bool]) -> VoteResult:
        """Return WON where both halves are won, LOST where one is lost, else PENDING."""
        results = (self.incoming.vote_result(votes), self.outgoing.vote_result(votes))
        if VoteResult.LOST in results:
            return VoteResult.LOST
        if VoteResult.PENDING in results:
            return VoteResult.PENDING
        return VoteResult.WON
