"""The AMP commands between peers, and how their arguments lie in boxes.

Four commands are all there is: ``Hello`` before anything else, ``Deliver`` for Raft messages (no
answer), ``SnapshotChunk`` and ``Ping``. A box may carry keys nobody here knows; they are ignored,
so that a later version may add some.
"""

from __future__ import annotations

from typing import ClassVar, Final

from twisted.protocols import amp

from raftdb.errors import RemoteProtocolError
from raftdb.peer.limits import AMP_VALUE_BYTES_MAX

_NUMBER_DIGITS_MAX: Final = 20
_TEXT_BYTES_MAX: Final = 1024
_BITS128_BYTES: Final = 16


class Number(amp.Argument):
    """An integer in ``[0, 2**64)`` as decimal digits."""

    def toString(self, value: int) -> bytes:
        """Return the digits."""
        if not 0 <= value < 2**64:
            raise ValueError(f"{value} does not fit 64 bits")
        return b"%d" % value

    def fromString(self, raw: bytes) -> int:
        """Return the integer, or raise ValueError."""
        if not raw.isdigit() or len(raw) > _NUMBER_DIGITS_MAX or int(raw) >= 2**64:
            raise ValueError("no number in [0, 2**64)")
        return int(raw)


class Bits128(amp.Argument):
    """An integer in ``[0, 2**128)`` as 16 bytes, big-endian."""

    def toString(self, value: int) -> bytes:
        """Return the 16 bytes."""
        return value.to_bytes(_BITS128_BYTES, "big")

    def fromString(self, raw: bytes) -> int:
        """Return the integer, or raise ValueError."""
        if len(raw) != _BITS128_BYTES:
            raise ValueError("not 16 bytes")
        return int.from_bytes(raw, "big")


class Text(amp.Argument):
    """Text of at most 1 KiB in UTF-8."""

    def toString(self, value: str) -> bytes:
        """Return the UTF-8."""
        raw = value.encode()
        if len(raw) > _TEXT_BYTES_MAX:
            raise ValueError(f"text of {len(raw)} bytes")
        return raw

    def fromString(self, raw: bytes) -> str:
        """Return the text, or raise ValueError."""
        if len(raw) > _TEXT_BYTES_MAX:
            raise ValueError(f"text of {len(raw)} bytes")
        return raw.decode()


def spread(name: bytes, value: bytes, box: dict[bytes, bytes]) -> None:
    """Put ``value`` into ``box`` under ``name``, ``name.1``, ``name.2``…

    A value of AMP ends at 65,535 bytes, so every key but the last holds exactly that many.
    """
    box[name] = value[:AMP_VALUE_BYTES_MAX]
    for part, begin in enumerate(range(AMP_VALUE_BYTES_MAX, len(value), AMP_VALUE_BYTES_MAX), 1):
        box[b"%s.%d" % (name, part)] = value[begin : begin + AMP_VALUE_BYTES_MAX]


def gather(name: bytes, box: dict[bytes, bytes]) -> bytes:
    """Take out of ``box`` what :func:`spread` put in.

    :raises KeyError: where ``name`` is missing
    """
    parts = [box.pop(name)]
    while (part := box.pop(b"%s.%d" % (name, len(parts)), None)) is not None:
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class Big(amp.Argument):
    """Bytes of any length, spread over several keys of one box."""

    def fromBox(
        self,
        name: bytes,
        strings: dict[bytes, bytes],
        objects: dict[str, object],
        proto: object,
    ) -> None:
        """Gather the parts."""
        del proto
        missing = self.optional and name not in strings
        objects[name.decode()] = None if missing else gather(name, strings)

    def toBox(
        self,
        name: bytes,
        strings: dict[bytes, bytes],
        objects: dict[str, object],
        proto: object,
    ) -> None:
        """Spread the value."""
        del proto
        value = objects.pop(name.decode(), None)
        if value is not None:
            assert isinstance(value, bytes)
            spread(name, value, strings)


