"""What a client's methods take: everything else is refused by name, before anything is asked.

JSON and percent-encoding would turn much of it into something that nobody meant: bytes into base64,
a number into a text, a key of ``None`` into ``"None"``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, TypeAlias, get_args

from raftdb.errors import InvalidRequest

__all__ = ["Level", "as_bytes", "as_level", "as_pairs", "as_timeout"]

Level: TypeAlias = Literal["stale", "default", "consistent"]


def as_bytes(what: str, given: object) -> bytes:
    """Return bytes as they are, and a text as its UTF-8.

    :param what: is named in the error, such as ``a key``
    :raises InvalidRequest: it is neither
    """
    if isinstance(given, str):
        return _utf8(what, given)
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given)
    raise InvalidRequest(f"{what} is bytes or a text, not {_kind(given)}")


def as_pairs(given: object) -> dict[str, str]:
    """Return several keys and their values, all of them texts.

    :raises InvalidRequest: they are not
    """
    if not isinstance(given, Mapping):
        raise InvalidRequest(f"put_many takes a mapping of texts to texts, not {_kind(given)}")
    for key, value in given.items():
        if not isinstance(key, str):
            raise InvalidRequest(f"put_many takes texts; the key {key!r:.100} is {_kind(key)}")
        if not isinstance(value, str):
            raise InvalidRequest(
                f"put_many takes texts; the value of {key!r:.100} is {_kind(value)}; put takes bytes"
            )
        _utf8("a key", key)
        _utf8(f"the value of {key!r:.100}", value)
    return dict(given)


def as_level(given: object) -> str:
    """Return a read's level.

    :raises InvalidRequest: there is no such level
    """
    if given not in get_args(Level):
        raise InvalidRequest(f"level is {', '.join(get_args(Level))}, not {given!r:.100}")
    return str(given)


def as_timeout(given: object) -> float:
    """Return a time to wait, in seconds.

    :raises InvalidRequest: it is no number above 0, or for ever
    """
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not (is_number and 0 < given < math.inf):  # type: ignore[operator]  # it is a number
        raise InvalidRequest(f"timeout_s is a number of seconds above 0, not {given!r:.100}")
    return float(given)  # type: ignore[arg-type]  # it is a number


def _utf8(what: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as bad:
        raise InvalidRequest(f"{what} has no UTF-8: {bad}") from bad


def _kind(given: object) -> str:
    return "None" if given is None else type(given).__name__
