"""Snapshots of the state machine: taken and loaded in slices, with turns of the reactor in between.

Taking: when enough was applied since the last one, the state at the applied index is pinned and
written chunk by chunk while applying goes on; then the log is dropped up to the older of the two
kept snapshots. Loading: a durable snapshot is read into a second state, which takes the first one's
place in one step when it is complete and its hash is right. What a slice costs is bounded by the
state machine; this module bounds how many there are per turn: one is taken, a few are loaded.

What is applied beyond the newest complete snapshot is log that has to be kept, so it is bounded
whatever the load. At the threshold a snapshot is taken; at twice the threshold several slices are
read per turn; at four times nothing more is taken in until one is complete. A snapshot that was given
up is tried again, and does not wait for another threshold.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import closing
from itertools import islice

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from raftdb.raft.types import SnapshotMetadata
from raftdb.replica.options import ReplicaOptions
from raftdb.replica.seams import SnapshotReader, SnapshotWriter, StateMachine, Storage

LOAD_BYTES = 96 * 1024
"""After how much of a snapshot that is loaded the reactor gets a turn: after 2 ms or so, for a turn
costs as much as a fifth of a slice."""

URGENT_SLICES = 8
"""Slices read in one turn where a snapshot is urgent: 12 ms or so."""

URGENT, LAGGING = 2, 4
"""How many thresholds may be applied beyond the newest complete snapshot until the next is urgent, and
until no entry is taken in before it is complete."""

_RETRY_MIN_S, _RETRY_MAX_S = 0.125, 8.0
"""After a snapshot found no room the next is tried, each time after twice as long…"""

_RETRY_LAGGING_S = 1.0
"""… but no later than that where writes wait for it."""


class _Abandoned(Exception):
    """The snapshot being taken is not wanted any more."""


class Snapshots:
    """Takes the snapshots of one state machine, one at a time.

    :param clock: gives the turns between slices
    :param storage: where they go
    :param machine: what is read
    :param options: after how many applied entries or bytes the next one is taken
    :ivar troubled: why the newest attempt failed, None where it did not
    :param crash: is called when a durable step fails
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        storage: Storage,
        machine: StateMachine,
        options: ReplicaOptions,
        *,
        crash: Callable[[Failure], None],
    ) -> None:
        self._clock = clock
        self._storage = storage
        self._machine = machine
        self._entries_max = options.snapshot_entries
        self._bytes_max = options.snapshot_bytes
        self._pinned_bytes_max = options.pinned_bytes_max
        self._crash = crash
        self._index = self._last_index = storage.snapshot_index
        self._bytes = 0
        self._size = 0
        self._retry_s = _RETRY_MIN_S
        self._failed_s: float | None = None
        self._abandoned = False
        self._taking: Deferred[None] | None = None
        self.troubled: OSError | None = None

    def applied(self, index: int, bytes_count: int) -> None:
        """Count a page that ends at ``index``."""
        self._index = index
        self._bytes += bytes_count

    @property
    def due(self) -> bool:
        """Whether it is time to take a snapshot of what is applied now."""
        if self._taking is not None or self._abandoned or not self._beyond(1):
            return False
        if self._failed_s is None:
            return True
        patience_s = min(self._retry_s, _RETRY_LAGGING_S) if self.lags else self._retry_s
        return self._clock.seconds() >= self._failed_s + patience_s

    @property
    def under_way(self) -> bool:
        """Whether a snapshot is being taken."""
        return self._taking is not None

    @property
    def lags(self) -> bool:
        """Whether so much lies beyond the newest complete snapshot that no more may be taken in.

        Whatever is counted here is applied, so a snapshot can be taken of it, and this ends by itself
        wherever the disk has room for one.
        """
        crowded = self._taking is not None and self._pinned > 1
        return crowded or self._beyond(max(LAGGING, self._size // self._bytes_max))

    @property
    def _pinned(self) -> float:
        """How much of what may be is kept for the snapshot under way alone."""
        return self._machine.pinned_bytes / max(self._pinned_bytes_max, self._size // 4)

    def _beyond(self, thresholds: int) -> bool:
        entries = self._index - self._last_index
        return entries > 0 and (
            entries >= thresholds * self._entries_max or self._bytes >= thresholds * self._bytes_max
        )

    def take(self, metadata: SnapshotMetadata) -> None:
        """Pin the state as it is now, at ``metadata.last``, and write it."""
        assert self._taking is None, "one snapshot at a time"
        self._taking = Deferred()
        Deferred.fromCoroutine(self._take(metadata)).addErrback(self._crash)

    def abandon(self) -> Deferred[None]:
        """Give up what is being taken; fires when nothing is written any more.

        None is taken before the state :meth:`installed` next.
        """
        self._abandoned = True
        done: Deferred[None] = Deferred()
        if self._taking is None:
            done.callback(None)
        else:
            self._taking.addBoth(lambda _: done.callback(None))
        return done

    def installed(self, index: int) -> None:
        """Note that the state has been replaced by a snapshot at ``index``."""
        self._index = self._last_index = max(self._last_index, index)
        self._bytes = 0
        self._abandoned = False

    async def _take(self, metadata: SnapshotMetadata) -> None:
        taking = self._taking
        assert taking is not None
        bytes_before = self._bytes
        writer = self._storage.create_snapshot(metadata)
        try:
            size = await self._write(writer)
        except (_Abandoned, OSError) as error:
            # No room: nothing is lost but the attempt. The log stays, and so does what it counts.
            if isinstance(error, OSError):
                self._failed(metadata.last.index, error)
            await writer.abort()
        else:
            self._completed(metadata.last.index, bytes_before, size)
            # To drop all of a long log at once would hold up the event loop (promise 12).
            while await self._storage.compact():
                await next_turn(self._clock)
        self._taking = None
        taking.callback(None)

    def _completed(self, index: int, bytes_before: int, size: int) -> None:
        if self.troubled is not None:
            self._log.info("snapshots are taken again: {index} is complete", index=index)
        self.troubled = None
        self._failed_s = None
        self._retry_s = _RETRY_MIN_S
        self._size = size
        if index > self._last_index:
            self._last_index = index
            self._bytes -= bytes_before

    def _failed(self, index: int, error: OSError) -> None:
        if error.errno not in _NO_ROOM:
            raise error
        if self.troubled is None:
            self._log.warn("no room for a snapshot at {index}: {error}", index=index, error=error)
        self.troubled = error
        self._failed_s = self._clock.seconds()
        self._retry_s = min(2 * self._retry_s, _RETRY_MAX_S)

    async def _write(self, writer: SnapshotWriter) -> int:
        """Write the state, a few slices per turn; return of how many bytes they were."""
        size = 0
        with closing(self._machine.snapshot()) as slices:
            while pieces := list(islice(slices, self._slices_per_turn())):
                await _all([writer.write(*piece) for piece in pieces])
                size += sum(len(chunk) for _, chunk in pieces)
                await next_turn(self._clock)
                if self._abandoned:
                    raise _Abandoned
        await writer.commit()
        return size

    def _slices_per_turn(self) -> int:
        return URGENT_SLICES if self._beyond(URGENT) or self._pinned > 1 / URGENT else 1


async def _all(written: list[Deferred[None]]) -> None:
    """Wait for all of them; the first that fails is told, and what it leads to is not."""
    try:
        for one in written:
            await one
    finally:
        for one in written:
            one.addErrback(lambda _: None)


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
