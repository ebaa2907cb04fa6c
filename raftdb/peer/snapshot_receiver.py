"""Snapshot files coming in: one at a time, in order, durable before anybody hears of them.

The stream is whose chunks are believed: it is named by its connection and its number. A stream in a
higher term takes the place of one in a lower, because only its leader can still be the right one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import Deferred, DeferredLock

from raftdb import codec
from raftdb.errors import RemoteProtocolError
from raftdb.peer.limits import PeerLimits
from raftdb.peer.protocol import PeerConnection
from raftdb.peer.snapshot_sender import SnapshotFiles, SnapshotReceiver
from raftdb.raft.messages import InstallSnapshot, Message
from raftdb.raft.types import MemberID


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """One SnapshotChunk as it came."""

    stream: int
    offset: int
    size: int
    chunk: bytes
    message: bytes | None


@dataclass(slots=True, kw_only=True)
class _Stream:
    """The stream under way.

    Invariant: ``taken`` bytes from the front are with the receiver, ``0 <= taken <= size``.
    """

    connection: PeerConnection
    number: int
    message: InstallSnapshot
    size: int
    receiver: SnapshotReceiver
    taken: int = 0


class SnapshotRefused(RemoteProtocolError):
    """A chunk cannot be taken; its stream is over, its connection is not."""


class IncomingSnapshots:
    """Takes chunks and writes them.

    :param limits: of a chunk and of a snapshot
    :param files: where the file is written
    :param local: who we are
    :param deliver: given the InstallSnapshot when its file is durable
    :param failed: told who sent a snapshot that cannot be taken, and why, once per stream
    """

    def __init__(
        self,
        limits: PeerLimits,
        files: SnapshotFiles,
        *,
        local: MemberID,
        deliver: Callable[[list[Message]], None],
        failed: Callable[[MemberID, Exception], None],
    ) -> None:
        self._limits = limits
        self._files = files
        self._local = local
        self._deliver = deliver
        self._failed = failed
        self._why: tuple[PeerConnection, int, str] | None = None
        self._stream: _Stream | None = None
        self._turn = DeferredLock()

    def take(
        self, connection: PeerConnection, arguments: dict[str, object]
    ) -> Deferred[dict[str, object]]:
        """Take one chunk; fires with the answer when it is written, the last when durable.

        :raises RemoteProtocolError: where the chunk cannot be right at all
        """
        chunk = Chunk(**arguments)  # type: ignore[arg-type]  # from AMP
        end = chunk.offset + len(chunk.chunk)
        if len(chunk.chunk) > self._limits.chunk_bytes_max or end > chunk.size:
            raise RemoteProtocolError(f"chunk [{chunk.offset}, {end}) of {chunk.size} bytes")
        if not chunk.chunk and chunk.size:
            raise RemoteProtocolError("an empty chunk")
        return Deferred.fromCoroutine(self._take(connection, chunk))

    def lost(self, connection: PeerConnection) -> None:
        """Give up a stream whose connection is gone."""
        if self._stream is not None and self._stream.connection is connection:
            self._give_up()

    def stop(self) -> None:
        """Give up whatever is under way."""
        self._give_up()

    async def _take(self, connection: PeerConnection, chunk: Chunk) -> dict[str, object]:
        """Wait for our turn, so that chunks are written in the order of their arrival."""
        await self._turn.acquire()
        try:
            await self._take_in_turn(connection, chunk)
        except Exception as error:  # noqa: BLE001  (no room, a bad file, …: the stream is over)
            return {"refused": self._refuse(connection, chunk, error)[:500]}
        finally:
            self._turn.release()
        return {}

    def _refuse(self, connection: PeerConnection, chunk: Chunk, error: Exception) -> str:
        """End the chunk's stream; return why, which chunks behind the one that failed are told, too."""
        why = f"{type(error).__name__}: {error}"
        if self._is_current(connection, chunk):
            self._give_up()
            self._why = connection, chunk.stream, why
            self._failed(connection.member, error)
        elif self._why is not None and self._why[:2] == (connection, chunk.stream):
            why = self._why[2]
        return why

    async def _take_in_turn(self, connection: PeerConnection, chunk: Chunk) -> None:
        if connection.is_closing:
            # Nobody would ever give up a stream that begins when its connection has gone.
            raise SnapshotRefused("the connection is gone")
        if chunk.message is not None:
            self._begin(connection, chunk, chunk.message)
        await self._write(connection, chunk)

    def _begin(self, connection: PeerConnection, chunk: Chunk, encoded: bytes) -> None:
        message = codec.decode_message(encoded)
        if not isinstance(message, InstallSnapshot):
            raise SnapshotRefused("the first chunk brings no InstallSnapshot")
        if message.sender != connection.member or message.receiver != self._local:
            raise SnapshotRefused(f"a snapshot from {message.sender} to {message.receiver}")
        if chunk.offset != 0 or chunk.size > self._limits.snapshot_bytes_max:
            raise SnapshotRefused(f"a snapshot of {chunk.size} bytes that begins at {chunk.offset}")
        if self._stream is not None and message.term < self._stream.message.term:
            raise SnapshotRefused(f"a snapshot of term {self._stream.message.term} is under way")
        self._give_up()
        receiver = self._files.receive_snapshot(message.snapshot, chunk.size)
        self._why = None
        self._stream = _Stream(
            connection=connection,
            number=chunk.stream,
            message=message,
            size=chunk.size,
            receiver=receiver,
        )

    async def _write(self, connection: PeerConnection, chunk: Chunk) -> None:
        stream = self._stream
        if stream is None or not self._is_current(connection, chunk):
            raise SnapshotRefused("this stream is over")
        if chunk.offset != stream.taken or chunk.size != stream.size:
            raise SnapshotRefused(f"byte {stream.taken} is due, not {chunk.offset}")
        await stream.receiver.write(chunk.offset, chunk.chunk)
        stream.taken += len(chunk.chunk)
        if stream.taken == stream.size:
            self._still(stream)
            await stream.receiver.commit()
            self._still(stream)
            self._stream = None
            self._deliver([stream.message])

    def _still(self, stream: _Stream) -> None:
        """Insist that nobody gave the stream up while we waited."""
        if self._stream is not stream:
            raise SnapshotRefused("this stream is over")

    def _is_current(self, connection: PeerConnection, chunk: Chunk) -> bool:
        stream = self._stream
        return (
            stream is not None and stream.connection is connection and stream.number == chunk.stream
        )

    def _give_up(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.receiver.abort()
