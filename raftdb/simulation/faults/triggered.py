"""Faults that wait for their moment: a node dies just when it has won, committed, voted, compacted.

At moments drawn evenly over time a rare state is hit rarely. What makes a state dangerous is mostly
that something has just happened, so this module watches for it; what then happens to the node is
the caller's affair.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

from raftdb.raft.types import HardState, Role
from raftdb.simulation.nodes.cluster import Cluster
from raftdb.simulation.nodes.node import SimulatedNode

SKIPPED_MAX = 3
"""So many of the moments waited for may pass."""

DELAY_MAX_S = 0.003
"""How long after its moment it strikes, where not at once."""

Deed = Callable[[SimulatedNode], None]


class Sight(NamedTuple):
    """What is seen of a node between two events."""

    role: Role
    durable: HardState
    last_index: int
    committed: int
    applied: int
    first_index: int
    changes: int
    reads: int
    round: int


MOMENTS: dict[str, Callable[[Sight, Sight], bool]] = {
    "wins": lambda old, new: new.role is Role.LEADER is not old.role,
    "campaigns": lambda old, new: new.role is Role.CANDIDATE is not old.role,
    "proposes": lambda old, new: new.role is Role.LEADER and new.last_index > old.last_index,
    "commits": lambda old, new: new.role is Role.LEADER and new.committed > old.committed,
    "hears of a commit": lambda old, new: (
        new.role is not Role.LEADER and new.committed > old.committed
    ),
    "votes": lambda old, new: new.durable.vote not in {None, old.durable.vote},
    "hears of a committed change": lambda old, new: new.changes > old.changes,
    "drops log": lambda old, new: new.first_index > old.first_index,
    "asks for a read": lambda old, new: new.reads > old.reads,
    "begins a round": lambda old, new: new.role is Role.LEADER and new.round > old.round,
    "applies": lambda old, new: new.applied > old.applied,
}
"""What is waited for, by its name."""


class TriggeredFault:
    """Lies in wait for one moment at a time.

    :param cluster: whose nodes are watched
    :param rng: draws the moment, how many pass, and the delay
    """

    def __init__(self, cluster: Cluster, rng: Random) -> None:
        self._cluster = cluster
        self._rng = rng
        self._seen: dict[str, Sight] = {}

    def lie(self, name: str, deed: Deed) -> None:
        """Draw a moment, and wait for it in place of the one before; see :meth:`wait`."""
        moment = self._rng.choice(tuple(MOMENTS))
        skipped = self._rng.randint(0, SKIPPED_MAX)
        delay_s = self._rng.choice((0.0, self._rng.uniform(0.0, DELAY_MAX_S)))
        self.wait(moment, name, deed, skipped=skipped, delay_s=delay_s)

    def wait(
        self, moment: str, name: str, deed: Deed, *, skipped: int = 0, delay_s: float = 0.0
    ) -> None:
        """Do ``deed``, once, to the node that has the moment next.

        :param name: what the deed is called
        :param skipped: so many nodes that have the moment before get away
        :param delay_s: after which it is done, 0 for at once, before anything else happens
        """
        self._cluster.event_log.note("in wait: who", moment, "will", name)
        self._seen.clear()

        def watch(node: SimulatedNode) -> None:
            nonlocal skipped
            new = _sight(node)
            old = self._seen.get(node.name, new)
            self._seen[node.name] = new
            if not MOMENTS[moment](old, new):
                return
            skipped -= 1
            if skipped < 0:
                self.leave()
                self._cluster.event_log.note("ambush:", node.name, moment, "and will", name)
                if delay_s:
                    self._cluster.clock.callLater(delay_s, deed, node)
                else:
                    deed(node)

        self._cluster.watch = watch

    def leave(self) -> None:
        """Wait no more."""
        self._cluster.watch = _nobody


def _nobody(_: SimulatedNode) -> None:
    """Watch nothing."""


def _sight(node: SimulatedNode) -> Sight:
    core = node.replica.core
    log = core.state.log
    return Sight(
        role=core.role,
        durable=core.state.durable,
        last_index=log.last_index,
        committed=log.committed,
        applied=log.applied,
        first_index=log.first_index,
        changes=core.state.change_awaits_save,
        reads=core.state.read_counter,
        round=core.round,
    )