class Hello(amp.Command):
    """The first box on every connection, from the side that dialled.

    The answer either has ``refused`` and ``reason``, or who answers. ``auth`` is room for
    authentication; it is empty today.
    """

    commandName = b"Hello"
    arguments: ClassVar = [
        (b"protocol_min", Number()),
        (b"protocol_max", Number()),
        (b"cluster", Bits128()),
        (b"id", Text()),
        (b"incarnation", Bits128()),
        (b"boot", Number()),
        (b"raft_address", Text()),
        (b"http_address", Text()),
        (b"feature_level", Number()),
        (b"kind", Text()),
        (b"expected_id", Text()),
        (b"expected_incarnation", Bits128()),
        (b"auth", amp.String(optional=True)),
    ]
    response: ClassVar = [
        (b"refused", Text(optional=True)),
        (b"reason", Text(optional=True)),
        (b"protocol", Number(optional=True)),
        (b"cluster", Bits128(optional=True)),
        (b"id", Text(optional=True)),
        (b"incarnation", Bits128(optional=True)),
        (b"boot", Number(optional=True)),
        (b"raft_address", Text(optional=True)),
        (b"http_address", Text(optional=True)),
        (b"feature_level", Number(optional=True)),
        (b"auth", amp.String(optional=True)),
    ]


class Deliver(amp.Command):
    """Raft messages of one turn, as :func:`raftdb.codec.encode_messages` lays them out."""

    commandName = b"Deliver"
    arguments: ClassVar = [(b"messages", Big())]
    requiresAnswer = False


class SnapshotChunk(amp.Command):
    """A piece of a snapshot file; the first one brings the InstallSnapshot it belongs to.

    Chunks come in the order of their offsets. The answer to the last one says that the file is
    durable and the message stepped in; ``refused`` ends the stream.
    """

    commandName = b"SnapshotChunk"
    arguments: ClassVar = [
        (b"stream", Number()),
        (b"offset", Number()),
        (b"size", Number()),
        (b"chunk", amp.String()),
        (b"message", Big(optional=True)),
    ]
    response: ClassVar = [(b"refused", Text(optional=True))]


class Ping(amp.Command):
    """Are you there? Answered at once, before any disk."""

    commandName = b"Ping"
    arguments: ClassVar[list[tuple[bytes, amp.Argument]]] = []
    response: ClassVar[list[tuple[bytes, amp.Argument]]] = []


ANSWERED: Final[dict[bytes, type[amp.Command]]] = {
    Hello.commandName: Hello,
    SnapshotChunk.commandName: SnapshotChunk,
    Ping.commandName: Ping,
}
"""The commands that want an answer, by their name on the wire."""


_DELIVER: Final = b"\0\x08_command\0\x07Deliver\0\x08messages"
_BOX_ENDS: Final = b"\0\0"
_LENGTH_BYTES: Final = 2


def deliver_bytes(payload: bytes) -> bytes:
    """Return the box of a Deliver as it crosses the wire."""
    if len(payload) <= AMP_VALUE_BYTES_MAX:
        length = len(payload).to_bytes(_LENGTH_BYTES, "big")
        return b"".join((_DELIVER, length, payload, _BOX_ENDS))
    serialized: bytes = deliver_box(payload).serialize()
    return serialized


def deliver_box(payload: bytes) -> amp.AmpBox:
    """Return the same as a box, without the cost of AMP's argument lists."""
    box = amp.AmpBox()
    spread(b"messages", payload, box)
    box[amp.COMMAND] = Deliver.commandName
    return box


def read_deliver(data: bytes, begin: int) -> tuple[bytes, int] | None:
    """Return the payload of the Deliver at ``begin`` and where its box ends.

    Nearly all that comes is a whole box of exactly these keys in exactly this order, and to compare
    costs a tenth of AMP's way through states and dictionaries. Whatever else it is, the answer is
    None, and it is AMP's.
    """
    if not data.startswith(_DELIVER, begin):
        return None
    payload = begin + len(_DELIVER) + _LENGTH_BYTES
    end = payload + int.from_bytes(data[payload - _LENGTH_BYTES : payload], "big")
    if not data.startswith(_BOX_ENDS, end):
        return None
    return data[payload:end], end + len(_BOX_ENDS)


def delivered_payload(box: amp.AmpBox) -> bytes:
    """Return what :func:`deliver_bytes` was given.

    :raises RemoteProtocolError: where there is nothing, or an answer is wanted
    """
    if amp.ASK in box:
        raise RemoteProtocolError("Deliver wants an answer and never gets one")
    try:
        return gather(b"messages", box)
    except KeyError:
        raise RemoteProtocolError("Deliver without messages") from None
