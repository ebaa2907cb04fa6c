"""One node as a service: what starts after what, what stops before what, and what ends it.

Nothing happens before ``startService``: twistd forks in between, and neither threads nor locks
survive that. The stop is a sequence, not Twisted's stop of all children at once: a connection must
not close before the answer that goes over it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from random import Random

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from raftdb.disk.threads import WorkThread
from raftdb.disk.writer import Writer
from raftdb.errors import JoinRefused, OutcomeUnknown, RaftDBError, ShuttingDown, StorageError
from raftdb.membership import HttpDirectory, KnownMember, quiet_client
from raftdb.node.admission import FEATURE_LEVEL_MAX, Admission, check_name
from raftdb.node.descriptors import raise_limit, share
from raftdb.node.listening import Listener
from raftdb.node.parts import NodeParts
from raftdb.node.peer_setup import PeerSetup, listening_transport, local_member
from raftdb.node.settings import Settings
from raftdb.node.starting_site import StartingSite
from raftdb.raft.types import MemberID, Role
from raftdb.reactor.interfaces import Reactor
from raftdb.storage import DataDirectory, RealFileSystem

STOP_S = 1.8
"""How long a stop may take. A save that hangs for longer ends the process with exit code 1."""

TRANSFER_S = 0.5
"""Of it, for handing leadership over."""

ANSWER_S = 0.4
"""Of it, for answering what is in flight."""

FLUSH_S = 0.3
"""Of it, for the last requests to come and the last answers to leave."""

LINGER_S = 0.1
"""Of it, for clients to close their side of what is closed on ours."""

FAREWELL_S = 0.5
"""How long a node that learns of its removal still answers what it was asked before.

It may be the leader that was asked to remove itself, and learn of it first from the others.
"""

LOOK_S = 0.02
"""Between two looks at something that takes a moment."""

DESCRIPTORS_KEPT = 8
"""For the files of the data directory, whatever connections there are."""

CONNECT_TIMEOUT_S = 2.0
"""For reaching another node's HTTP port."""


