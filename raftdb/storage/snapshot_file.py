r"""The bytes of a snapshot file: written once, front to back, and read the same way. Blocks.

::

    prelude = magic "raftdbS\n" | format u16 | group u32 | cluster id (16) | metadata length u32
              | metadata | digest (16) of all that
    frame   = kind u8 | name length u8 | chunk length u32 | section name | chunk | digest (16)

A frame of kind 1 is a chunk of a section; one of kind 2 is the end, its chunk the number of frames
before it. Each digest is keyed by the one before, so frames cannot be left out or change places.
Nothing in the file depends on the member that wrote it: peers stream it byte for byte.
"""

from __future__ import annotations

from enum import IntEnum
from hashlib import blake2b
from struct import Struct
from typing import NamedTuple

from raftdb.codec import decode_snapshot_metadata, encode_snapshot_metadata
from raftdb.disk.files import File
from raftdb.errors import Corrupt, LocalProtocolError, RemoteProtocolError, StorageError
from raftdb.raft.types import SnapshotMetadata
from raftdb.storage.batch import DIGEST_BYTES
from raftdb.storage.limits import StorageLimits
from raftdb.storage.segment import ADVICE

FORMAT = 1
SECTION_NAME_BYTES_MAX = 255
_MAGIC = b"raftdbS\n"
_PRELUDE = Struct(">8sHI16sI")
_FRAME = Struct(">BBI")
_COUNT = Struct(">Q")
_METADATA_BYTES_MAX = 1024 * 1024


class _Kind(IntEnum):
    CHUNK = 1
    END = 2


class Prelude(NamedTuple):
    """Whose state the file holds, and up to where."""

    metadata: SnapshotMetadata
    cluster_id: int
    group: int


class SnapshotFileWriter:
    """Writes one snapshot file; sections come one after the other, never mixed."""

    def __init__(self, file: File, prelude: Prelude, limits: StorageLimits) -> None:
        self._file = file
        self._limits = limits
        self._sections: list[str] = []
        self._frames = 0
        self._synced = 0
        block, self._chain = _encode_prelude(prelude)
        file.write_at(0, block)
        self._offset = len(block)

    def write(self, section: str, chunk: bytes) -> None:
        """Append a chunk to a section.

        :raises LocalProtocolError: where the section was left before, or a limit is passed
        """
        if section not in self._sections[-1:]:
            if section in self._sections or not 0 < len(section.encode()) <= SECTION_NAME_BYTES_MAX:
                raise LocalProtocolError(f"section {section!r} cannot begin here")
            self._sections.append(section)
        if len(chunk) > self._limits.chunk_bytes_max:
            raise LocalProtocolError(
                f"a chunk of {len(chunk)} bytes; at most {self._limits.chunk_bytes_max} are allowed"
            )
        self._frame(_Kind.CHUNK, section, chunk)
        self._frames += 1
        if self._offset - self._synced >= self._limits.sync_bytes:
            # One long fsync at the end would hold up the log's on the same disk.
            self._file.fdatasync()
            self._synced = self._offset

    def finish(self) -> None:
        """Write the end and make the contents durable."""
        self._frame(_Kind.END, "", _COUNT.pack(self._frames))
        self._file.fsync()

    def _frame(self, kind: _Kind, section: str, chunk: bytes) -> None:
        name = section.encode()
        body = _FRAME.pack(kind, len(name), len(chunk)) + name + chunk
        self._chain = _digest(body, self._chain)
        self._file.write_at(self._offset, body + self._chain)
        self._offset += len(body) + DIGEST_BYTES


