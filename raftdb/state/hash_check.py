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
from struct import Struct

from raftdb.codec import decode_member_id, encode_member_id
from raftdb.errors import RemoteProtocolError
from raftdb.raft.types import MemberID

CHECKPOINT_INTERVAL = 1_024
"""Entries between two checkpoints."""

CHECKPOINTS_KEPT = 64
"""After so many more, a checkpoint can no longer be compared."""

_FORMAT = 1
_STATE_HASH = Struct(">BQ16s")


@dataclass(frozen=True, slots=True)
class StateHash:
    """What a leader says of its state.

    :param index: of the last entry applied
    :param state_hash: after it
    :param witness: whose state it was
    """

    index: int
    state_hash: int
    witness: MemberID


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


def encode_state_hash(witnessed: StateHash) -> bytes:
    """Return the body of an entry that asks all replicas to compare."""
    head = _STATE_HASH.pack(_FORMAT, witnessed.index, witnessed.state_hash.to_bytes(16, "big"))
    return head + encode_member_id(witnessed.witness)


def decode_state_hash(body: bytes) -> StateHash:
    """Return what a leader says of its state.

    :raises RemoteProtocolError: where it is cut off or of an unknown format
    """
    if len(body) < _STATE_HASH.size:
        raise RemoteProtocolError(f"an attestation of {len(body)} bytes is cut off")
    format_, index, state_hash = _STATE_HASH.unpack_from(body)
    if format_ != _FORMAT:
        raise RemoteProtocolError(
            f"an attestation of format {format_}; this raftdb knows {_FORMAT}"
        )
    witness = decode_member_id(body[_STATE_HASH.size :])
    return StateHash(index, int.from_bytes(state_hash, "big"), witness)


class HashCheck:
    """The checkpoints of one replica, and what came of comparing them.

    :param interval: entries between two checkpoints; local
    :ivar compared_index: of the newest attestation applied, held against this replica or not
    :ivar agreed_index: of the newest attestation that this replica agreed with, 0 for none
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
        return StateHash(*self._checkpoints[-1], witness)

    def hear(self, witnessed: StateHash) -> None:
        """Hold an attestation against this replica; what is no longer kept cannot be compared."""
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
