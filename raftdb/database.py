"""Put, get, delete: the operations of the database, with their consistency levels, over a Replica.

It turns calls into commands and commands into envelopes, decides from where a read is answered, and
adds what a client needs to find the leader. It knows no HTTP and no Raft message. The wall clock is
read here and nowhere below: the leader stamps it into the envelope, so that all replicas see one
time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final, TypeVar, cast

import msgspec
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime

from raftdb.errors import NoLeader, NotLeader, RaftDBError, Refused
from raftdb.replica import Replica
from raftdb.state import (
    Machine,
    ReplicatedState,
    Session,
    encode_envelope,
    encode_state_hash,
)
from raftdb.state.kv.commands import (
    Command,
    CompareAndSwap,
    Delete,
    DeleteRange,
    Expectation,
    Put,
    encode_command,
)
from raftdb.state.kv.values import (
    CompareAndSwapResult,
    DeleteResult,
    KeyValue,
    PutResult,
    RangePage,
)
from raftdb.state.members import MembersCommand, encode_members_command

T = TypeVar("T")

TIMEOUT_S = 5.0
"""The deadline of an operation that names none, in seconds."""


class Level(Enum):
    """How old an answer may be.

    STALE: what this node has applied, however long ago it heard of the leader. DEFAULT: at most one
    election timeout older than the newest acknowledged write. CONSISTENT: linearizable.
    """

    STALE = "stale"
    DEFAULT = "default"
    CONSISTENT = "consistent"


_STALE: Final = Level.STALE  # names of their own: to ask an Enum takes 100 ns in Python 3.11
_DEFAULT: Final = Level.DEFAULT


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where this node stands in the cluster's history.

    :param applied_index: of the state that answers are read from
    :param term: the current term
    :param leader_id: as given by ``--id``, None where nobody is known to lead
    :param leader_contact_age_s: since the leader was heard, None for never
    """

    applied_index: int
    term: int
    leader_id: str | None
    leader_contact_age_s: float | None


