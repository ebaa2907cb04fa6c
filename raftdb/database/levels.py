"""How old an answer may be, and where a node stands when it gives one."""

from __future__ import annotations

from enum import Enum

import msgspec

__all__ = ["Level", "Position"]


class Level(Enum):
    """How old an answer may be.

    STALE: what this node has applied, however long ago it heard of the leader. DEFAULT: at most one
    election timeout older than the newest acknowledged write. CONSISTENT: linearizable.
    """

    STALE = "stale"
    DEFAULT = "default"
    CONSISTENT = "consistent"


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where this node stands in the cluster's history.

    :param applied_index: of the state that answers are read from
    :param term: the current term
    :param leader_id: as given by ``--id``, None where nobody is known to lead
    :param leader_contact_age_s: since the leader was heard, None for never
    """

    applied_index: int
    term: int
    leader_id: str | None
    leader_contact_age_s: float | None
