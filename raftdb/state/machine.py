"""The replicated state as a whole: one applied index, one clock, one hash, one snapshot.

Satisfies ``StateMachine`` of :mod:`raftdb.replica.seams`. Everything here is a deterministic
function of the log: an envelope that this version does not know stops the node, because a guess
would make its replica another one.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import Any

from raftdb.errors import Corrupt, ProtocolError, RemoteProtocolError
from raftdb.raft.types import ConfState
from raftdb.state.digest import digest
from raftdb.state.envelope import Envelope, decode_envelope
from raftdb.state.feed import ChangeFeed
from raftdb.state.hash_check import HashCheck
from raftdb.state.kv.store import KeyValueStore
from raftdb.state.members.table import MemberTable
from raftdb.state.part import Applied, Changes, Context, Part
from raftdb.state.registry import PARTS, Kind, Local, kind_of
from raftdb.state.requests import RequestTable
from raftdb.state.snapshot import RestoredState, StateRestorer, slices


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
    """All parts as they stand after ``applied_index``.

    The parts are replaced as a whole when a snapshot is installed: read them through this object
    each time, and keep none of them. Each is an attribute by the name of its kind.

    :param local: what this node decides for itself
    :ivar kv: the keys
    :ivar members: the members, their addresses, the cluster id, the feature level
    :ivar requests: the answers to requests that happen exactly once
    :ivar hash_check: whether this replica was found to be the same as the others
    :ivar applied_index: the last entry applied here; empty entries may lie beyond it
    :ivar time_ms: the replicated clock, ms since 1970, never going back
    :ivar feed: what applying changed, for subscribers
    """

    kv: KeyValueStore
    members: MemberTable
    requests: RequestTable
    hash_check: HashCheck

    def __init__(self, local: Local | None = None) -> None:
        self._local = local or Local()
        self._parts: dict[str, Any] = {}  # a Part each, but for what is not hashed
        self._put_in_place({kind.name: kind.make(self._local) for kind in PARTS})
        self.applied_index = 0
        self.time_ms = 0
        self.feed = ChangeFeed()

    @property
    def conf_state(self) -> ConfState:
        """The configuration in force."""
        return self.members.conf_state

    @property
    def state_hash(self) -> int:
        """The hash of everything replicated, ``0 <= hash < 2**128``; equal at equal indexes."""
        return _hash(self.time_ms, self._parts)

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

    def page_applied(self) -> None:
        """Hand the changes of the entries since the last call to the subscribers."""
        self.feed.publish()

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
        kind = kind_of(envelope.part)
        if kind is None:
            raise RemoteProtocolError(f"a command for part {envelope.part}, which is unknown here")
        command = kind.commands.decode(envelope.body)
        self.time_ms = max(self.time_ms, envelope.wall_ms)
        context = Context(index, self.time_ms)
        if envelope.request is not None:
            return self._apply_once(kind, context, command, envelope)
        result, changes = self._parts[kind.name].apply(context, command)
        if changes and self.feed.is_followed:
            self.feed.add(kind.name, index, changes)
        return result

    def _apply_once(
        self, kind: Kind, context: Context, command: object, envelope: Envelope
    ) -> object:
        """Apply the command of a named request, unless its answer is remembered."""
        request, results = envelope.request, kind.results
        if request is None or results is None:
            raise RemoteProtocolError(f"the requests of part {kind.name} have no names")
        fingerprint = digest(bytes((kind.number,)) + envelope.body).to_bytes(16, "big")
        known = self.requests.find(context, request, fingerprint)
        if isinstance(known, Exception):
            return known
        if known is not None:
            return results.decode(known)
        changes: Changes
        result, changes = self._parts[kind.name].apply(context, command)
        if changes and self.feed.is_followed:
            self.feed.add(kind.name, context.index, changes)
        if not isinstance(result, Exception):
            self.requests.remember(context, request, fingerprint, results.encode(result))
        return result

    def snapshot(self) -> Generator[tuple[str, bytes], None, None]:
        """Pin the state as it is now and return it in slices of bounded work and at most 60 KiB.

        Applying may go on between slices. Closing the generator lets go of the pin.
        """
        generator = slices(self.applied_index, self.time_ms, self.state_hash, self._parts)
        next(generator)  # up to the pin
        return generator

    def restore(self) -> StateRestorer:
        """Begin to fill a second state from a snapshot, to be swapped in when it is complete."""
        return StateRestorer(self._swap)

    def _swap(self, restored: RestoredState) -> None:
        found = _hash(restored.time_ms, restored.parts)
        if found != restored.state_hash:
            raise Corrupt(
                "snapshot",
                0,
                f"the state hashes to {found:032x}, not to {restored.state_hash:032x}; this node"
                " must be restored from another",
            )
        self._put_in_place(restored.parts)
        self.applied_index = restored.applied_index
        self.time_ms = restored.time_ms
        self.feed.restart(self.applied_index)

    def _put_in_place(self, parts: Mapping[str, Applied[Any]]) -> None:
        self._parts.update(parts)
        for name, part in parts.items():
            setattr(self, name, part)


def _hash(time_ms: int, parts: Mapping[str, Part[Any]]) -> int:
    covered = b"".join(parts[kind.name].digest for kind in PARTS if kind.restorer is not None)
    return digest(time_ms.to_bytes(8, "big") + covered)
