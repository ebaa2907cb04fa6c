"""The parts of the replicated state: a new one is a module and a line in ``PARTS``.

The number of a part stands in every entry for it, and its section in every snapshot: neither is ever
given to another part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from raftdb.state import hash_check, requests
from raftdb.state.kv import commands as kv
from raftdb.state.kv.store import KeyValueStore, StoreRestorer
from raftdb.state.kv.values import RESULTS
from raftdb.state.members import commands as members
from raftdb.state.members.table import MembersRestorer, MemberTable
from raftdb.state.part import Applied, Part, PartRestorer
from raftdb.state.wire import Codec

__all__ = ["COMPARING", "KV", "MEMBERS", "PARTS", "REQUESTS", "Kind", "Local", "kind_of"]


class Local(NamedTuple):
    """What one node decides for itself, and no result may depend on.

    :param checkpoint_interval: entries between two states that are compared with other replicas
    """

    checkpoint_interval: int = hash_check.CHECKPOINT_INTERVAL


class Kind(NamedTuple):
    """One part as the whole needs to know it.

    :param number: in envelopes
    :param name: of its section in a snapshot, and of its attribute of the whole state
    :param commands: their bytes
    :param make: an empty one
    :param restorer: of one in a snapshot; None for what is no part of the state: it is not hashed,
        stands in no snapshot, and outlives one that is installed
    :param results: the bytes of its results, where its commands may happen exactly once
    """

    number: int
    name: str
    commands: Codec[Any]
    make: Callable[[Local], Applied[Any]]
    restorer: Callable[[], PartRestorer[Part[Any]]] | None = None
    results: Codec[Any] | None = None


KV = Kind(
    1,
    "kv",
    kv.COMMANDS,
    lambda _: KeyValueStore(),
    StoreRestorer,
    RESULTS,
)
MEMBERS = Kind(2, "members", members.COMMANDS, lambda _: MemberTable(), MembersRestorer)
REQUESTS = Kind(
    3,
    "requests",
    requests.COMMANDS,
    lambda _: requests.RequestTable(),
    requests.RequestsRestorer,
)
COMPARING = Kind(
    4,
    "hash_check",
    hash_check.COMMANDS,
    lambda local: hash_check.HashCheck(local.checkpoint_interval),
)

PARTS: tuple[Kind, ...] = (MEMBERS, REQUESTS, KV, COMPARING)
"""In the order of their sections and of the state hash."""

_KINDS = {kind.number: kind for kind in PARTS}


def kind_of(number: int) -> Kind | None:
    """Return the part with this number, None where this raftdb knows none."""
    return _KINDS.get(number)
