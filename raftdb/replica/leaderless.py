"""How long nobody has led, as far as this node knows: who is not to wait for that, and who is to hear.

A consistent read that waits for a leader to ask is answered once there is one; but nobody should
wait for long, and not at all on a leader that has just stepped down because nobody answers it.
"""

from __future__ import annotations

from twisted.logger import Logger

from raftdb.errors import NoLeader
from raftdb.raft.node import RawNode
from raftdb.raft.types import Role
from raftdb.replica.reads import Reads

PATIENCE = 2
"""Election timeouts without a leader after which waiting reads are refused: an election, split once."""

REMIND_S = 30.0
"""Between two lines of the log that say that nobody leads."""


class Leaderless:
    """Looks after each tick who leads, and does what is due while nobody does.

    :param node: the core
    :param reads: what waits for a leader
    :param election_s: an election timeout
    """

    _log = Logger()

    def __init__(self, node: RawNode, reads: Reads, election_s: float) -> None:
        self._node = node
        self._reads = reads
        self._patience_s = PATIENCE * election_s
        self._led_in = 0
        self._since_s: float | None = None
        self._remind_s = 0.0

    def tick(self, now_s: float) -> None:
        """Look who leads; refuse what has waited long enough for that, and remind the log's reader."""
        role, leader, term = self._node.standing
        if role is Role.LEADER:
            self._led_in = term
        if leader is not None:
            self._since_s = None
            return
        if self._since_s is None:
            self._since_s = now_s
            self._remind_s = now_s + REMIND_S
            # In a later term somebody is being elected just now, and can be asked in a moment.
            if self._led_in == term > 0:
                self._refuse("this node leads no more, and knows of no other leader")
        elif now_s - self._since_s >= self._patience_s:
            self._refuse("nobody is known to lead")
        if now_s >= self._remind_s:
            self._remind_s = now_s + REMIND_S
            self._remind(now_s - self._since_s)

    def _remind(self, seconds: float) -> None:
        missing = ", ".join(member.id for member in self._node.missing)
        self._log.warn(
            "nobody leads for {seconds} s now{missing}",
            seconds=round(seconds),
            missing=missing and f"; no answer from {missing}",
        )

    def _refuse(self, reason: str) -> None:
        self._reads.refuse(NoLeader(reason))
