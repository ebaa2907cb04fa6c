"""Everything that makes a member, built and plugged together; nothing of it runs before ``start``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random
from typing import cast

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from raftdb.database import Database
from raftdb.dialects.site import make_site
from raftdb.duties.autopilot import Autopilot
from raftdb.duties.hash_check import HashCheckDuty
from raftdb.http.limits import Limits
from raftdb.http.site import LimitedSite
from raftdb.membership import (
    Directory,
    KnownMember,
    Membership,
    Proposer,
    ProposerOptions,
)
from raftdb.node.admission import FEATURE_LEVEL_MAX, envelope, own_record
from raftdb.node.journal import Journal
from raftdb.node.peer_setup import PeerSetup, local_member, peer_limits
from raftdb.node.peer_watch import PeerWatch, announced, sighting
from raftdb.node.settings import Settings
from raftdb.node.status import NodeStatus, node_status, unready
from raftdb.peer.handshake import PROTOCOL_MAX, PROTOCOL_MIN, HelloFacts, Refusal
from raftdb.peer.snapshot_sender import SnapshotFiles
from raftdb.peer.transport import PeerTransport
from raftdb.raft.config import Config
from raftdb.reactor.collector import Collector
from raftdb.reactor.epoll_pass import soon
from raftdb.replica import Replica, ReplicaOptions
from raftdb.state import ReplicatedState
from raftdb.storage import DurableStorage

LOOK_S = 1.0
"""Between two looks at whether the files are still there."""

OWN_WAITING_MAX = 64
"""Proposals of the membership that may wait besides those of clients."""


class NodeParts:
    """One member's transport, replica, database, membership and site.

    :param reactor: the clock of all of them
    :param settings: as the operator wants it
    :param storage: recovered
    :param wire: how the other members are reached
    :param directory: how other members are asked
    :param rng: for timeouts and jitter
    :param boot: nonce of this process start
    :param die: is called with what must not have happened, and ends the process
    :param on_removed: is called when this node learns that it is no member any more
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        settings: Settings,
        storage: DurableStorage,
        wire: PeerSetup,
        directory: Directory,
        *,
        rng: Random,
        boot: int,
        die: Callable[[Failure], None],
        on_removed: Callable[[], None],
    ) -> None:
        self.storage = storage
        self.member = storage.identity.member
        self.journal = Journal()
        self.machine = ReplicatedState()
        self.collector = Collector(reactor.seconds)
        self._clock = reactor
        self._settings = settings
        self._wire = wire
        self._rng = rng
        self._boot = boot
        self.transport = self._make_transport(on_removed)
        self.replica = self._make_replica(die)
        self.database = Database(reactor, self.replica, self.machine, wall_ms=_wall_ms)
        agreement = self._make_agreement()
        self.membership = Membership(agreement, self.database.require_leader)
        self.autopilot = Autopilot(
            reactor, agreement, self.membership, directory, on_removed=on_removed
        )
        self.watch = PeerWatch(
            reactor,
            settings.heartbeat_s,
            me=self.member,
            table=lambda: self.machine.members,
            announced=lambda: announced(self.replica, self.storage.log),
            update=self.transport.update_peers,
        )
        self.hash_check_duty = HashCheckDuty(
            reactor,
            settings.heartbeat_s,
            replica=self.replica,
            machine=self.machine,
            database=self.database,
        )
        self.site = self._make_site()
        self.upkeep = LoopingCall(storage.look)
        self.upkeep.clock = reactor

    def _make_transport(self, on_removed: Callable[[], None]) -> PeerTransport:
        return PeerTransport(
            self._clock,
            local_member(
                self._settings,
                self.member,
                boot=self._boot,
                cluster_id=self.storage.identity.cluster_id,
                feature_level=FEATURE_LEVEL_MAX,
            ),
            endpoint=self._wire.dial,
            files=cast("SnapshotFiles", self.storage),  # it fits, but Deferred is invariant
            limits=peer_limits(self._settings),
            rng=self._rng,
            check=self._wire.check,
            deliver=lambda messages: self.replica.deliver(messages),
            unreachable=lambda member: self.replica.report_unreachable(member),
            snapshot_sent=lambda member, ok: self.replica.report_snapshot(member, ok),
            hello_seen=self._hello_seen,
            link_lost=lambda member, refused: self.replica.link_lost(member, refused),
            is_removed=lambda member: self.machine.members.is_removed(member),
            told_removed=on_removed,
        )

    def _make_replica(self, die: Callable[[Failure], None]) -> Replica:
        settings = self._settings
        return Replica(
            self._clock,
            config=Config(
                id=self.member,
                rng=self._rng,
                boot=self._boot,
                election_ticks=settings.election_ticks,
                heartbeat_ticks=settings.heartbeat_ticks,
                append_bytes_max=settings.append_bytes_max,
                trace=self.journal.trace,
            ),
            storage=self.storage,
            transport=self.transport,
            machine=self.machine,
            options=ReplicaOptions(
                tick_s=settings.tick_s,
                # Clients are counted in front of it; the rest is for the members' own affairs.
                waiting_max=settings.waiting_max + OWN_WAITING_MAX,
                snapshot_entries=settings.snapshot_entries,
                snapshot_bytes=settings.snapshot_bytes,
            ),
            crash=die,
            on_loaded=self.collector.settle,
            soon=soon(self._clock),
            wall_ms=_wall_ms,
        )

    def _make_agreement(self) -> Proposer:
        return Proposer(
            self._clock,
            self.replica,
            lambda: self.machine.members,
            own=own_record(self._settings, self.member),
            envelope=envelope,
            options=ProposerOptions(
                check_s=self._settings.heartbeat_s,
                patience_s=2 * self._settings.election_timeout_s,
                protocol_versions=(PROTOCOL_MIN, PROTOCOL_MAX),
            ),
        )

    def _make_site(self) -> LimitedSite:
        settings = self._settings
        return make_site(
            self._clock,
            database=self.database,
            membership=self.membership,
            status=self.status,
            unready=self.unready,
            limits=Limits(
                body_bytes_max=settings.body_bytes_max,
                connections_max=settings.connections_max,
                waiting_max=settings.waiting_max,
                answer_timeout_s=settings.request_timeout_s,
            ),
            fast=settings.http_lane == "fast",
            serve_reads=settings.follower_reads == "serve",
        )

    def start(self, known: Sequence[KnownMember]) -> None:
        """Load the state, dial the peers, take part.

        :param known: the members as a joining node was told them
        """
        self.collector.start()
        self.transport.start()
        self.replica.start()
        self.watch.start({one.member: one.raft_address for one in known})
        self.autopilot.start()
        self.hash_check_duty.start()
        self.upkeep.start(LOOK_S, now=False)

    @property
    def is_member(self) -> bool:
        """Whether a configuration with this very incarnation has been applied."""
        return self.member in self.machine.members.conf_state.members

    def status(self) -> NodeStatus:
        """Picture the node at this instant."""
        return node_status(
            self.replica,
            self.machine,
            self.database,
            self.membership,
            pause_max_s=self.collector.pause_max_s,
        )

    def unready(self) -> str | None:
        """Say why the node should not be given work."""
        return unready(self.replica, self.machine, 2 * self._settings.election_timeout_s)

    def _hello_seen(self, facts: HelloFacts, refusal: Refusal | None) -> None:
        if refusal is None and not facts.dialled:
            # An answer to our own Hello names only the protocol it chose, not all it speaks.
            self.autopilot.seen(sighting(facts))


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000
