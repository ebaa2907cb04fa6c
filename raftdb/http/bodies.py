"""JSON bodies, decoded into a type or refused with the reason."""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec

from raftdb.errors import InvalidRequest

__all__ = ["decode_json", "reason"]

T = TypeVar("T")

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ESCAPE = re.compile(rb"\\(?:u([0-9A-Fa-f]{4})|[^u])")
_SOME_VALUE = "$[...]"
"""How msgspec names a value of an object whose keys are free."""

_object: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])


def decode_json(decoder: msgspec.json.Decoder[T], body: bytes, wanted: str) -> T:
    """Decode ``body``, which must be one JSON text and nothing else.

    :param wanted: what would be right, for the message
    :raises InvalidRequest: for whatever is wrong: syntax, types, UTF-8, lone surrogates, numbers
        without end, nesting without end
    """
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as bad:
        raise InvalidRequest(f"the body must be {wanted}: {reason(body, bad)}") from bad


def reason(body: bytes, bad: Exception) -> str:
    """Return what is wrong with ``body``, in words for the person who sent it.

    :param bad: what decoding it raised
    """
    if isinstance(bad, RecursionError):
        return "it is nested too deeply"
    if body.startswith(_BYTE_ORDER_MARK):
        return "it begins with a byte order mark (EF BB BF), which JSON does not have: leave it out"
    half = None if isinstance(bad, msgspec.ValidationError) else _lone_surrogate(body)
    if half is not None:
        return f"it holds \\u{half}, half of a surrogate pair, which is no character"
    text = str(bad)
    return text.replace(_SOME_VALUE, _name_of_value(body)) if _SOME_VALUE in text else text


def _lone_surrogate(body: bytes) -> str | None:
    """Return the digits of the first escape that is half of a surrogate pair, None for none."""
    high, end = "", -1
    for escape in _ESCAPE.finditer(body):
        digits = (escape[1] or b"0").decode().lower()
        is_low = digits[:2] in {"dc", "dd", "de", "df"}
        if high and (not is_low or escape.start() != end):
            return high
        if is_low and not high:
            return digits
        high = digits if digits[:2] in {"d8", "d9", "da", "db"} else ""
        end = escape.end()
    return high or None


def _name_of_value(body: bytes) -> str:
    """Return the path of the first value of an object of strings that is no string."""
    try:
        values = _object.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _SOME_VALUE
    wrong = (key for key, value in values.items() if bytes(memoryview(value)[:1]) != b'"')
    return f"$[{next(wrong, '...')!r:.99}]"