class SnapshotFileReader:
    """Reads one snapshot file and checks every byte of it.

    :param path: for messages
    """

    def __init__(self, file: File, path: str, limits: StorageLimits) -> None:
        self._file = file
        self._path = path
        self._limits = limits
        self._size = file.size()
        self._frames = 0
        self.prelude, self._offset, self._chain = _read_prelude(file, path)

    def read(self) -> tuple[str, bytes] | None:
        """Return the next section and chunk, or None at the end.

        :raises Corrupt: where a byte is not what was written, or the file ends too early or late
        """
        head = self._file.read_at(self._offset, _FRAME.size)
        if len(head) < _FRAME.size:
            raise self._corrupt("it ends in the middle")
        kind, name_bytes, chunk_bytes = _FRAME.unpack(head)
        if chunk_bytes > self._limits.chunk_bytes_max:
            raise self._corrupt(f"a chunk of {chunk_bytes} bytes")
        rest = self._file.read_at(
            self._offset + _FRAME.size, name_bytes + chunk_bytes + DIGEST_BYTES
        )
        body, digest = head + rest[:-DIGEST_BYTES], rest[-DIGEST_BYTES:]
        if len(rest) < name_bytes + chunk_bytes + DIGEST_BYTES:
            raise self._corrupt("it ends in the middle")
        if _digest(body, self._chain) != digest:
            raise self._corrupt("a frame's checksum is wrong")
        self._chain = digest
        self._offset += len(body) + DIGEST_BYTES
        chunk = rest[name_bytes:-DIGEST_BYTES]
        if kind == _Kind.END:
            self._check_end(chunk)
            return None
        if kind != _Kind.CHUNK:
            raise self._corrupt(f"a frame of kind {kind} is unknown to this program")
        self._frames += 1
        return rest[:name_bytes].decode(errors="replace"), chunk

    def verify_slice(self, bytes_count: int) -> bool:
        """Check about so many bytes more; return whether the end is reached."""
        until = self._offset + bytes_count
        while self._offset < until:
            if self.read() is None:
                return True
        return False

    def _check_end(self, count: bytes) -> None:
        if count != _COUNT.pack(self._frames):
            raise self._corrupt("frames are missing")
        if self._offset != self._size:
            raise self._corrupt("there are bytes after its end")

    def _corrupt(self, what: str) -> Corrupt:
        return Corrupt(self._path, self._offset, f"the snapshot is damaged: {what}; {ADVICE}")


def _encode_prelude(prelude: Prelude) -> tuple[bytes, bytes]:
    metadata = encode_snapshot_metadata(prelude.metadata)
    body = (
        _PRELUDE.pack(_MAGIC, FORMAT, prelude.group, prelude.cluster_id.to_bytes(16), len(metadata))
        + metadata
    )
    digest = _digest(body, b"")
    return body + digest, digest


def _read_prelude(file: File, path: str) -> tuple[Prelude, int, bytes]:
    """Return the prelude, where the frames begin, and the digest that begins their chain."""
    head = file.read_at(0, _PRELUDE.size)
    damaged = f"the snapshot's first bytes are damaged; {ADVICE}"
    if len(head) < _PRELUDE.size:
        raise Corrupt(path, 0, damaged)
    magic, version, group, cluster, metadata_bytes = _PRELUDE.unpack(head)
    if magic != _MAGIC or metadata_bytes > _METADATA_BYTES_MAX:
        raise Corrupt(path, 0, damaged)
    rest = file.read_at(_PRELUDE.size, metadata_bytes + DIGEST_BYTES)
    metadata, digest = rest[:metadata_bytes], rest[metadata_bytes:]
    if _digest(head + metadata, b"") != digest:
        raise Corrupt(path, 0, damaged)
    if version != FORMAT:
        raise StorageError(
            f"{path} has format {version}, this program knows {FORMAT}: start the newer program"
        )
    try:
        prelude = Prelude(decode_snapshot_metadata(metadata), int.from_bytes(cluster), group)
    except RemoteProtocolError as error:
        raise Corrupt(path, _PRELUDE.size, f"{error}; {ADVICE}") from error
    return prelude, _PRELUDE.size + len(rest), digest


def _digest(body: bytes, chain: bytes) -> bytes:
    return blake2b(body, digest_size=DIGEST_BYTES, key=chain).digest()