class Database:
    """One node's door to the replicated keys.

    Every operation returns a Deferred that fails with an error of :mod:`raftdb.errors`: a
    ``Refused`` surely did not happen. Cancelling it ends the waiting, never a write.

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

    def get(
        self,
        key: bytes,
        level: Level = Level.DEFAULT,
        *,
        revision: int | None = None,
        leader_only: bool = False,
        timeout_s: float = TIMEOUT_S,
    ) -> Deferred[KeyValue | None]:
        """Return the key, or None where it does not exist.

        :param revision: read it as it was then; now if None
        :param leader_only: refuse on a follower instead of asking the leader for the read index
        :raises NotLeader: this is a follower, and ``leader_only`` is set
        :raises NoLeader: nobody could confirm the read
        """

        def read() -> KeyValue | None:
            return self._machine.kv.get(key, revision)

        return self._read(read, level, leader_only=leader_only, timeout_s=timeout_s)

    def look_up(
        self, key: bytes, level: Level, *, leader_only: bool, timeout_s: float
    ) -> KeyValue | Deferred[KeyValue | None] | None:
        """Read as :meth:`get` does, and return at once what need not be waited for.

        A Deferred that has fired before anybody looked at it costs more than the read itself.

        :raises RaftDBError: what :meth:`get` fails with, where that is known at once
        """
        if self._may_answer(level, leader_only=leader_only):
            return self._machine.kv.get(key)
        barrier = self._replica.read_barrier(timeout_s)
        return barrier.addCallback(lambda _: self._machine.kv.get(key))

    def range(
        self,
        start: bytes,
        end: bytes = b"",
        *,
        level: Level = Level.DEFAULT,
        revision: int | None = None,
        limit: int = 1000,
        leader_only: bool = False,
        timeout_s: float = TIMEOUT_S,
    ) -> Deferred[RangePage]:
        """Return a page of the keys in ``[start, end)``; an empty ``end`` means: to the end."""

        def read() -> RangePage:
            return self._machine.kv.range(start, end, revision=revision, limit=limit)

        return self._read(read, level, leader_only=leader_only, timeout_s=timeout_s)

    def _read(
        self, read: Callable[[], T], level: Level, *, leader_only: bool, timeout_s: float
    ) -> Deferred[T]:
        try:
            if self._may_answer(level, leader_only=leader_only):
                return succeed(read())
        except RaftDBError as error:  # also Compacted: the revision is no longer kept
            return fail(error)
        return self._replica.read_barrier(timeout_s).addCallback(lambda _: read())

    def _may_answer(self, level: Level, *, leader_only: bool) -> bool:
        """Whether the own state may be read at this level in this very call, without a round.

        The clock is read here and the state in the same call: nothing in between [13].
        """
        if level is _STALE:
            if not self._replica.serves:
                raise NoLeader("this node is still loading its state")
            return True
        if leader_only:
            self.require_leader()
        return level is _DEFAULT and self._replica.lease_fresh()

    # -- writing ------------------------------------------------------------------------------

    def put(
        self,
        pairs: Iterable[tuple[bytes, bytes]],
        *,
        session: Session | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Deferred[PutResult]:
        """Write keys, all of them or none, at one revision."""
        written = self._write(lambda: Put(tuple(pairs)), session, timeout_s)
        return cast("Deferred[PutResult]", written)

    def delete(
        self,
        keys: Iterable[bytes],
        *,
        session: Session | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Deferred[DeleteResult]:
        """Delete keys, all at one revision; those that do not exist are passed over."""
        written = self._write(lambda: Delete(tuple(keys)), session, timeout_s)
        return cast("Deferred[DeleteResult]", written)

    def delete_range(
        self,
        start: bytes,
        end: bytes = b"",
        *,
        session: Session | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Deferred[DeleteResult]:
        """Delete the keys in ``[start, end)``; an empty ``end`` means: to the end."""
        written = self._write(lambda: DeleteRange(start, end), session, timeout_s)
        return cast("Deferred[DeleteResult]", written)

    def compare_and_swap(
        self,
        key: bytes,
        expected: Expectation,
        value: bytes | None,
        *,
        session: Session | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Deferred[CompareAndSwapResult]:
        """Write ``value``, or delete for None, if the key is as expected; the result says."""
        written = self._write(lambda: CompareAndSwap(key, expected, value), session, timeout_s)
        return cast("Deferred[CompareAndSwapResult]", written)

    def change_members(
        self, command: MembersCommand, *, timeout_s: float = TIMEOUT_S
    ) -> Deferred[object]:
        """Replicate a command for the table of members; for :mod:`raftdb.membership`."""
        return self._propose(Machine.MEMBERS, encode_members_command(command), None, timeout_s)

    def compare_replicas(self, *, timeout_s: float = TIMEOUT_S) -> Deferred[object]:
        """As the leader, let every replica hold its state against this one's newest checkpoint.

        Does nothing where that was done already. What was found stands in
        ``ReplicatedState.hash_check`` of each node.
        """
        witnessed = self._machine.hash_check.due(self._replica.id)
        if witnessed is None:
            return succeed(None)
        return self._propose(Machine.HASH_CHECK, encode_state_hash(witnessed), None, timeout_s)

    def _write(
        self, command: Callable[[], Command], session: Session | None, timeout_s: float
    ) -> Deferred[object]:
        try:
            body = encode_command(command())  # what is wrong with it is told by followers, too
        except Refused as error:
            return fail(error)
        return self._propose(Machine.KV, body, session, timeout_s)

    def _propose(
        self, machine: Machine, body: bytes, session: Session | None, timeout_s: float
    ) -> Deferred[object]:
        try:
            self.require_leader()
        except Refused as error:
            return fail(error)
        envelope = encode_envelope(machine, body, wall_ms=self._wall_ms(), session=session)
        return self._replica.propose(envelope, timeout_s)

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
