"""How commands and results become bytes: MessagePack of tagged arrays, decoded strictly by type.

One replica that reads a command as another one does not would differ for ever. So a codec knows a
closed set of kinds, refuses what is not one of them, and refuses what breaks a limit.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from raftdb.errors import InvalidRequest, RemoteProtocolError

__all__ = ["Codec"]

T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()


class Codec(Generic[T]):
    """The bytes of one set of kinds.

    :param kinds: a Struct, or a union of Structs with tags
    :param what: a command of what, for messages
    """

    def __init__(self, kinds: object, what: str) -> None:
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kinds)
        self._what = what

    @staticmethod
    def encode(value: T) -> bytes:
        """Return the bytes of ``value``; equal values have equal bytes."""
        return _encoder.encode(value)

    def decode(self, data: bytes | memoryview) -> T:
        """Return the value behind ``data``.

        :raises RemoteProtocolError: where it is of no kind known here, or holds what none may hold
        """
        try:
            return self._decoder.decode(data)
        except InvalidRequest as invalid:
            raise RemoteProtocolError(f"{self._what} breaks a limit: {invalid}") from invalid
        except (msgspec.DecodeError, RecursionError) as error:
            raise RemoteProtocolError(f"not {self._what} of this raftdb: {error}") from error
