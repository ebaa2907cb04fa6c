"""AMP boxes over one transport: capped while they arrive, checked before they are believed.

Built from Twisted's box parser and its question-and-answer half, without its command locator: that
one answers StartTLS to anybody, looks up methods by names from the wire, and logs a traceback for
what it does not understand. Here every box that breaks a rule raises
:class:`~raftdb.errors.RemoteProtocolError` inside, and ends as one call of ``violated``.
"""

from __future__ import annotations

from typing import Final, cast

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import ITransport
from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from raftdb.errors import Overloaded, RemoteProtocolError
from raftdb.peer.commands import (
    ANSWERED,
    Deliver,
    deliver_bytes,
    delivered_payload,
    read_deliver,
)
from raftdb.peer.outbox import ByteTransport, Outbox
from raftdb.peer.tongues import speaks_otherwise

_PREFIX_BYTES: Final = 2
_VALUE_BYTES_MAX: Final = 65_535
_ASK_BYTES_MAX: Final = 16
_PAIRS_MAX: Final = 1024
"""Of a box: the largest of ours has 150, and a million small ones would take 200 MB and a second."""


class BoxProtocol(amp.BinaryBoxProtocol, amp.BoxDispatcher):
    """One end of a connection that carries boxes.

    Subclasses say what to do with what arrives: :meth:`delivered`, :meth:`asked`,
    :meth:`violated`, :meth:`received`, :meth:`make_outbox`.

    :param box_bytes_max: of a box, keys, values and their lengths together; may be raised later
    :param asks_max: questions of the other side that wait for our answer
    """

    def __init__(self, *, box_bytes_max: int, asks_max: int) -> None:
        amp.BoxDispatcher.__init__(self, self)
        amp.BinaryBoxProtocol.__init__(self, self)
        self.box_bytes_max = box_bytes_max
        self.is_closing = False
        self._asks_max = asks_max
        self._asks = 0
        self._box_bytes = 0
        self._pairs = 0
        self._outbox: Outbox | None = None
        self.wire: ByteTransport | None = None

    def make_outbox(self, transport: ByteTransport) -> Outbox:
        """Return the queue in front of ``transport``."""
        raise NotImplementedError

    def received(self) -> None:
        """Note that bytes have come, whatever they mean."""

    def delivered(self, payload: bytes) -> None:
        """Take the payload of a Deliver."""
        raise NotImplementedError

    def asked(
        self, command: type[amp.Command], arguments: dict[str, object]
    ) -> Deferred[dict[str, object]]:
        """Answer a command."""
        raise NotImplementedError

    def has_answered(self, command: type[amp.Command], answer: dict[str, object]) -> None:
        """Go on after an answer, which has been written."""

    def violated(self, error: Exception) -> None:
        """Deal with the other side's breach of the protocol: end the connection."""
        raise NotImplementedError

    # -- out

    def ask(self, command: type[amp.Command], **arguments: object) -> Deferred[dict[str, object]]:
        """Send a command and return its answer; fails with Overloaded where there is no room."""
        try:
            answer: Deferred[dict[str, object]]
            answer = self.callRemote(command, **arguments)
        except Overloaded:
            return fail()
        return answer

    def deliver(self, payload: bytes) -> bool:
        """Send Raft messages; False where there is no room for them."""
        return not self.is_closing and self._write(deliver_bytes(payload))

    def sendBox(self, box: amp.AmpBox) -> None:
        """Send any other box, behind everything that waits already."""
        if not self._write(box.serialize()):
            raise Overloaded("the other side does not read what it is sent")

    def _write(self, data: bytes) -> bool:
        return self._outbox is not None and self._outbox.write(data)

    # -- in

    def makeConnection(self, transport: ITransport) -> None:
        """Begin, with a queue that hears the transport's pauses."""
        self.wire = cast("ByteTransport", transport)
        # A heartbeat that waits for the acknowledgement of the one before it may wait for 40 ms.
        self.wire.setTcpNoDelay(True)
        self._outbox = self.make_outbox(self.wire)
        self.wire.registerProducer(self._outbox, streaming=True)
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes; the first rule they break is the last thing heard."""
        self.received()
        try:
            if self.state == "init" and not self._unprocessed:
                data = self._take_delivers(data)
            if data:
                super().dataReceived(data)
        except RemoteProtocolError as error:
            self.violated(error)

    def _take_delivers(self, data: bytes) -> bytes:
        """Take the Delivers in front, between two boxes; return what follows them."""
        begin = 0
        while begin < len(data) and not (self.paused or self.is_closing):
            found = read_deliver(data, begin)
            if found is None or found[1] - begin > self.box_bytes_max:
                break
            payload, begin = found
            self.delivered(payload)
        return data[begin:]

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End: what waits is forgotten, all questions fail."""
        self.is_closing = True
        if self._outbox is not None:
            self._outbox.close()
        super().connectionLost(reason)

    def proto_init(self, string: bytes) -> str:
        """Begin a box."""
        self._box_bytes = self._pairs = 0
        state: str = super().proto_init(string)
        return state

    def proto_key(self, string: bytes) -> str:
        """Take a key, or the end of the box."""
        self._count(string)
        self._pairs += 1
        if self._pairs > _PAIRS_MAX:
            raise RemoteProtocolError(f"a box of more than {_PAIRS_MAX} pairs")
        state: str = super().proto_key(string)
        # The length of a value is judged before the value is awaited, so a box that would be too
        # large is never collected.
        if state == "value":
            room = self.box_bytes_max - self._box_bytes - _PREFIX_BYTES
            self.MAX_LENGTH = max(0, min(_VALUE_BYTES_MAX, room))
        return state

    def proto_value(self, string: bytes) -> str:
        """Take a value."""
        self._count(string)
        state: str = super().proto_value(string)
        return state

    def lengthLimitExceeded(self, length: int) -> None:
        """Refuse a key or a value by its announced length."""
        otherwise = None if self._box_bytes else speaks_otherwise(length)
        if otherwise is not None:
            raise otherwise
        raise RemoteProtocolError(f"{length} bytes more in a box of {self.box_bytes_max} at most")

    def ampBoxReceived(self, box: amp.AmpBox) -> None:
        """Check a complete box and pass it on.

        :raises RemoteProtocolError: where it is no box that we await
        """
        if self.is_closing:
            return
        if box.get(amp.COMMAND) == Deliver.commandName:
            self.delivered(delivered_payload(box))
        elif amp.ANSWER in box or amp.ERROR in box:
            self._answered(box)
        else:
            self._asked(box)

    def unhandledError(self, failure: Failure) -> None:
        """Take an answer that could not be given, or an answer nobody was prepared for."""
        error = failure.value
        assert isinstance(error, Exception)
        self.violated(error)

    def _count(self, string: bytes) -> None:
        self._box_bytes += _PREFIX_BYTES + len(string)
        if self._box_bytes > self.box_bytes_max:
            raise RemoteProtocolError(f"a box of more than {self.box_bytes_max} bytes")

    def _answered(self, box: amp.AmpBox) -> None:
        # AMP forgets the question before it finds an error incomplete: who asked, a dialler say,
        # would wait for ever.
        if amp.ERROR in box and not {amp.ERROR_CODE, amp.ERROR_DESCRIPTION} <= box.keys():
            raise RemoteProtocolError("an error without code or description")
        try:
            super().ampBoxReceived(box)
        except KeyError as error:
            raise RemoteProtocolError(f"an answer to nothing, or without {error}") from None

    def _asked(self, box: amp.AmpBox) -> None:
        command = ANSWERED.get(box.pop(amp.COMMAND, b""))
        if command is None:
            raise RemoteProtocolError("a box with no known command and no answer")
        tag = box.pop(amp.ASK, b"")
        if not 1 <= len(tag) <= _ASK_BYTES_MAX:
            raise RemoteProtocolError("a command that names no answer")
        if self._asks >= self._asks_max:
            raise RemoteProtocolError(f"{self._asks} commands wait for answers, one more comes")
        try:
            arguments: dict[str, object] = command.parseArguments(box, self)
        except (KeyError, ValueError) as error:
            raise RemoteProtocolError(f"{command.__name__}: {error!r}") from None
        self._asks += 1
        answer = self.asked(command, arguments)
        answer.addCallback(self._answer, command, tag).addErrback(self.unhandledError)

    def _answer(self, answer: dict[str, object], command: type[amp.Command], tag: bytes) -> None:
        self._asks -= 1
        if not self.is_closing:
            box = command.makeResponse(dict(answer), self)
            box[amp.ANSWER] = tag
            self.sendBox(box)
            self.has_answered(command, answer)
