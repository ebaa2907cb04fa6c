"""One connection between two members: Hello first, then messages, always under watch.

Knows its own state and nothing of other connections; what needs a wider view is asked of a
:class:`Host`. The life of a connection::

    dialled:   connected -> say_hello() -> answer judged -> open -> closed
    accepted:  connected -> a Hello comes -> judged      -> open -> closed
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from raftdb import codec
from raftdb.errors import LocalProtocolError, RemoteProtocolError
from raftdb.peer.boxes import BoxProtocol
from raftdb.peer.commands import Hello, Ping, SnapshotChunk
from raftdb.peer.handshake import (
    HelloFacts,
    Kind,
    LocalMember,
    Refusal,
    accepting,
    hello_arguments,
    read_answer,
    read_hello,
    refusing,
)
from raftdb.peer.keepalive import Keepalive
from raftdb.peer.limits import PeerLimits
from raftdb.peer.outbox import ByteTransport, Outbox
from raftdb.peer.refusals import refused
from raftdb.peer.tongues import tls_trouble
from raftdb.raft.messages import Message
from raftdb.raft.types import MemberID


class HandshakeState(Enum):
    """How far a connection has come."""

    STRANGER = "stranger"
    JUDGED = "judged"
    OPEN = "open"
    CLOSED = "closed"


class Host(Protocol):
    """Whoever keeps the connections together."""

    @property
    def local(self) -> LocalMember:
        """Who we are."""

    def admit(self, connection: PeerConnection, facts: HelloFacts) -> Deferred[Refusal | None]:
        """Decide about a Hello or an answer; None admits, and counts the connection in."""

    def opened(self, connection: PeerConnection) -> None:
        """Hear that a connection carries messages from now on."""

    def delivered(self, connection: PeerConnection, messages: list[Message]) -> None:
        """Take messages from the member on the other side."""

    def chunk(
        self, connection: PeerConnection, arguments: dict[str, object]
    ) -> Deferred[dict[str, object]]:
        """Take a piece of a snapshot."""

    def violated(self, connection: PeerConnection, error: Exception) -> None:
        """Hear why a connection is ended."""

    def lost(self, connection: PeerConnection, reason: Failure) -> None:
        """Hear that a connection is gone, whatever state it was in."""


class PeerConnection(BoxProtocol):
    """One connection to, or from, a member.

    :param clock: for all waiting
    :param limits: of everything here
    :param host: asked and told, see :class:`Host`
    :ivar expected: whom we believe to have dialled; None where the other side dialled
    """

    def __init__(self, clock: IReactorTime, limits: PeerLimits, host: Host) -> None:
        super().__init__(box_bytes_max=limits.hello_box_bytes_max, asks_max=limits.asks_max)
        self._clock = clock
        self._limits = limits
        self._host = host
        self._state = HandshakeState.STRANGER
        self._facts: HelloFacts | None = None
        self._pulse: Keepalive | None = None
        self._deadline: IDelayedCall | None = None
        self._closed: list[Deferred[None]] = []
        self._violation: Exception | None = None
        self.expected: MemberID | None = None

    # -- what others may ask

    @property
    def is_open(self) -> bool:
        """Whether both sides have accepted each other and nobody is closing."""
        return self._state is HandshakeState.OPEN and not self.is_closing

    @property
    def was_open(self) -> bool:
        """Whether messages have ever been carried."""
        return self._pulse is not None

    @property
    def is_closed(self) -> bool:
        """Whether the transport is gone."""
        return self._state is HandshakeState.CLOSED

    @property
    def facts(self) -> HelloFacts:
        """Who is on the other side; known from the moment of judgement on."""
        assert self._facts is not None
        return self._facts

    @property
    def member(self) -> MemberID:
        """The member on the other side."""
        return self.facts.member

    @property
    def certificate(self) -> object | None:
        """What the other side has shown and TLS has found good; None where there is none."""
        shown = getattr(self.wire, "getPeerCertificate", None)
        return None if shown is None else shown()

    @property
    def is_proven(self) -> bool:
        """Whether there is more to the other side than its own word.

        We dialled it at the address that our membership has, or it has shown a certificate.
        """
        return self.expected is not None or self.certificate is not None

    @property
    def origin(self) -> str:
        """A name for the log that the other side cannot choose: where it comes from."""
        host = getattr(self.wire.getPeer(), "host", None) if self.wire else None
        return f"stranger at {host or 'an unknown address'}"

    def say_hello(self, kind: Kind, expected: MemberID) -> Deferred[None]:
        """Introduce ourselves to ``expected``; fires when the connection is open.

        The connection ends where this fails, also where it is cancelled.

        :raises HelloRefused: where either side refuses the other
        :raises RemoteProtocolError: where the answer makes no sense, or does not come
        """
        hello = Deferred.fromCoroutine(self._say_hello(kind, expected))
        return hello.addErrback(self._fail)

    def send(self, messages: Sequence[Message]) -> bool:
        """Send messages, in as few boxes as they fit into; False where some were dropped."""
        complete = True
        boxful: list[bytes] = []
        boxful_bytes = 0
        for message in messages:
            encoded = codec.encode_messages((message,))
            if boxful and boxful_bytes + len(encoded) > self._limits.payload_bytes_max:
                complete = self.deliver(b"".join(boxful)) and complete
                boxful, boxful_bytes = [], 0
            boxful.append(encoded)
            boxful_bytes += len(encoded)
        return self.deliver(b"".join(boxful)) and complete

    def deliver(self, payload: bytes) -> bool:
        """Send encoded messages; False where they were dropped."""
        if len(payload) > self._limits.payload_bytes_max:
            # The other side would end the connection over it; what does not fit never will.
            self._host.violated(self, LocalProtocolError(f"a message of {len(payload)} bytes"))
            return False
        return super().deliver(payload)

    def answers_ping(self, within_s: float) -> Deferred[bool]:
        """Tell whether the other side answers within that time."""
        return (
            self.ask(Ping)
            .addTimeout(within_s, self._clock)
            .addCallbacks(lambda _: True, lambda _: False)
        )

    def when_closed(self) -> Deferred[None]:
        """Fire when the transport is gone."""
        closed: Deferred[None] = Deferred()
        if self.is_closed:
            closed.callback(None)
        else:
            self._closed.append(closed)
        return closed

    def close(self) -> None:
        """End politely: what the transport holds is flushed, for a while."""
        if self.is_closing:
            return
        wire = self._leave()
        wire.loseConnection()
        self._deadline = self._clock.callLater(self._limits.closing_s, self.abort)

    def abort(self) -> None:
        """End at once."""
        if self.is_closed:
            return
        wire = self._leave()
        wire.abortConnection()

    # -- Twisted's side

    def make_outbox(self, transport: ByteTransport) -> Outbox:
        """Return a queue with the stranger's limit; judgement may raise it."""
        return Outbox(
            transport,
            bytes_max=self._limits.control_outbox_bytes_max,
            write_bytes_max=self._limits.write_bytes_max,
            progressed=self.received,
        )

    def connectionMade(self) -> None:
        """Give the other side, or us, limited time for Hello."""
        self._deadline = self._clock.callLater(
            self._limits.hello_timeout_s,
            lambda: self.violated(RemoteProtocolError("no Hello in time")),
        )

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Let everybody know."""
        trouble = tls_trouble(reason.value)
        if trouble is not None:
            reason = Failure(trouble)
            if self._violation is None:  # TLS may have said more than that it failed
                self.distrust(trouble)
        super().connectionLost(reason)
        self._leave()
        self._state = HandshakeState.CLOSED
        self.wire = None
        self._host.lost(self, reason)
        closed, self._closed = self._closed, []
        for waiter in closed:
            waiter.callback(None)

    def received(self) -> None:
        """Note progress: bytes came, or the transport took some."""
        if self._pulse is not None:
            self._pulse.progressed()

    def delivered(self, payload: bytes) -> None:
        """Pass on messages that are from whom and for whom they should be."""
        if self._state is not HandshakeState.OPEN:
            raise RemoteProtocolError("Deliver before Hello")
        messages = codec.decode_messages(payload)
        member, local = self.facts.member, self._host.local.member
        for message in messages:
            if message.sender != member or message.receiver != local:
                raise RemoteProtocolError(
                    f"a message from {message.sender} to {message.receiver} on a connection from"
                    f" {member} to {local}"
                )
        self._host.delivered(self, messages)

    def asked(
        self, command: type[amp.Command], arguments: dict[str, object]
    ) -> Deferred[dict[str, object]]:
        """Answer a command that may come now."""
        if command is Hello and self._state is HandshakeState.STRANGER:
            return Deferred.fromCoroutine(self._hear_hello(arguments))
        if command is Ping and self._state is HandshakeState.OPEN:
            return maybeDeferred(dict)
        if command is SnapshotChunk and self._state is HandshakeState.OPEN:
            return self._host.chunk(self, arguments)
        raise RemoteProtocolError(f"{command.__name__} while {self._state.value}")

    def violated(self, error: Exception) -> None:
        """End the connection and tell why."""
        if not self.is_closing:
            self.distrust(error)
            self.abort()

    def distrust(self, error: Exception) -> None:
        """Hear why the other side is not believed; TLS itself says so and ends the connection."""
        if not self.is_closing:
            self._violation = error
            self._host.violated(self, error)

    # -- Hello

    async def _say_hello(self, kind: Kind, expected: MemberID) -> None:
        self.expected = expected
        arguments = hello_arguments(self._host.local, kind, expected)
        try:
            answer = await self.ask(Hello, **arguments)
        except (KeyError, ValueError) as error:
            raise RemoteProtocolError(f"the answer to Hello: {error!r}") from None
        facts = read_answer(answer, kind)
        refusal = await self._judge(facts)
        if refusal is not None:
            raise refused(self._host.local, facts, refusal)
        self._open()

    async def _hear_hello(self, arguments: dict[str, object]) -> dict[str, object]:
        facts = read_hello(arguments)
        refusal = await self._judge(facts)
        return accepting(self._host.local, facts) if refusal is None else refusing(refusal)

    def has_answered(self, command: type[amp.Command], answer: dict[str, object]) -> None:
        """Open or close after the answer to Hello, and never before it."""
        if command is Hello:
            if "refused" in answer:
                self.close()
            else:
                self._open()

    async def _judge(self, facts: HelloFacts) -> Refusal | None:
        """Have the other side judged; what it sends while that takes time is not read yet."""
        self._state, self._facts = HandshakeState.JUDGED, facts
        decision = self._host.admit(self, facts)
        if not decision.called:
            self.pauseProducing()
        return await decision

    def _open(self) -> None:
        """Begin to carry messages, with the limits of a member."""
        if self.is_closing:
            return
        assert self._outbox is not None
        self._state = HandshakeState.OPEN
        self._cancel_deadline()
        self.box_bytes_max = self._limits.box_bytes_max
        bulk = self.facts.kind is Kind.BULK
        if bulk:
            self._outbox.bytes_max = self._limits.bulk_outbox_bytes_max
        self._pulse = Keepalive(
            self._clock,
            idle_s=self._limits.stall_s / 4 if bulk else self._limits.heartbeat_s,
            proof_s=math.inf if bulk else self._limits.election_timeout_s,
            patience_s=self._limits.stall_s if bulk else self._limits.ping_timeout_s,
            progress_counts=bulk,
            is_blocked=lambda: self._outbox is not None and self._outbox.is_paused,
            ping=lambda: self.ask(Ping),
            dead=self._found_dead,
        )
        self._host.opened(self)
        if self.paused:
            self.resumeProducing()

    def _found_dead(self) -> None:
        self.violated(TimeoutError("no sign of life"))

    def _fail(self, failure: Failure) -> Failure:
        """End the connection; a breach says more than the end that it has led to."""
        self.abort()
        return failure if self._violation is None else Failure(self._violation)

    def _leave(self) -> ByteTransport:
        """Stop everything of our own; return the transport, which is all that is left."""
        assert self.wire is not None
        self._cancel_deadline()
        if self._pulse is not None:
            self._pulse.stop()
        if self._outbox is not None and not self.is_closing:
            self._outbox.close()
            self.wire.unregisterProducer()
        self.is_closing = True
        return self.wire

    def _cancel_deadline(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
