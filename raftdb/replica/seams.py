"""What a Replica needs from the world: protocols, satisfied without importing this module.

:mod:`raftdb.peer`, :mod:`raftdb.storage` and :mod:`raftdb.state` fit them by shape;
:mod:`raftdb.node` and :mod:`raftdb.simulation` plug them together.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Protocol, TypeAlias

from twisted.internet.defer import Deferred

from raftdb.raft.messages import Message
from raftdb.raft.ready import Ready
from raftdb.raft.storage import LogReader
from raftdb.raft.types import ConfState, EntryID, SnapshotMetadata

Soon: TypeAlias = Callable[[Callable[[], None]], object]
"""Has something called once, soon, but never before it returns itself."""


class Transport(Protocol):
    """Carries messages to the other members, unreliably, without ever blocking."""

    def send(self, messages: Sequence[Message]) -> None:
        """Hand over messages of one turn; what cannot be delivered is reported unreachable."""


class SnapshotWriter(Protocol):
    """A snapshot file being written; nothing of it is visible before ``commit``."""

    def write(self, section: str, chunk: bytes) -> Deferred[None]:
        """Append ``chunk`` to ``section``; sections come one after the other, never mixed."""

    def commit(self) -> Deferred[None]:
        """Make it durable under its name, and delete all but the two newest snapshots."""

    def abort(self) -> Deferred[None]:
        """Forget it and remove what was written."""


class SnapshotReader(Protocol):
    """A durable snapshot being read, checksums verified."""

    metadata: SnapshotMetadata

    def read(self) -> Deferred[tuple[str, bytes] | None]:
        """Return the next (section, chunk) in the order of writing, or None at the end."""

    def close(self) -> None:
        """Let go of the file."""


class Storage(Protocol):
    """What survives: the log, the hard state, the snapshots."""

    @property
    def log(self) -> LogReader:
        """What is durable, readable without waiting; the core reads from here."""

    @property
    def snapshot_index(self) -> int:
        """The index of the newest durable snapshot, 0 for none."""

    @property
    def log_bytes(self) -> int:
        """What the entries kept in the log count together."""

    def admits(self, bytes_count: int) -> bool:
        """Whether the log has reserved room for so much more in the next batch [R18].

        :param bytes_count: the sizes of all entries not yet given to :meth:`save`, of those that an
            append or a proposal would add included; votes have room of their own
        """

    def save(self, ready: Ready) -> Deferred[None]:
        """Make one Ready durable as one batch; fires after the fsync, when ``log`` shows it."""

    def create_snapshot(self, metadata: SnapshotMetadata) -> SnapshotWriter:
        """Begin to write a snapshot of the state at ``metadata.last``."""

    def open_snapshot(self, last: EntryID) -> Awaitable[SnapshotReader]:
        """Begin to read the durable snapshot that ends at ``last``."""

    def compact(self) -> Deferred[bool]:
        """Drop a part of the log that lies before the older of the two kept snapshots, if there are
        two; bounded work. Fires with whether there is more to drop.
        """


class Restorer(Protocol):
    """A second state being filled from a snapshot, a chunk at a time."""

    def feed(self, section: str, chunk: bytes) -> None:
        """Take the next chunk, in the order of writing; bounded work."""

    def finish(self) -> None:
        """Check the whole (state hash included) and swap it in, in one step."""


class StateMachine(Protocol):
    """Everything replicated, as a deterministic function of the log."""

    def apply(self, index: int, envelope: bytes) -> object:
        """Apply one normal entry; the result is handed to whoever proposed it."""

    def apply_conf_change(self, index: int, context: bytes, conf_state: ConfState) -> object:
        """Note the configuration in force from ``index`` on, and what came with the change."""

    @property
    def pinned_bytes(self) -> int:
        """What of the state is kept for a snapshot under way alone, for it was written over since."""

    def page_applied(self) -> None:
        """Take note that a page of entries is applied and its proposals are answered."""

    def snapshot(self) -> Generator[tuple[str, bytes], None, None]:
        """Read the present state in slices of bounded work, each a (section, chunk).

        The state is pinned as it is now; applying goes on between slices. Closing the generator
        lets go of the pin.
        """

    def restore(self) -> Restorer:
        """Begin to replace the state by a snapshot's."""
