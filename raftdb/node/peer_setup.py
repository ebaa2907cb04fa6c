"""How a node's peer transport is set up: before it has a cluster, and as a member."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IProtocolFactory, IReactorTime, IStreamClientEndpoint

from raftdb.errors import InvalidRequest, RemoteProtocolError, StorageError
from raftdb.membership import check_address, check_id, split_address
from raftdb.node.endpoints import dial
from raftdb.node.peer_tls import PeerTLS
from raftdb.node.settings import Settings
from raftdb.peer.handshake import HelloFacts, LocalMember, Refusal
from raftdb.peer.limits import PeerLimits
from raftdb.peer.snapshot_sender import SnapshotFile, SnapshotReceiver
from raftdb.peer.transport import PeerTransport
from raftdb.raft.types import EntryID, MemberID, SnapshotMetadata


class PeerSetup:
    """How connections between nodes come about, with TLS or without.

    :param reactor: makes them
    :param settings: as the operator wants it
    :raises InvalidRequest: the files that TLS needs cannot be used
    """

    def __init__(self, reactor: object, settings: Settings) -> None:
        self._reactor = reactor
        self._template = settings.raft_dial
        # Four addresses within the two heartbeats that an attempt may take.
        self._pace_s = settings.heartbeat_s / 2
        self._tls = self._proving(settings)

    @staticmethod
    def _proving(settings: Settings) -> PeerTLS | None:
        if settings.peer_tls is None:
            return None
        return PeerTLS(settings.peer_tls, split_address(settings.raft_address).host)

    def dial(self, address: str) -> IStreamClientEndpoint:
        """Return the endpoint that reaches the peer at ``host:port``."""
        endpoint = dial(self._reactor, self._template, address, pace_s=self._pace_s)
        return self._tls.dial(endpoint, split_address(address).host) if self._tls else endpoint

    def check(self, facts: HelloFacts, certificate: object | None) -> None:
        """Insist that a Hello names what can be a member, and only a host that it can prove.

        :param certificate: what the caller has shown
        :raises RemoteProtocolError: an id or an address is none
        :raises HelloRefused: the certificate is for another host than the caller's peer address
        """
        check_names(facts)
        if self._tls is not None and certificate is not None and not facts.dialled:
            self._tls.check_caller(certificate, split_address(facts.raft_address).host)

    def listen(self, factory: IProtocolFactory) -> IProtocolFactory:
        """Return what is to answer on the port that peers dial."""
        return self._tls.listen(factory) if self._tls else factory


def check_names(facts: HelloFacts) -> None:
    """Insist that a Hello says nothing that could not stand in a table of members, or in a log.

    :raises RemoteProtocolError: naming what is wrong
    """
    try:
        check_id(facts.member.id)
        check_address(facts.raft_address)
        check_address(facts.http_address)
        if facts.expected is not None:
            check_id(facts.expected.id)
    except InvalidRequest as error:
        raise RemoteProtocolError(f"a Hello: {error}") from error


class NoSnapshotFiles:
    """What a node has that belongs to no cluster; nobody gets far enough to ask."""

    def open_snapshot_file(self, last: EntryID) -> Deferred[SnapshotFile]:
        """Refuse."""
        return fail(StorageError(f"there is no snapshot at {last}: this node has no cluster yet"))

    def receive_snapshot(self, metadata: SnapshotMetadata, size: int) -> SnapshotReceiver:
        """Refuse."""
        raise StorageError(
            f"no snapshot at {metadata.last} of {size} bytes: this node has no cluster yet"
        )


def peer_limits(settings: Settings) -> PeerLimits:
    """Return the wire's limits, its times scaled by the heartbeat."""
    return PeerLimits(
        heartbeat_s=settings.heartbeat_s,
        election_timeout_s=settings.election_timeout_s,
        append_bytes_max=settings.append_bytes_max,
        connections_max=settings.peer_connections_max,
    )


def listening_transport(
    reactor: IReactorTime,
    settings: Settings,
    local: LocalMember,
    wire: PeerSetup,
    rng: Random,
    hello_seen: Callable[[HelloFacts, Refusal | None], None],
) -> PeerTransport:
    """Make the transport of a node that has no cluster: it hears Hellos, and refuses them all."""
    return PeerTransport(
        reactor,
        local,
        endpoint=wire.dial,
        files=NoSnapshotFiles(),
        limits=peer_limits(settings),
        rng=rng,
        check=wire.check,
        deliver=lambda _: None,
        unreachable=lambda _: None,
        snapshot_sent=lambda _member, _ok: None,
        hello_seen=hello_seen,
        link_lost=lambda _member, _refused: None,
        is_removed=lambda _: False,
        told_removed=lambda: None,
    )


def local_member(
    settings: Settings, member: MemberID, *, boot: int, cluster_id: int | None, feature_level: int
) -> LocalMember:
    """Return who this node says it is."""
    return LocalMember(
        member=member,
        boot=boot,
        cluster_id=cluster_id,
        raft_address=settings.raft_address,
        http_address=settings.http_address,
        feature_level=feature_level,
    )
