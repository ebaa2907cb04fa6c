"""One way in for every dialect: execute a command, query the state, over a Replica.

It turns commands into log entries, decides from where a read is answered, and adds what a client
needs to find the leader. It knows no HTTP and no Raft message. The wall clock is read here and nowhere
below: the leader stamps it into the entry, so that all replicas see one time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, overload

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime

from raftdb.database.levels import Level, Position
from raftdb.errors import NoLeader, NotLeader, RaftDBError, Refused
from raftdb.replica import Replica
from raftdb.state import ReplicatedState, RequestID, encode_entry
from raftdb.state.entries import Command
from raftdb.state.kv.commands import CompareAndSwap, Delete, DeleteRange, Put, SetRetention
from raftdb.state.kv.reads import Read
from raftdb.state.kv.values import (
    CompareAndSwapResult,
    DeleteResult,
    PutResult,
    RetentionResult,
)

T = TypeVar("T")

TIMEOUT_S = 5.0
"""The deadline of an operation that names none, in seconds."""

_STALE: Final = Level.STALE  # names of their own: to ask an Enum takes 100 ns in Python 3.11
_DEFAULT: Final = Level.DEFAULT


class Database:
    """One node's door to the replicated state.

    What is refused raises or fails with a ``Refused`` of :mod:`raftdb.errors`: it surely did not
    happen. Cancelling a Deferred ends the waiting, never a write.

    :param clock: the monotonic clock
    :param replica: whose state it is
    :param machine: that replica's state machine
    :param wall_ms: the wall clock in ms since 1970; it may jump
    """

    def __init__(
        self,
        clock: IReactorTime,
        replica: Replica,
        machine: ReplicatedState,
        *,
        wall_ms: Callable[[], int],
    ) -> None:
        self._clock = clock
        self._replica = replica
        self._machine = machine
        self._wall_ms = wall_ms

    # -- reading ------------------------------------------------------------------------------

    def query(
        self,
        read: Read[T],
        level: Level = _DEFAULT,
        *,
        leader_only: bool = False,
        timeout_s: float = TIMEOUT_S,
    ) -> Deferred[T]:
        """Answer ``read`` from this node's state.

        :param leader_only: refuse on a follower instead of asking the leader for the read index
        :raises NotLeader: this is a follower, and ``leader_only`` is set
        :raises NoLeader: nobody could confirm the read
        :raises RaftDBError: what ``read`` raises
        """
        try:
            found = self.look_up(read, level, leader_only=leader_only, timeout_s=timeout_s)
        except RaftDBError as error:
            return fail(error)
        return found if isinstance(found, Deferred) else succeed(found)

    def look_up(
        self, read: Read[T], level: Level, *, leader_only: bool, timeout_s: float
    ) -> T | Deferred[T]:
        """Answer ``read`` as :meth:`query` does, at once where nothing has to be waited for.

        A Deferred that has fired before anybody looked at it costs more than the read itself.

        :raises RaftDBError: what :meth:`query` fails with, where that is known at once
        """
        if self._may_answer(level, leader_only=leader_only):
            return read.answer(self._machine.kv)
        barrier = self._replica.read_barrier(timeout_s)
        return barrier.addCallback(lambda _: read.answer(self._machine.kv))

    def _may_answer(self, level: Level, *, leader_only: bool) -> bool:
        """Whether the own state may be read at this level in this very call, without a round.

        The clock is read here and the state in the same call: nothing in between [R13].
        """
        if level is _STALE:
            if not self._replica.serves:
                raise NoLeader("this node is still loading its state")
            return True
        if leader_only:
            self.require_leader()
        return level is _DEFAULT and self._replica.lease_fresh()

    # -- writing ------------------------------------------------------------------------------

    @overload
    def execute(
        self, command: Put, *, request: RequestID | None = None, timeout_s: float = TIMEOUT_S
    ) -> Deferred[PutResult]: ...
    @overload
    def execute(
        self,
        command: Delete | DeleteRange,
        *,
        request: RequestID | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Deferred[DeleteResult]: ...
    @overload
    def execute(
        self,
        command: CompareAndSwap,
        *,
        request: RequestID | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Deferred[CompareAndSwapResult]: ...
    @overload
    def execute(
        self,
        command: SetRetention,
        *,
        request: RequestID | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Deferred[RetentionResult]: ...
    @overload
    def execute(
        self, command: Command, *, request: RequestID | None = None, timeout_s: float = TIMEOUT_S
    ) -> Deferred[object]: ...
    def execute(
        self, command: Command, *, request: RequestID | None = None, timeout_s: float = TIMEOUT_S
    ) -> Deferred[Any]:
        """Replicate ``command`` as one entry; fire with its result when it is applied here.

        :param request: its name, so that it happens exactly once however often it is sent
        :returns: fails with a ``Refused`` where the command surely did not and will not happen, and
            with an ``OutcomeUnknown`` where nobody knows
        """
        try:
            self.require_leader()
        except Refused as error:
            return fail(error)
        entry = encode_entry(command, wall_ms=self._wall_ms(), request=request)
        return self._replica.propose(entry, timeout_s)

    def compare_replicas(self, *, timeout_s: float = TIMEOUT_S) -> Deferred[object]:
        """As the leader, let every replica hold its state against this one's newest checkpoint.

        Does nothing where that was done already. What was found stands in
        ``ReplicatedState.hash_check`` of each node.
        """
        newest = self._machine.hash_check.due(self._replica.id)
        return succeed(None) if newest is None else self.execute(newest, timeout_s=timeout_s)

    # -- where we stand -----------------------------------------------------------------------

    def require_leader(self) -> None:
        """Pass on the leader only.

        :raises NotLeader: naming the leader and where clients reach it
        :raises NoLeader: nobody is known to lead
        """
        leader = self._replica.leader
        if leader is None:
            raise NoLeader
        if leader != self._replica.id:
            raise NotLeader(leader.id, self.leader_http_address)

    def position(self) -> Position:
        """Return where this node stands now; every answer over HTTP asks."""
        replica = self._replica
        leader = replica.leader
        return Position(
            replica.applied,
            replica.term,
            None if leader is None else leader.id,
            replica.leader_contact_age_s,
        )

    @property
    def leader_http_address(self) -> str:
        """Where clients reach the leader, as ``host:port``; empty where it is not known."""
        leader = self._replica.leader
        member = None if leader is None else self._machine.members.get(leader)
        return "" if member is None else member.http_address

    @property
    def revision(self) -> int:
        """The store revision of what this node has applied."""
        return self._machine.kv.revision

    @property
    def state_hash(self) -> int:
        """The hash of everything replicated at ``position().applied_index``."""
        return self._machine.state_hash
