"""Log space: what is taken in only if it surely can be kept [R18], and dropped again some day.

A write is refused before it gets an index or not at all: once it has one, a full disk could neither
keep nor refuse it, and its outcome would be unknown. A follower drops an append it has no room for,
as if the network had lost it: it goes on following and voting, and gets the entries later.

Log can be dropped when a snapshot is complete. Where too much lies beyond the newest one, nothing is
taken in until the next is.
"""

from __future__ import annotations

from twisted.logger import Logger

from raftdb.errors import Overloaded
from raftdb.raft.messages import AppendEntries
from raftdb.raft.node import RawNode
from raftdb.raft.types import Role
from raftdb.replica.seams import Storage
from raftdb.replica.snapshots import Snapshots
from raftdb.replica.transfers import best_successor

_RETRY_MIN, _RETRY_MAX = 2, 10
"""A leader whose space is still refused tries to hand over again after so many patiences, doubling.

The first choice may have been cut off a moment ago, and is known to be by the second; where all are
without space, a transfer in every patience would be worse than none.
"""

_SNAPSHOT_PATIENCES = 25
"""For how many patiences a leader waits for a snapshot under way: it ends by itself, unless the disk
hangs, and the others are most likely no further."""


class Admission:
    """Counts what the core has taken in and the storage has not been given yet.

    :param storage: knows how much log space is reserved
    :param snapshots: know how much log waits for them
    :param patience_s: for how long a leader without space waits before it gives leadership away
    """

    _log = Logger()

    def __init__(self, storage: Storage, snapshots: Snapshots, *, patience_s: float) -> None:
        self._storage = storage
        self._snapshots = snapshots
        self._patience_s = patience_s
        self._unsaved_bytes = 0
        self._refused_bytes = 0
        self._relief_s: float | None = None
        self._retry = _RETRY_MIN
        self._dropped_bytes = 0
        self._full_s: float | None = None

    def check(self, bytes_count: int) -> None:
        """Let a proposal of this size pass.

        :raises Overloaded: no space is reserved for it, or a snapshot has to be complete first
        """
        if self._snapshots.lags:
            self._refused_bytes = bytes_count
            raise Overloaded("writes wait for a snapshot: no more log is kept without one")
        if not self._storage.admits(self._unsaved_bytes + bytes_count):
            self._refused_bytes = bytes_count
            raise Overloaded("no log space is reserved for this write; the disk may be full")

    def took(self, bytes_count: int) -> None:
        """Note that the core has taken in entries of this size."""
        self._unsaved_bytes += bytes_count

    def takes(self, append: AppendEntries) -> bool:
        """Say whether there is room for an append, and count it if so."""
        if not append.entries:
            return True
        bytes_count = sum(entry.size for entry in append.entries)
        if not self._has_room(bytes_count):
            self._dropped_bytes = bytes_count
            return False
        self._unsaved_bytes += bytes_count
        return True

    def full(self, now_s: float) -> bool:
        """Say whether appends have been dropped for too long, and still would be [R6].

        The patience is for bursts: reserved space is made a little later than it is used up.
        """
        if not self._dropped_bytes:
            return False
        if self._has_room(self._dropped_bytes):
            self._dropped_bytes = 0
            self._full_s = None
            return False
        if self._full_s is None:
            self._full_s = now_s + self._patience_s
        return now_s >= self._full_s

    def _has_room(self, bytes_count: int) -> bool:
        """Whether the log may grow by so much more."""
        return not self._snapshots.lags and self._storage.admits(self._unsaved_bytes + bytes_count)

    @property
    def short_of_room(self) -> str | None:
        """What there is no room for, None for enough."""
        if self._snapshots.troubled is not None:
            return f"the disk has no room for a snapshot: {self._snapshots.troubled}"
        if self._full_s is not None or self._relief_s is not None:
            return "no log space is reserved: the disk has no room, or a snapshot is late"
        return None

    def saving(self) -> None:
        """Note that all entries so far have been given to the storage."""
        self._unsaved_bytes = 0

    def relieve(self, node: RawNode, now_s: float) -> None:
        """Begin to hand leadership over where this node leads without space."""
        if node.role is not Role.LEADER or not self.needs_relief(now_s):
            return
        # Just after CheckQuorum has counted, nobody has answered yet: then a later tick finds one.
        successor = best_successor(node.status())
        if successor is not None:
            self._log.warn("no log space: leadership goes to {to}", to=successor)
            self.handed_over(now_s)
            node.transfer_leadership(successor)

    def needs_relief(self, now_s: float) -> bool:
        """Say whether to give leadership away now: a write has been refused for too long.

        It says so until :meth:`handed_over`, for there may be nobody to give it to at the moment.
        """
        if not self._refused_bytes:
            return False
        if self._has_room(self._refused_bytes):
            self._refused_bytes = 0
            self._relief_s = None
            self._retry = _RETRY_MIN
            return False
        if self._relief_s is None:
            waits = self._snapshots.under_way and self._snapshots.lags
            self._relief_s = now_s + self._patience_s * (_SNAPSHOT_PATIENCES if waits else 1)
        return now_s >= self._relief_s

    def handed_over(self, now_s: float) -> None:
        """Note that somebody was asked to take leadership, and leave time for that to happen."""
        self._relief_s = now_s + self._retry * self._patience_s
        self._retry = min(2 * self._retry, _RETRY_MAX)
