"""Read levels as clients write them."""

from __future__ import annotations

from raftdb.database import Level
from raftdb.errors import InvalidRequest

_LEVELS = {level.value: level for level in Level}


def parse_level(given: bytes) -> Level:
    """Return the level called ``given``, whatever its case and the spaces around it.

    :raises InvalidRequest: for an unknown one: a typo must not weaken a read. Nothing at all
        means ``default``.
    """
    name = given.decode("utf-8", "replace").strip().lower()
    level = _LEVELS.get(name or Level.DEFAULT.value)
    if level is None:
        raise InvalidRequest(f"unknown level {name!r:.99}; the levels are {', '.join(_LEVELS)}")
    return level
