"""Carries Raft messages to the other members: the one object that others know of this package.

Puts the pieces together: who is dialled, who is connected, which way a message goes, what is told
to the layers above. Decides nothing about Raft.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from raftdb.peer.dialer import Dialer
from raftdb.peer.handshake import (
    HelloFacts,
    HelloRefused,
    Kind,
    LocalMember,
    Refusal,
    judge,
)
from raftdb.peer.journal import Journal
from raftdb.peer.limits import PeerLimits
from raftdb.peer.protocol import PeerConnection
from raftdb.peer.refusals import answered, refused
from raftdb.peer.registry import Registry
from raftdb.peer.routing import kind_of
from raftdb.peer.snapshot_receiver import IncomingSnapshots
from raftdb.peer.snapshot_sender import SnapshotFiles, SnapshotSender
from raftdb.raft.messages import InstallSnapshot, Message
from raftdb.raft.types import MemberID


class _Listening(Factory):
    """Builds a connection for everybody who comes, within the limits."""

    noisy = False

    def __init__(self, accept: Callable[[], PeerConnection | None]) -> None:
        self._accept = accept

    def buildProtocol(self, addr: object) -> PeerConnection | None:
        """Return a connection, or None to turn somebody away."""
        del addr
        return self._accept()


class PeerTransport:
    """The Transport of a Replica, over AMP.

    All callables are called from the reactor, never from inside :meth:`send`.

    :param clock: for all waiting
    :param local: who we are
    :param endpoint: makes an endpoint of a peer's advertised address
    :param files: snapshot files
    :param limits: of everything on the wire
    :param rng: for the jitter of redials
    :param check: given what a Hello says and the certificate its sender has shown, if any; raises
        RemoteProtocolError where no member can be called or live so, and HelloRefused where the
        certificate is another's
    :param deliver: takes messages that have arrived
    :param unreachable: told that something for a member was dropped, or may have been
    :param snapshot_sent: told the outcome of each InstallSnapshot that was sent
    :param hello_seen: told what every well-formed Hello says, and why it was refused, if it was
    :param link_lost: told that the connection we dialled to a member has ended, and whether the
        redial was refused (True: nobody listens there any more) [R10]
    :param is_removed: whether a member was removed from the cluster
    :param told_removed: called when a member says that we were removed
    :ivar factory: for the listening side
    """

    def __init__(
        self,
        clock: IReactorTime,
        local: LocalMember,
        *,
        endpoint: Callable[[str], IStreamClientEndpoint],
        files: SnapshotFiles,
        limits: PeerLimits,
        rng: Random,
        check: Callable[[HelloFacts, object | None], None],
        deliver: Callable[[Sequence[Message]], None],
        unreachable: Callable[[MemberID], None],
        snapshot_sent: Callable[[MemberID, bool], None],
        hello_seen: Callable[[HelloFacts, Refusal | None], None],
        link_lost: Callable[[MemberID, bool], None],
        is_removed: Callable[[MemberID], bool],
        told_removed: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._local = local
        self._endpoint = endpoint
        self._limits = limits
        self._rng = rng
        self._check = check
        self._deliver = deliver
        self._unreachable = unreachable
        self._hello_seen = hello_seen
        self._link_lost = link_lost
        self._is_removed = is_removed
        self._told_removed = told_removed
        self._journal = Journal(clock.seconds)
        self._registry = Registry(limits.ping_timeout_s)
        self._peers: dict[MemberID, str] = {}
        self._dialers: dict[MemberID, list[Dialer]] = {}
        self._accepted: dict[PeerConnection, None] = {}
        self._strangers: dict[PeerConnection, None] = {}
        self._dropped: dict[MemberID, None] = {}
        self._dropped_call: IDelayedCall | None = None
        self._running = False
        self._stopped = False
        self._intake = IncomingSnapshots(
            limits,
            files,
            local=local.member,
            deliver=self._installed,
            failed=lambda member, error: self._journal.trouble(str(member), error),
        )
        self._sender = SnapshotSender(
            clock,
            limits,
            files,
            find=lambda member: self._registry.find(member, Kind.BULK),
            finished=snapshot_sent,
            failed=lambda member, error: self._journal.trouble(str(member), error),
        )
        self.factory = _Listening(self._accept)

    # -- for the layers above

    @property
    def local(self) -> LocalMember:
        """Who we are."""
        return self._local

    def adopt_cluster(self, cluster_id: int) -> None:
        """Belong to a cluster from now on; a node without one refuses every Hello."""
        assert self._local.cluster_id in {None, cluster_id}, "a node never changes its cluster"
        self._local = replace(self._local, cluster_id=cluster_id)

    def start(self) -> None:
        """Begin to dial the peers."""
        assert not self._running
        assert not self._stopped
        self._running = True
        for member in self._peers:
            self._dial(member)

    def stop(self) -> Deferred[None]:
        """Close everything, flushing for a short while; fires when no connection is left."""
        self._running = False
        self._stopped = True
        self._sender.stop()
        self._intake.stop()
        waiting = [dialer.stop() for dialers in self._dialers.values() for dialer in dialers]
        self._dialers = {}
        for connection in list(self._accepted):
            waiting.append(connection.when_closed())
            connection.close()
        if self._dropped_call is not None and self._dropped_call.active():
            self._dropped_call.cancel()
        return gatherResults(waiting).addCallback(lambda _: None)

    def update_peers(self, peers: Mapping[MemberID, str]) -> None:
        """Dial these members at these addresses, and nobody else.

        Connections that others have made to us stay, but for those of removed members: they dial
        again and are told.
        """
        wanted = {member: at for member, at in peers.items() if member != self._local.member}
        for member in [each for each in self._peers if self._peers[each] != wanted.get(each)]:
            for dialer in self._dialers.pop(member, []):
                dialer.stop()
        added = [member for member in wanted if self._peers.get(member) != wanted[member]]
        self._peers = wanted
        if self._running:
            for member in added:
                self._dial(member)
        for member in self._registry.members():
            if self._is_removed(member):
                for connection in self._registry.of(member):
                    connection.close()

    def send(self, messages: Sequence[Message]) -> None:
        """Send the messages of one turn: one box per member and kind; never blocks or fails."""
        boxes: dict[tuple[MemberID, Kind], list[Message]] = {}
        for message in messages:
            if isinstance(message, InstallSnapshot):
                self._sender.send(message)
            else:
                boxes.setdefault((message.receiver, kind_of(message)), []).append(message)
        for (member, kind), boxful in boxes.items():
            connection = self._registry.find(member, kind)
            if connection is None or not connection.send(boxful):
                self._drop(member)

    def is_connected(self, member: MemberID) -> bool:
        """Whether messages for ``member`` have a way at the moment."""
        return self._registry.find(member, Kind.CONTROL) is not None

    # -- Host, for the connections

    def admit(self, connection: PeerConnection, facts: HelloFacts) -> Deferred[Refusal | None]:
        """Decide about a Hello or an answer."""
        return Deferred.fromCoroutine(self._admit(connection, facts))

    def opened(self, connection: PeerConnection) -> None:
        """Hear that a connection carries messages from now on."""
        self._strangers.pop(connection, None)
        member = connection.member
        if connection.facts.dialled:
            self._journal.over(str(member))
        is_control = connection.facts.kind is Kind.CONTROL
        if is_control and len(self._controls(member)) == 1:
            self._journal.connected(str(member), is_member=member in self._peers)

    def delivered(self, connection: PeerConnection, messages: list[Message]) -> None:
        """Take messages from a member."""
        del connection
        if not self._stopped:
            self._deliver(messages)

    def chunk(
        self, connection: PeerConnection, arguments: dict[str, object]
    ) -> Deferred[dict[str, object]]:
        """Take a piece of a snapshot."""
        return self._intake.take(connection, arguments)

    def violated(self, connection: PeerConnection, error: Exception) -> None:
        """Hear why a connection is ended."""
        is_attempt = connection.expected is not None and not connection.was_open
        if not is_attempt:  # else its dialler tells
            self._complain(connection, error, connection.was_open)

    def lost(self, connection: PeerConnection, reason: Failure) -> None:
        """Forget a connection; whatever it held may be lost."""
        self._accepted.pop(connection, None)
        self._strangers.pop(connection, None)
        self._intake.lost(connection)
        was_known = connection in self._registry
        self._registry.forget(connection)
        if connection.was_open:
            self._drop(connection.member)
            is_control = connection.facts.kind is Kind.CONTROL
            member = connection.member
            if is_control and was_known and not self._controls(member):
                self._journal.lost(str(member), reason.getErrorMessage())

    # -- inside

    async def _admit(self, connection: PeerConnection, facts: HelloFacts) -> Refusal | None:
        # Whether our membership knows the caller does not matter: a node that lags has to answer the
        # vote request of a newer member, or nobody is elected. Only the removed are refused [R11].
        refusal = self._judge(connection, facts)
        if refusal is None:
            refusal = await self._registry.admit(connection, facts)
        if connection.is_closing:
            return refusal  # it has gone meanwhile, and what it said may be old
        if refusal is not None and not facts.dialled:  # else its dialler tells
            known = facts.cluster_id == self._local.cluster_id
            self._complain(connection, refused(self._local, facts, refusal), known)
        self._hello_seen(facts, refusal)
        return refusal

    def _judge(self, connection: PeerConnection, facts: HelloFacts) -> Refusal | None:
        """Say why not, as far as it can be said at once."""
        refusal = judge(self._local, facts)
        try:
            self._check(facts, connection.certificate)
        except HelloRefused as error:
            refusal = refusal or error.refusal
        if refusal is None and self._stopped:
            refusal = Refusal.STOPPING
        if refusal is None and self._is_removed(facts.member):
            refusal = Refusal.REMOVED
        if refusal is None and connection.expected not in {None, facts.member}:
            refusal = Refusal.WRONG_MEMBER
        return refusal

    def _complain(self, connection: PeerConnection, error: Exception, known: bool) -> None:
        """Tell the log what is wrong with who called.

        :param known: whether its name can be used. A stranger chooses its own, and could choose a
            new one for each line; so a name is used only where it is a member's
        """
        proven = connection.is_proven
        if known and connection.member in self._peers:
            self._journal.trouble(str(connection.member), error, proven=proven)
        else:
            self._journal.stranger(connection.origin, error, proven=proven)

    def _controls(self, member: MemberID) -> list[PeerConnection]:
        """Return the control connections to and from ``member``."""
        return [each for each in self._registry.of(member) if each.facts.kind is Kind.CONTROL]

    def _accept(self) -> PeerConnection | None:
        if self._stopped or self._is_full():
            return None
        if len(self._strangers) >= self._limits.strangers_max:
            # The oldest has had the most time for its Hello; a peer needs one round trip. Its end
            # comes in another pass, and many may be accepted in this one.
            oldest = next(iter(self._strangers))
            del self._strangers[oldest]
            oldest.abort()
        connection = PeerConnection(self._clock, self._limits, self)
        self._accepted[connection] = self._strangers[connection] = None
        return connection

    def _is_full(self) -> bool:
        limit = self._limits.connections_max
        return len(self._accepted) >= limit and limit <= sum(
            not each.is_closing for each in self._accepted
        )

    def _dial(self, member: MemberID) -> None:
        assert self._local.cluster_id is not None, "a node without a cluster dials nobody"
        self._dialers[member] = [self._dialer(member, kind) for kind in Kind]
        for dialer in self._dialers[member]:
            dialer.start()

    def _dialer(self, member: MemberID, kind: Kind) -> Dialer:
        def lost(refused: bool) -> None:
            if kind is Kind.CONTROL:
                self._link_lost(member, refused)

        return Dialer(
            self._clock,
            self._limits,
            self._rng,
            endpoint=self._endpoint(self._peers[member]),
            build=lambda: PeerConnection(self._clock, self._limits, self),
            member=member,
            kind=kind,
            failed=lambda error: self._not_connected(member, error),
            lost=lost,
        )

    def _not_connected(self, member: MemberID, error: Exception) -> None:
        told = answered(member, self._peers.get(member, "its address"), error)
        self._journal.trouble(str(member), told)
        if isinstance(error, HelloRefused) and error.refusal is Refusal.REMOVED and error.remote:
            self._told_removed()

    def _installed(self, messages: list[Message]) -> None:
        if not self._stopped:
            self._deliver(messages)

    def _drop(self, member: MemberID) -> None:
        """Report ``member`` unreachable in a moment, once however much was dropped."""
        if self._stopped:
            return
        self._dropped[member] = None
        if self._dropped_call is None or not self._dropped_call.active():
            self._dropped_call = self._clock.callLater(0, self._report_dropped)

    def _report_dropped(self) -> None:
        dropped, self._dropped = self._dropped, {}
        for member in dropped:
            self._unreachable(member)