class Node(Service):
    """One node of a cluster.

    :param reactor: clock, sockets, threads
    :param settings: as the operator wants it
    :param die: ends the process with exit code 1, having said why; it does not return
    :param on_serving: is called once, when the node takes part
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Reactor,
        settings: Settings,
        *,
        die: Callable[[Failure], None],
        on_serving: Callable[[], None] = lambda: None,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._die = die
        self._on_serving = on_serving
        self._boot = secrets.randbits(64)
        self._rng = Random(secrets.randbits(128))
        self._writer = Writer(reactor, wanted=settings.log_writer == "auto")
        self._filler = WorkThread(reactor, "raftdb-filler")
        self._clients = Listener("clients", (b"http/1.1",))
        self._peers = Listener("peers")
        self._directory = HttpDirectory(reactor, quiet_client(reactor, CONNECT_TIMEOUT_S))
        self._admission = Admission(reactor, settings, self._directory)
        self._data: DataDirectory | None = None
        self._parts: NodeParts | None = None
        self._starting: Deferred[None] | None = None
        self._stopping = False
        self._is_leaving = False

    # -- start --------------------------------------------------------------------------------

    def startService(self) -> None:
        """Begin; what goes wrong on the way ends the process."""
        super().startService()
        self._starting = Deferred.fromCoroutine(self._start()).addErrback(self._failed)

    async def _start(self) -> None:
        settings = self._within_descriptors()
        wire = PeerSetup(self._reactor, settings)
        data = await self._writer.run(
            lambda: DataDirectory.open(
                RealFileSystem(reserve=DESCRIPTORS_KEPT), str(settings.data_dir)
            )
        )
        self._data = data
        name = check_name(settings, data)
        await self._peers.open(
            self._reactor,
            settings.raft_listen or settings.raft_address,
            patience_s=settings.join_timeout_s,
        )
        self._clients.lead_to(
            StartingSite(
                self._reactor,
                f"{name} is not part of a cluster yet",
                connections_max=settings.connections_max,
            )
        )
        await self._clients.open(
            self._reactor,
            settings.http_listen or settings.http_address,
            patience_s=settings.join_timeout_s,
        )
        known = await self._enter(data, name, wire) if data.identity is None else ()
        parts = self._build(data, wire)
        self._parts = parts
        self._peers.lead_to(wire.listen(parts.transport.factory))
        self._clients.lead_to(parts.site)
        parts.start(known)
        self._log.info(
            "started: id={id} cluster={cluster:032x} http={http} raft={raft} data={data}",
            id=parts.member,
            cluster=parts.storage.identity.cluster_id,
            http=settings.http_address,
            raft=settings.raft_address,
            data=settings.data_dir,
        )
        self._on_serving()
        await self._take_part(parts, data, asked=bool(known))

    def _within_descriptors(self) -> Settings:
        """Cap connections beneath the limit of open files, once that is as high as it goes."""
        settings = self._settings
        shares = share(
            raise_limit(), http=settings.connections_max, peers=settings.peer_connections_max
        )
        self._settings = replace(
            settings, connections_max=shares.http, peer_connections_max=shares.peers
        )
        return self._settings

    async def _enter(
        self, data: DataDirectory, name: str, wire: PeerSetup
    ) -> tuple[KnownMember, ...]:
        """Make the empty directory a member's; return the members it was told."""
        data.check_room(self._settings.storage_limits)  # before anybody counts on the node
        member = MemberID(name, secrets.randbits(128))
        if self._settings.join:
            return await self._admission.join(data, member)
        local = local_member(
            self._settings,
            member,
            boot=self._boot,
            cluster_id=None,
            feature_level=FEATURE_LEVEL_MAX,
        )
        listening = listening_transport(
            self._reactor,
            self._settings,
            local,
            wire,
            self._rng,
            lambda facts, _: self._admission.heard(facts),
        )
        self._peers.lead_to(wire.listen(listening.factory))
        try:
            await self._admission.found(data, member)
        finally:
            listening.stop()
        return ()

    def _build(self, data: DataDirectory, wire: PeerSetup) -> NodeParts:
        storage = data.recover(
            run=self._writer.run,
            fill=self._filler.run,
            crash=self._die,
            limits=self._settings.storage_limits,
        )
        return NodeParts(
            self._reactor,
            self._settings,
            storage,
            wire,
            self._directory,
            rng=self._rng,
            boot=self._boot,
            die=self._die,
            on_removed=self._removed,
        )

    async def _take_part(self, parts: NodeParts, data: DataDirectory, *, asked: bool) -> None:
        """See to it that a node that has all it needs does not wait for what never comes.

        :param asked: whether a cluster has just taken the node in
        """
        commit = parts.storage.log.initial_state()[0].commit
        while not parts.replica.serves or parts.replica.applied < commit:
            await deferLater(self._reactor, LOOK_S)
        conf_state = parts.machine.conf_state
        if conf_state.voters:  # a newcomer's configuration comes with its log
            parts.journal.configuration(conf_state, initial=True)
        if conf_state.voters == (parts.member,):
            parts.replica.campaign()  # there is nobody whose leadership could be disturbed
        if self._settings.join and not parts.is_member and not asked:
            await self._ask_again(parts, data)

    async def _ask_again(self, parts: NodeParts, data: DataDirectory) -> None:
        """Ask to be taken in: an earlier start may have ended before the cluster agreed to it."""
        try:
            await self._admission.join(data, parts.member)
        except OutcomeUnknown:
            if not parts.is_member:  # the cluster may have come to us in the meantime
                raise

    # -- stop ---------------------------------------------------------------------------------

    def stopService(self) -> Deferred[None]:
        """Hand over, take nothing new, answer, finish the save in hand, close: in this order."""
        super().stopService()
        self._stopping = True
        return Deferred.fromCoroutine(self._stop()).addErrback(self._die)

    async def _stop(self) -> None:
        patience = self._reactor.callLater(STOP_S, self._hangs)
        self._admission.stop()
        if self._starting is not None:
            self._starting.cancel()
        if self._parts is not None:
            await self._stop_parts(self._parts)
        elif self._data is not None:
            self._data.close()
        await self._clients.close()
        await self._peers.close()
        patience.cancel()
        self._log.info("stopped")

    async def _stop_parts(self, parts: NodeParts) -> None:
        parts.site.wind_up()
        parts.autopilot.stop()
        if parts.replica.role is Role.LEADER:
            await self._hand_over(parts)
        # The port stays open until here: whoever comes now is told where to go, or that nothing
        # was done, while a port that is closed first would leave its queue with broken connections.
        await parts.replica.stop(ANSWER_S)
        await self._clients.close()
        await parts.site.take_leave(answer_s=FLUSH_S, linger_s=LINGER_S)
        parts.hash_check_duty.stop()
        parts.watch.stop()
        if parts.upkeep.running:
            parts.upkeep.stop()
        parts.collector.stop()
        await parts.transport.stop()
        await parts.storage.close()
        await self._writer.stop()

    async def _hand_over(self, parts: NodeParts) -> None:
        """Let somebody else lead first: an orderly stop costs the clients no election timeout."""
        try:
            await parts.replica.transfer_leadership(None, TRANSFER_S)
        except RaftDBError as error:
            self._log.info("stopping as the leader: {error}", error=error)

    # -- the end ------------------------------------------------------------------------------

    def _failed(self, failure: Failure) -> None:
        if self._stopping and failure.check(CancelledError, ShuttingDown):
            return
        self._die(failure)

    def _hangs(self) -> None:
        error = StorageError(
            f"the disk has kept a save for {STOP_S} s; nothing more is acknowledged"
        )
        self._die(Failure(error))

    def _removed(self) -> None:
        if not (self._stopping or self._is_leaving):
            self._is_leaving = True
            error = JoinRefused(
                f"{self._settings.data_dir} belongs to a node that was removed from its cluster. To"
                " bring the node back, empty the directory and start it with --join"
            )
            self._reactor.callLater(FAREWELL_S, self._leave, Failure(error))

    def _leave(self, failure: Failure) -> None:
        if not self._stopping:
            self._die(failure)
