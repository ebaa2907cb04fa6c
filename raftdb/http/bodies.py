"""JSON bodies, decoded into a type or refused with the reason."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from raftdb.errors import InvalidRequest

T = TypeVar("T")


def decode_json(decoder: msgspec.json.Decoder[T], body: bytes, wanted: str) -> T:
    """Decode ``body``, which must be one JSON text and nothing else.

    :param wanted: what would be right, for the message
    :raises InvalidRequest: for whatever is wrong: syntax, types, UTF-8, lone surrogates, numbers
        without end, nesting without end
    """
    try:
        return decoder.decode(body)
    except RecursionError:
        reason = "it is nested too deeply"
    except (msgspec.DecodeError, UnicodeDecodeError) as bad:
        reason = str(bad)
    raise InvalidRequest(f"the body must be {wanted}: {reason}")
