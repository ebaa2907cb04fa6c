"""The replicated state as a whole: one applied index, one clock, one hash, one snapshot.

Satisfies ``StateMachine`` of :mod:`raftdb.replica.seams`. Everything here is a deterministic
function of the log: an envelope that this version does not know stops the node, because a guess
would make its replica another one.
"""

from __future__ import annotations

from collections.abc import Generator
from struct import Struct
from typing import assert_never

from raftdb.errors import Corrupt, ProtocolError, RemoteProtocolError
from raftdb.raft.types import ConfState
from raftdb.state.envelope import Envelope, Machine, decode_envelope
from raftdb.state.hash_check import CHECKPOINT_INTERVAL, HashCheck, decode_state_hash
from raftdb.state.kv.commands import decode_command
from raftdb.state.kv.store import KeyValueStore
from raftdb.state.kv.values import digest
from raftdb.state.members.commands import decode_members_command
from raftdb.state.members.table import MemberTable
from raftdb.state.sessions import SessionTable, decode_sessions_command
from raftdb.state.snapshot import SnapshotParts, StateRestorer, slices

_HASHED = Struct(">QQQQQ16s16s")


class UnknownCommand(ProtocolError):
    """A committed entry cannot be applied by this version of raftdb; the node must stop.

    :param index: the entry's index
    """

    def __init__(self, index: int, what: str) -> None:
        super().__init__(
            f"the entry at index {index} cannot be applied: {what}. It was written by a newer"
            " raftdb; start this node again with that version"
        )
        self.index = index


class ReplicatedState:
    """Keys, members and sessions as they stand after ``applied_index``.

    The parts are replaced as a whole when a snapshot is installed: read them through this object
    each time, and keep none of them.

    :param checkpoint_interval: entries between two states that are compared with other replicas;
        local
    :ivar kv: the keys
    :ivar members: the members, their addresses, the cluster id, the feature level
    :ivar sessions: who may repeat an operation safely
    :ivar applied_index: the last entry applied here; empty entries may lie beyond it
    :ivar time_ms: the replicated clock, ms since 1970, never going back
    :ivar comparison: whether this replica was found to be the same as the others
    """

    def __init__(self, *, checkpoint_interval: int = CHECKPOINT_INTERVAL) -> None:
        self.kv = KeyValueStore()
        self.members = MemberTable()
        self.sessions = SessionTable()
        self.applied_index = 0
        self.time_ms = 0
        self.hash_check = HashCheck(checkpoint_interval)

    @property
    def conf_state(self) -> ConfState:
        """The configuration in force."""
        return self.members.conf_state

    @property
    def state_hash(self) -> int:
        """The hash of everything replicated, ``0 <= hash < 2**128``; equal at equal indexes."""
        return _hash(self.time_ms, self.kv, self.members, self.sessions)

    @property
    def pinned_bytes(self) -> int:
        """Of present values that were written over and are kept for a snapshot under way alone."""
        return self.kv.pinned_bytes

    def apply(self, index: int, envelope: bytes) -> object:
        """Apply the normal entry at ``index``; empty entries may be left out.

        :returns: what the command returns to whoever proposed it; an instance of RaftDBError for a
            command that is refused and changed nothing, to be raised there
        :raises UnknownCommand: where this version cannot know what to do; the node must stop
        """
        passes = self._move_to(index)
        result: object = None
        if envelope:
            try:
                result = self._dispatch(index, decode_envelope(envelope))
            except RemoteProtocolError as error:
                raise UnknownCommand(index, str(error)) from error
        if passes:
            self._moved()
        return result

    def apply_conf_change(self, index: int, context: bytes, conf_state: ConfState) -> ConfState:
        """Note the configuration in force from ``index`` on, and the members that came with it.

        :raises UnknownCommand: where the context is not what this version knows
        """
        passes = self._move_to(index)
        try:
            self.members.apply_conf_change(context, conf_state)
        except RemoteProtocolError as error:
            raise UnknownCommand(index, str(error)) from error
        if passes:
            self._moved()
        return conf_state

    def _move_to(self, index: int) -> bool:
        """Stand at ``index``; return whether a checkpoint is passed, one in a thousand times."""
        assert index > self.applied_index, "an entry is applied once, in order"
        passes = self.hash_check.passed(self.applied_index, index) is not None
        if passes:
            # Entries without data change nothing: a checkpoint among them is taken with the next.
            passed = self.hash_check.passed(self.applied_index, index - 1)
            if passed is not None:
                self.hash_check.keep(passed, self.state_hash)
        self.applied_index = index
        return passes

    def _moved(self) -> None:
        if self.hash_check.passed(self.applied_index - 1, self.applied_index) is not None:
            self.hash_check.keep(self.applied_index, self.state_hash)

    def _dispatch(self, index: int, envelope: Envelope) -> object:
        self.time_ms = max(self.time_ms, envelope.wall_ms)
        match envelope.machine:
            case Machine.KV:
                return self._apply_kv(index, envelope)
            case Machine.MEMBERS:
                members_command = decode_members_command(envelope.body)
                return self.members.apply(members_command, time_ms=self.time_ms)
            case Machine.SESSIONS:
                return self.sessions.apply(index, decode_sessions_command(envelope.body))
            case Machine.HASH_CHECK:
                self.hash_check.hear(decode_state_hash(envelope.body))
                return None
            case _:
                assert_never(envelope.machine)

    def _apply_kv(self, index: int, envelope: Envelope) -> object:
        command = decode_command(envelope.body)
        session = envelope.session
        if session is None:
            return self.kv.apply(command)[0]
        known = self.sessions.check(session)
        if known is not None:
            return known
        result = self.kv.apply(command)[0]
        if not isinstance(result, Exception):
            self.sessions.remember(index, session, result)
        return result

    def snapshot(self) -> Generator[tuple[str, bytes], None, None]:
        """Pin the state as it is now and return it in slices of bounded work and at most 60 KiB.

        Applying may go on between slices. Closing the generator lets go of the pin.
        """
        generator = slices(self.applied_index, self.time_ms, self.state_hash, self)
        next(generator)  # up to the pin
        return generator

    def restore(self) -> StateRestorer:
        """Begin to fill a second state from a snapshot, to be swapped in when it is complete."""
        return StateRestorer(self._swap)

    def _swap(self, parts: SnapshotParts) -> None:
        found = _hash(parts.time_ms, parts.kv, parts.members, parts.sessions)
        if found != parts.state_hash:
            raise Corrupt(
                "snapshot",
                0,
                f"the state hashes to {found:032x}, not to {parts.state_hash:032x}; this node must"
                " be restored from another",
            )
        self.kv = parts.kv
        self.members = parts.members
        self.sessions = parts.sessions
        self.applied_index = parts.applied_index
        self.time_ms = parts.time_ms


def _hash(time_ms: int, kv: KeyValueStore, members: MemberTable, sessions: SessionTable) -> int:
    hashed = _HASHED.pack(
        time_ms,
        kv.revision,
        kv.compact_revision,
        kv.retention.revisions,
        kv.retention.bytes,
        kv.state_hash.to_bytes(16, "big"),
        sessions.digest.to_bytes(16, "big"),
    )
    return digest(hashed + members.encode())
