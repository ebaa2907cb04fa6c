"""Whether this replica is the same as the others: hashes at agreed indexes, compared in the log.

Each replica keeps the hash of its state at every 1,024th index. The leader writes its own into the
log, and whoever applies that entry compares. So a difference is found on every node that has one,
at the same entry, however long it was away. What is found is told and changes nothing that is
replicated: replicas that differ already must not differ in one thing more.

The hash is kept up with every entry and not computed anew from the contents, so this finds a replica that *applied*
something else, not a bit that flipped in its memory; a snapshot is checked against its contents.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import msgspec

from raftdb.raft.types import MemberID
from raftdb.state.part import Changes, Context
from raftdb.state.wire import Codec

CHECKPOINT_INTERVAL = 1_024
"""Entries between two checkpoints."""

CHECKPOINTS_KEPT = 64
"""After so many more, a checkpoint can no longer be compared."""


class StateHash(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, array_like=True, tag=1
):
    """What a leader says of its state: the command by which all replicas compare theirs.

    :param index: of the last entry applied
    :param hashed: the state hash after it, 16 bytes
    :param name: of the member whose state it was
    :param incarnation: of that member, 16 bytes
    """

    index: int
    hashed: bytes
    name: str
    incarnation: bytes

    @classmethod
    def of(cls, index: int, state_hash: int, witness: MemberID) -> StateHash:
        """Return what ``witness`` says of its state at ``index``."""
        incarnation = witness.incarnation.to_bytes(16, "big")
        return cls(index, state_hash.to_bytes(16, "big"), witness.id, incarnation)

    @property
    def state_hash(self) -> int:
        """The hash as a number."""
        return int.from_bytes(self.hashed, "big")

    @property
    def witness(self) -> MemberID:
        """Whose state it was."""
        return MemberID(self.name, int.from_bytes(self.incarnation, "big"))


COMMANDS: Codec[StateHash] = Codec(StateHash, "a state hash")
"""The bytes of the command."""


@dataclass(frozen=True, slots=True)
class Difference:
    """That this replica is not what another one is.

    :param index: where it was found first
    :param ours: the hash here
    :param theirs: the hash of ``witness``
    :param witness: the leader of that time
    """

    index: int
    ours: int
    theirs: int
    witness: MemberID


class HashCheck:
    """The checkpoints of one replica, and what came of comparing them.

    :param interval: entries between two checkpoints; local
    :ivar compared_index: of the newest state hash applied, held against this replica or not
    :ivar agreed_index: of the newest state hash that this replica agreed with, 0 for none
    :ivar difference: the first difference found, None for none
    """

    def __init__(self, interval: int = CHECKPOINT_INTERVAL) -> None:
        self._interval = interval
        self._checkpoints: deque[tuple[int, int]] = deque(maxlen=CHECKPOINTS_KEPT)
        self.compared_index = 0
        self.agreed_index = 0
        self.difference: Difference | None = None

    @property
    def checkpoints(self) -> tuple[tuple[int, int], ...]:
        """(index, state hash) at multiples of the interval, oldest first."""
        return tuple(self._checkpoints)

    def passed(self, applied: int, index: int) -> int | None:
        """Return the newest checkpoint after ``applied`` and up to ``index``, None for none."""
        newest = index // self._interval * self._interval
        return newest if newest > applied else None

    def keep(self, index: int, state_hash: int) -> None:
        """Remember the state at a checkpoint."""
        self._checkpoints.append((index, state_hash))

    def due(self, witness: MemberID) -> StateHash | None:
        """Return what a leader has to say that was not said yet."""
        if not self._checkpoints or self._checkpoints[-1][0] <= self.compared_index:
            return None
        return StateHash.of(*self._checkpoints[-1], witness)

    def apply(self, context: Context, command: StateHash) -> tuple[object, Changes]:
        """Hold another state hash against this replica's; what is no longer kept is not compared."""
        del context
        self.compare(command)
        return None, ()

    def compare(self, witnessed: StateHash) -> None:
        """Hold another state hash against this replica's; what is no longer kept is not compared."""
        self.compared_index = max(self.compared_index, witnessed.index)
        ours = dict(self._checkpoints).get(witnessed.index)
        if ours is None:
            return
        if ours == witnessed.state_hash:
            self.agreed_index = max(self.agreed_index, witnessed.index)
        elif self.difference is None:
            self.difference = Difference(
                witnessed.index, ours, witnessed.state_hash, witnessed.witness
            )
