"""Snapshot files on their way to members that are too far behind for the log.

The core's InstallSnapshot carries metadata only. Here the file behind it is read and sent in a
window of chunks, and the outcome is told once per message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from raftdb import codec
from raftdb.errors import RaftDBError, RemoteProtocolError
from raftdb.peer.commands import SnapshotChunk
from raftdb.peer.limits import PeerLimits
from raftdb.peer.protocol import PeerConnection
from raftdb.raft.messages import InstallSnapshot
from raftdb.raft.types import EntryID, MemberID, SnapshotMetadata


class SnapshotFile(Protocol):
    """A durable snapshot's bytes; the file stays while it is open."""

    @property
    def size(self) -> int:
        """The file's length in bytes."""

    def read_at(self, offset: int, count: int, /) -> Deferred[bytes]:
        """Return exactly ``count`` bytes from ``offset``."""

    def close(self) -> None:
        """Let go of the file."""


class SnapshotReceiver(Protocol):
    """A snapshot file being received; nothing of it is visible before ``commit``."""

    def write(self, offset: int, chunk: bytes, /) -> Deferred[None]:
        """Add bytes; offsets come in order, without gaps."""

    def commit(self) -> Deferred[None]:
        """Verify the whole file and make it durable under its name."""

    def abort(self) -> object:
        """Forget it and remove what was written."""


class SnapshotFiles(Protocol):
    """Where snapshot files are read from and written to."""

    def open_snapshot_file(self, last: EntryID, /) -> Awaitable[SnapshotFile]:
        """Open the durable snapshot that ends at ``last``."""

    def receive_snapshot(self, metadata: SnapshotMetadata, size: int, /) -> SnapshotReceiver:
        """Begin to write a snapshot of ``size`` bytes; may fail where there is no room."""


class _Stream(NamedTuple):
    """One stream under way."""

    number: int
    message: InstallSnapshot
    running: Deferred[None]


class SnapshotNotTaken(RemoteProtocolError):
    """The other side refused a chunk, most likely for want of room."""


class _Pause(NamedTuple):
    """A member's refusals so far.

    :param taken: bytes that it had taken when it refused
    :param pause_s: before the next stream begins
    :param until_s: when it may
    """

    taken: int
    pause_s: float
    until_s: float


class SnapshotSender:
    """The streams from here, at most one per member.

    A member that refuses a snapshot is left in peace for a while, twice as long each time, unless it
    took more than the time before: what it wants, room most likely, does not come by asking.

    :param clock: for deadlines
    :param limits: chunk, window and patience
    :param files: where the files are
    :param find: the bulk connection to a member, or None
    :param finished: told the outcome of each stream
    :param failed: told why a stream failed
    """

    def __init__(
        self,
        clock: IReactorTime,
        limits: PeerLimits,
        files: SnapshotFiles,
        *,
        find: Callable[[MemberID], PeerConnection | None],
        finished: Callable[[MemberID, bool], None],
        failed: Callable[[MemberID, Exception], None],
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._files = files
        self._find = find
        self._finished = finished
        self._failed = failed
        self._streams: dict[MemberID, _Stream] = {}
        self._counter = 0
        self._pauses: dict[MemberID, _Pause] = {}

    def send(self, message: InstallSnapshot) -> None:
        """Begin a stream in a moment.

        One for the same message that runs already goes on; one for another is given up, and its
        outcome is not told: it would be taken for the outcome of this one.
        """
        member = message.receiver
        superseded = self._streams.get(member)
        if superseded is not None:
            if superseded.message == message:
                return
            del self._streams[member]
            superseded.running.cancel()
        self._counter += 1
        running = Deferred.fromCoroutine(self._run(message, self._counter))
        self._streams[member] = _Stream(self._counter, message, running)

    def stop(self) -> None:
        """End all streams; their outcomes are told as failures."""
        for stream in list(self._streams.values()):
            stream.running.cancel()

    async def _run(self, message: InstallSnapshot, number: int) -> None:
        member = message.receiver
        ok = False
        try:
            await deferLater(self._clock, self._due_in_s(member))
            await self._stream(message, number)
            self._pauses.pop(member, None)
            ok = True
        except CancelledError:
            pass
        except Exception as error:  # noqa: BLE001  (whatever it is, the leader may try again)
            self._failed(member, error)
        finally:
            current = self._streams.get(member)
            if current is not None and current.number == number:
                del self._streams[member]
                self._finished(member, ok)

    def _due_in_s(self, member: MemberID) -> float:
        pause = self._pauses.get(member)
        return 0.0 if pause is None else max(0.0, pause.until_s - self._clock.seconds())

    def _refused(self, member: MemberID, taken: int) -> None:
        """Take note that ``member`` refused to go on after ``taken`` bytes."""
        before = self._pauses.get(member)
        pause_s = self._limits.snapshot_pause_s
        if before is not None and taken <= before.taken:
            pause_s = min(2 * before.pause_s, self._limits.snapshot_pause_max_s)
        self._pauses[member] = _Pause(taken, pause_s, self._clock.seconds() + pause_s)

    async def _stream(self, message: InstallSnapshot, number: int) -> None:
        file = await self._files.open_snapshot_file(message.snapshot.last)
        answers: deque[Deferred[None]] = deque()
        taken = 0
        try:
            connection = self._find(message.receiver)
            if connection is None:
                raise RaftDBError(f"{message.receiver} is not connected")
            for offset in range(0, max(1, file.size), self._limits.chunk_bytes_max):
                count = min(self._limits.chunk_bytes_max, file.size - offset)
                chunk = await file.read_at(offset, count)
                if len(answers) >= self._limits.chunk_window:
                    await answers.popleft()
                    taken += self._limits.chunk_bytes_max
                answers.append(
                    self._ask(
                        connection,
                        stream=number,
                        offset=offset,
                        size=file.size,
                        chunk=chunk,
                        message=codec.encode_message(message) if offset == 0 else None,
                    )
                )
            while answers:
                await answers.popleft()
        except SnapshotNotTaken:
            self._refused(message.receiver, taken)
            raise
        finally:
            file.close()
            for answer in answers:
                answer.addErrback(lambda _: None)
                answer.cancel()

    def _ask(self, connection: PeerConnection, **chunk: object) -> Deferred[None]:
        """Send one chunk; fires when the other side has taken it."""

        def judge(answer: dict[str, object]) -> None:
            if answer["refused"] is not None:
                raise SnapshotNotTaken(f"the snapshot was refused: {answer['refused']}")

        asked = connection.ask(SnapshotChunk, **chunk)
        asked.addTimeout(self._limits.snapshot_patience_s, self._clock)
        return asked.addCallback(judge)
