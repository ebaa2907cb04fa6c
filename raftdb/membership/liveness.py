"""Who was heard of lately, in seconds rather than in the core's ticks.

The core asks every election timeout whether a quorum was active, and forgets the answer: for an
instant afterwards nobody was. Decisions that push a member out need a steadier view.
"""

from __future__ import annotations

from raftdb.raft.ready import Status
from raftdb.raft.types import MemberID, Role


class MemberLiveness:
    """The leader's samples of its members' activity.

    :param patience_s: a member heard of within this time is in contact
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._heard_s: dict[MemberID, float] = {}
        self._answered_s: dict[MemberID, float] = {}
        """Of those alone that answered this very leader, and have room for entries."""
        self._term = 0

    def sample(self, status: Status, now_s: float) -> None:
        """Take note of who is active now; call it at least once per heartbeat."""
        if status.role is not Role.LEADER or status.hard_state.term != self._term:
            # A new leader has heard nobody yet and must not take that for their silence.
            self._heard_s = dict.fromkeys(status.peers, now_s)
            self._answered_s.clear()
            self._term = status.hard_state.term
        for member, peer in status.peers.items():
            if peer.recent_active or member == status.id:
                self._heard_s[member] = now_s
                if not peer.full:
                    self._answered_s[member] = now_s
            else:
                self._heard_s.setdefault(member, now_s)
        for member in [member for member in self._heard_s if member not in status.peers]:
            del self._heard_s[member]

    def in_contact(self, member: MemberID, now_s: float) -> bool:
        """Whether ``member`` was heard of lately, or cannot be known not to have been."""
        age_s = self.age_s(member, now_s)
        return age_s is not None and age_s < self._patience_s

    def answers(self, member: MemberID, now_s: float) -> bool:
        """Whether ``member`` was heard of lately by this very leader: what a quorum may rest on.

        1. c's disk is wiped. 2. b becomes leader of a, b and c, and has heard nobody yet. 3. b is
        asked to remove itself, and takes c's silence for none. 4. a and c remain, and c is gone: no
        quorum ever again.
        """
        answered_s = self._answered_s.get(member)
        return answered_s is not None and now_s - answered_s < self._patience_s

    def age_s(self, member: MemberID, now_s: float) -> float | None:
        """How long ago ``member`` was heard of, None where this node does not know it."""
        heard_s = self._heard_s.get(member)
        return None if heard_s is None else now_s - heard_s
