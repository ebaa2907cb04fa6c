"""Snapshots of the state machine: taken and loaded in slices, with turns of the reactor in between.

Taking: when enough was applied since the last one, the state at the applied index is pinned and
written chunk by chunk while applying goes on; then the log is dropped up to the older of the two
kept snapshots. Loading: a durable snapshot is read into a second state, which takes the first one's
place in one step when it is complete and its hash is right. What a slice costs is bounded by the
state machine; this module bounds how many there are per turn: one is taken, a few are loaded.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import closing

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from raftdb.errors import Compacted, Overloaded
from raftdb.raft.types import SnapshotMetadata
from raftdb.replica.options import Options
from raftdb.replica.seams import SnapshotReader, SnapshotWriter, StateMachine, Storage

LOAD_BYTES = 96 * 1024
"""After how much of a snapshot that is loaded the reactor gets a turn: after 2 ms or so, for a turn
costs as much as a fifth of a slice."""


class _Abandoned(Exception):
    """The snapshot being taken is not wanted any more."""


class Snapshots:
    """Takes the snapshots of one state machine, one at a time.

    :param clock: gives the turns between slices
    :param storage: where they go
    :param machine: what is read
    :param options: after how many applied entries or bytes the next one is taken
    :param crash: is called when a durable step fails
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        storage: Storage,
        machine: StateMachine,
        options: Options,
        *,
        crash: Callable[[Failure], None],
    ) -> None:
        self._clock = clock
        self._storage = storage
        self._machine = machine
        self._entries_max = options.snapshot_entries
        self._bytes_max = options.snapshot_bytes
        self._crash = crash
        self._bytes = 0
        self._last_index = storage.snapshot_index
        self._abandoned = False
        self._taking: Deferred[None] | None = None

    def applied(self, index: int, bytes_count: int) -> bool:
        """Count a page that ends at ``index``; say whether it is time for a snapshot."""
        self._bytes += bytes_count
        if self._taking is not None:
            return False
        return (
            index - self._last_index >= self._entries_max
            or (self._bytes >= self._bytes_max and index > self._last_index)
        )  # fmt: skip

    def take(self, metadata: SnapshotMetadata) -> None:
        """Pin the state as it is now, at ``metadata.last``, and write it."""
        assert self._taking is None, "one snapshot at a time"
        self._bytes = 0
        self._last_index = metadata.last.index
        self._abandoned = False
        self._taking = Deferred()
        Deferred.fromCoroutine(self._take(metadata)).addErrback(self._crash)

    def abandon(self) -> Deferred[None]:
        """Give up what is being taken; fires when nothing is written any more."""
        self._abandoned = True
        done: Deferred[None] = Deferred()
        if self._taking is None:
            done.callback(None)
        else:
            self._taking.addBoth(lambda _: done.callback(None))
        return done

    def installed(self, index: int) -> None:
        """Note that the state has been replaced by a snapshot at ``index``."""
        self._last_index = max(self._last_index, index)
        self._bytes = 0

    async def _take(self, metadata: SnapshotMetadata) -> None:
        taking = self._taking
        assert taking is not None
        writer = self._storage.create_snapshot(metadata)
        try:
            await self._write(writer)
        except (_Abandoned, Compacted, Overloaded, OSError) as error:
            # No room, or writes outran the pinned state [8]: nothing is lost but the attempt. The
            # log stays, and the next attempt comes with the next threshold.
            if isinstance(error, OSError) and error.errno not in _NO_ROOM:
                raise
            self._log.warn(
                "snapshot at {index} given up: {error}", index=metadata.last.index, error=error
            )
            await writer.abort()
        else:
            # To drop all of a long log at once would hold up the event loop (promise 12).
            while await self._storage.compact():
                await next_turn(self._clock)
        self._taking = None
        taking.callback(None)

    async def _write(self, writer: SnapshotWriter) -> None:
        with closing(self._machine.snapshot()) as slices:
            for section, chunk in slices:
                await writer.write(section, chunk)
                await next_turn(self._clock)
                if self._abandoned:
                    raise _Abandoned
        await writer.commit()


async def load(
    clock: IReactorTime,
    reader: SnapshotReader,
    machine: StateMachine,
    *,
    wanted: Callable[[], bool],
) -> bool:
    """Replace the state by a durable snapshot's, a few slices per turn, the swap in one step.

    :param wanted: is asked between slices; once it says no, the state stays as it is
    :returns: whether the state was replaced
    :raises Corrupt: the file is not what was written, or the state's hash is wrong
    """
    restorer = machine.restore()
    turn_bytes = LOAD_BYTES  # so that nothing is ever loaded in the turn that began it
    try:
        while (piece := await reader.read()) is not None:
            restorer.feed(*piece)
            turn_bytes += len(piece[1])
            if turn_bytes >= LOAD_BYTES:
                turn_bytes = 0
                await next_turn(clock)
            if not wanted():
                return False
    finally:
        reader.close()
    restorer.finish()
    return True


def next_turn(clock: IReactorTime, delay_s: float = 0.0) -> Deferred[None]:
    """Return a Deferred that fires in the reactor's next turn, or the first after ``delay_s``."""
    return deferLater(clock, delay_s)


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})
