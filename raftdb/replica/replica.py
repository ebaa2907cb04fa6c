"""One Raft core at work: the entries into it, its ticks, its life, and what is known of it.

The order of things within a turn is :mod:`raftdb.replica.pump`'s. This module knows no bytes, no
files, no sockets and no keys: those are behind the protocols of :mod:`raftdb.replica.seams`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from raftdb.errors import (
    LeadershipLost,
    ProposalDropped,
    Refused,
    RemoteProtocolError,
    ShuttingDown,
)
from raftdb.raft.config import Config
from raftdb.raft.messages import AppendEntries, Message
from raftdb.raft.node import RawNode
from raftdb.raft.storage import LogReader
from raftdb.raft.types import ENTRY_OVERHEAD_BYTES, ConfChange, Entry, EntryID, MemberID, Role
from raftdb.replica.admission import Admission
from raftdb.replica.clients import Clients
from raftdb.replica.failover import Failover
from raftdb.replica.guard import Guard
from raftdb.replica.leaderless import Leaderless
from raftdb.replica.lease import Lease
from raftdb.replica.options import ReplicaOptions
from raftdb.replica.pump import Pump, PumpParts
from raftdb.replica.seams import Soon, StateMachine, Storage, Transport
from raftdb.replica.snapshots import Snapshots, next_turn
from raftdb.replica.status import ReplicaStatus
from raftdb.replica.ticker import Ticker
from raftdb.replica.transfers import best_successor


class Replica:
    """Drives one RawNode between a clock, a disk, a network and a state machine.

    Methods that return a Deferred never raise: an error comes as a failure of
    :mod:`raftdb.errors`. Cancelling such a Deferred ends the waiting, never the operation.

    :param clock: monotonic, and counting the time in which the machine was suspended
    :param config: of the core
    :param storage: recovered and readable; the Replica is its only writer
    :param transport: carries messages away
    :param machine: empty; the newest snapshot is loaded into it by :meth:`start`
    :param options: limits
    :param crash: is called once, with what must not have happened; nothing is sent or acknowledged
        afterwards. In production it ends the process.
    :param on_role_change: is told role, leader and term after each turn that changed one of them
    :param on_loaded: is called when a snapshot has become the state; in production it takes the
        many new objects out of the garbage collector's sight
    :param core: makes the core; the simulator has one that tells a trace
    :param soon: has a turn taken, once, behind the events that are at hand, never before it
        returns; by the clock unless given
    :param wall_ms: the wall clock in ms since 1970, which may jump; a jump ahead ends the lease
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        *,
        config: Config,
        storage: Storage,
        transport: Transport,
        machine: StateMachine,
        options: ReplicaOptions,
        crash: Callable[[Failure], None],
        on_role_change: Callable[[Role, MemberID | None, int], None] = lambda *_: None,
        on_loaded: Callable[[], None] = lambda: None,
        core: Callable[[Config, LogReader], RawNode] = RawNode,
        soon: Soon | None = None,
        wall_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        self._clock = clock
        self._storage = storage
        self._options = options
        self._crash_node = crash
        self._on_role_change = on_role_change
        self._guard = Guard(self._crash)
        self._accepting = False
        self._crashed = False
        self._stopped: Deferred[None] | None = None
        self._known: tuple[Role, MemberID | None, int] = (Role.FOLLOWER, None, 0)
        self._election_s = config.election_ticks * options.tick_s
        self._node = core(config, storage.log)
        self._loads_to = storage.log.snapshot().last.index
        self._clients = Clients(self._node.read_index, options, patience_s=self._election_s)
        self._snapshots = Snapshots(clock, storage, machine, options, crash=self._crash)
        self._admission = Admission(storage, self._snapshots, patience_s=self._election_s)
        self._lease = Lease(clock, self._node, bound_s=self._election_s, wall_ms=wall_ms)
        self._leaderless = Leaderless(self._node, self._clients.reads, self._election_s)
        self._ticker = Ticker(clock, options.tick_s, self._tick)
        self._failover = Failover(
            clock,
            self._node,
            rng=config.rng,
            heartbeat_s=config.heartbeat_ticks * options.tick_s,
            campaign=self.campaign,
        )
        parts = PumpParts(
            clock=clock,
            soon=soon or partial(clock.callLater, 0),
            node=self._node,
            storage=storage,
            transport=transport,
            machine=machine,
            clients=self._clients,
            admission=self._admission,
            lease=self._lease,
            snapshots=self._snapshots,
        )
        self._pump = Pump(parts, crash=self._crash, turned=self._observe, loaded=on_loaded)

    # -- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Take part, and load the newest snapshot meanwhile; see :attr:`serves`."""
        self._accepting = True
        self._ticker.start()
        self._pump.start()

    def stop(self, grace_s: float = 0.0) -> Deferred[None]:
        """Take nothing new, answer what is in flight for up to ``grace_s``, finish the save.

        What is unanswered then ends as unknown. Fires when the storage is not used any more; while
        a save hangs it does not fire, and the caller brings its own patience.
        """
        if self._stopped is None:
            self._accepting = False
            self._stopped = Deferred.fromCoroutine(self._stop(grace_s)).addErrback(self._crash)
        done: Deferred[None] = Deferred()
        self._stopped.addBoth(lambda _: done.callback(None))
        return done

    async def _stop(self, grace_s: float) -> None:
        ends_s = self._clock.seconds() + grace_s
        while self._clients.waiting and self._clock.seconds() < ends_s and self._pump.running:
            await next_turn(self._clock, self._options.tick_s / 10)
        rest = self._halt()
        await self._snapshots.abandon()
        await rest

    def _crash(self, failure: Failure) -> None:
        if self._crashed:
            return
        self._crashed = True
        self._crash_node(failure)
        self._halt()

    def _halt(self) -> Deferred[None]:
        self._accepting = False
        self._ticker.stop()
        self._failover.stop()
        rest = self._pump.stop()
        self._clients.abandon()
        return rest

    # -- inputs from clients --------------------------------------------------------------------

    def propose(self, envelope: bytes, timeout_s: float) -> Deferred[object]:
        """Replicate one command; fires with the state machine's result once it is applied.

        :param envelope: the command's bytes, not empty
        :param timeout_s: after which the outcome is given up as unknown
        :raises Refused: it is surely not applied, neither now nor later
        :raises OutcomeUnknown: it may or may not be applied
        """
        assert envelope, "an empty entry is the core's own"
        with self._guard:
            try:
                size = len(envelope) + ENTRY_OVERHEAD_BYTES
                self._admit(size)
                return self._await(self._node.propose(envelope), size, timeout_s)
            except Refused as error:
                return fail(error)
        return fail(LeadershipLost("the node crashed"))

    def propose_conf_change(self, change: ConfChange, timeout_s: float) -> Deferred[object]:
        """Replicate one change of the membership; as :meth:`propose`.

        :raises MembershipBusy: a guard forbids it now
        :raises ConfChangeError: it makes no sense
        """
        with self._guard:
            try:
                size = Entry(term=0, index=0, change=change).size
                self._admit(size)
                return self._await(self._node.propose_conf_change(change), size, timeout_s)
            except Refused as error:
                return fail(error)
        return fail(LeadershipLost("the node crashed"))

    def read_barrier(self, timeout_s: float) -> Deferred[None]:
        """Wait until this node's own state shows everything acknowledged before this call.

        :param timeout_s: for how long a lost request is asked again
        :raises NoLeader: there is nobody to ask
        :raises Timeout: nobody confirmed it in time
        """
        with self._guard:
            try:
                self._admit()
            except Refused as error:
                return fail(error)
            self._pump.wake()
            return self._clients.reads.wait(self._clock.seconds() + timeout_s)
        return fail(ShuttingDown())

    def transfer_leadership(self, to: MemberID | None, timeout_s: float) -> Deferred[None]:
        """Hand leadership over; fires when ``to`` leads.

        :param to: the successor, or None for the voter in contact with the longest log
        :raises NotLeader: this node has nothing to hand over
        :raises ProposalDropped: it did not come to it; this node leads on, or somebody else does
        """
        with self._guard:
            try:
                return self._transfer(to, timeout_s)
            except Refused as error:
                return fail(error)
        return fail(LeadershipLost("the node crashed"))

    def _transfer(self, to: MemberID | None, timeout_s: float) -> Deferred[None]:
        to = to or best_successor(self._node.status())
        if to is None:
            raise ProposalDropped("there is no other voter in contact to hand leadership to")
        self._node.transfer_leadership(to)
        self._pump.wake()
        return self._clients.transfers.wait(to, self._clock.seconds() + timeout_s)

    def _await(self, entry: EntryID, size: int, timeout_s: float) -> Deferred[object]:
        self._admission.took(size)
        self._pump.wake()
        return self._clients.proposals.wait(entry, self._clock.seconds() + timeout_s)

    def _admit(self, log_bytes: int = 0) -> None:
        if not self._accepting:
            raise ShuttingDown
        self._clients.admit()
        if log_bytes:
            self._admission.check(log_bytes)

    # -- inputs from peers ----------------------------------------------------------------------

    def deliver(self, messages: Iterable[Message]) -> None:
        """Take the messages of one frame."""
        for message in messages:
            self.step(message)

    def step(self, message: Message) -> None:
        """Take one message from a peer; one that breaks the protocol is dropped."""
        if not self._pump.running:
            return
        with self._guard:
            if isinstance(message, AppendEntries) and not self._admission.takes(message):
                return
            try:
                self._node.step(message)
            except RemoteProtocolError as error:
                self._log.warn(
                    "dropped a message from {peer}: {error}", peer=message.sender, error=error
                )
                return
            self._lease.heard_from(message.sender)
            self._pump.wake_if_due()

    def report_unreachable(self, peer: MemberID) -> None:
        """Take note that messages to ``peer`` were dropped: probe it before sending more."""
        self._input(lambda: self._node.report_unreachable(peer))

    def report_snapshot(self, peer: MemberID, ok: bool) -> None:
        """Take note how sending a snapshot to ``peer`` ended."""
        self._input(lambda: self._node.report_snapshot(peer, ok))

    def link_lost(self, member: MemberID, refused: bool) -> None:
        """Take note that the connection from ``member`` ended, and how a redial went [R10]."""
        self._input(lambda: self._failover.link_lost(member, refused=refused))

    def forget_leader(self) -> None:
        """Drop this follower's own lease on its leader, so that it grants votes at once."""
        self._input(self._node.forget_leader)

    def campaign(self) -> None:
        """Stand for election now: the first node of a new cluster need not wait its timeout."""
        self._input(self._node.campaign)

    def _input(self, act: Callable[[], None]) -> None:
        if self._pump.running:
            with self._guard:
                act()
                self._pump.wake()

    # -- time and observation -------------------------------------------------------------------

    def _tick(self, elapsed: int) -> None:
        if not self._pump.running:
            return
        with self._guard:
            now_s = self._clock.seconds()
            self._lease.ticking()
            self._node.report_full(self._admission.full(now_s))
            self._node.tick(elapsed)
            self._clients.expire(now_s)
            self._pump.take_snapshot_if_due()
            self._leaderless.tick(now_s)
            self._admission.relieve(self._node, now_s)
            self._pump.wake()

    def _observe(self) -> None:
        now = self._node.standing
        if self._clients.transfers:
            transferee = self._node.status().transferee
            self._clients.transfers.observe(self._node.leader, transferee, self._node.id)
        if now != self._known:
            self._known = now
            if self._node.leader is not None:
                self._clients.reads.ask_again(self._clock.seconds(), all_of_them=True)
            self._on_role_change(*now)

    # -- what is known --------------------------------------------------------------------------

    @property
    def id(self) -> MemberID:
        """Who this node is."""
        return self._node.id

    @property
    def core(self) -> RawNode:
        """The core itself, for invariants and tests; nobody else looks there."""
        return self._node

    @property
    def serves(self) -> bool:
        """Whether the state machine holds at least what it held before the last restart's snapshot.

        Before that it is empty, and nobody should read it.
        """
        return self._pump.running and self._pump.applied >= self._loads_to

    @property
    def leader(self) -> MemberID | None:
        """Who leads, as far as this node knows."""
        return self._node.leader

    @property
    def role(self) -> Role:
        """What this node is at the moment."""
        return self._node.role

    @property
    def term(self) -> int:
        """The current term."""
        return self._node.term

    @property
    def applied(self) -> int:
        """The index at which the state machine stands."""
        return self._pump.applied

    @property
    def leader_contact_age_s(self) -> float | None:
        """How long ago the leader was in contact; see :class:`~raftdb.replica.lease.Lease`."""
        return self._lease.contact_age_s

    @property
    def short_of_room(self) -> str | None:
        """What this node's disk has no room for, None for enough."""
        return self._admission.short_of_room

    def lease_fresh(self) -> bool:
        """Say whether the own state is, at this instant, at most T older than the newest [R13]."""
        return self._pump.running and self._lease.fresh

    def status(self) -> ReplicaStatus:
        """Return a picture of this instant."""
        return ReplicaStatus(
            raft=self._node.status(),
            applied=self._pump.applied,
            snapshot_index=self._storage.snapshot_index,
            log_bytes=self._storage.log_bytes,
            proposals_waiting=len(self._clients.proposals),
            reads_waiting=len(self._clients.reads),
            leader_contact_age_s=self.leader_contact_age_s,
            stall_max_s=self._ticker.stall_max_s,
            save_overdue=self._node.save_overdue,
        )
