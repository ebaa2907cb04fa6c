"""Who a data directory belongs to: a small file, written last and in one step.

A directory without it is empty, whatever else is in it: a start that was interrupted. The
incarnation in it is made together with the directory and never again, so that a wiped disk comes
back as a new member and never as the old one, whose votes it has forgotten [R1].
"""

from __future__ import annotations

import os
from hashlib import blake2b

import msgspec

from raftdb.disk.files import FileSystem
from raftdb.errors import Corrupt, StorageError
from raftdb.raft.types import MemberID
from raftdb.storage.segment import ADVICE, Owner

FORMAT = 1
IDENTITY_NAME = "identity"
PART_NAME = "identity.part"
_BYTES_MAX = 64 * 1024
_BEGINNING = b'{\n  "format": '


class Identity(msgspec.Struct, frozen=True):
    """Who this is, and in which cluster.

    :param id: the name given by ``--id``
    :param incarnation: of the data directory, ``0 <= incarnation < 2**128``
    :param cluster_id: ``0 <= cluster_id < 2**128``
    :param group: always 0 today
    """

    id: str
    incarnation: int
    cluster_id: int
    group: int = 0

    @property
    def member(self) -> MemberID:
        """The name in the membership."""
        return MemberID(self.id, self.incarnation)

    @property
    def owner(self) -> Owner:
        """What stands in the other files."""
        return Owner(self.member, self.cluster_id, self.group)


class _Body(msgspec.Struct, forbid_unknown_fields=True):
    """The file's JSON; ids are 32 hexadecimal digits."""

    format: int
    id: str
    incarnation: str
    cluster_id: str
    group: int
    checksum: str


def read_identity(files: FileSystem, directory: str) -> Identity | None:
    """Return whose directory this is, or None for an empty one.

    :raises Corrupt: where the file is not what was written
    :raises StorageError: where another version wrote it
    """
    if IDENTITY_NAME not in files.list(directory):
        return None
    path = os.path.join(directory, IDENTITY_NAME)
    file = files.open(path)
    try:
        content = file.read_at(0, _BYTES_MAX)
    finally:
        file.close()
    try:
        body = msgspec.json.decode(content, type=_Body)
        identity = Identity(
            body.id, int(body.incarnation, 16), int(body.cluster_id, 16), body.group
        )
    except (msgspec.DecodeError, ValueError) as error:
        raise Corrupt(path, 0, f"the identity is unreadable ({error}); {ADVICE}") from error
    if body.format != FORMAT:
        raise StorageError(
            f"{path} has format {body.format}, this program knows {FORMAT}: start the newer program"
        )
    if body != _body(identity):
        raise Corrupt(path, 0, f"the identity's checksum is wrong; {ADVICE}")
    return identity


def is_part(content: bytes) -> bool:
    """Tell whether this may be what was written of an identity when the process died."""
    head = content.rstrip(b"\0")[: len(_BEGINNING)]
    return _BEGINNING.startswith(head)


def write_identity(files: FileSystem, directory: str, identity: Identity) -> None:
    """Make a directory this member's, durably and in one step."""
    part = os.path.join(directory, PART_NAME)
    if PART_NAME in files.list(directory):
        files.unlink(part)
    file = files.open(part, create=True)
    try:
        file.write_at(0, _encode(identity))
        file.fsync()
    finally:
        file.close()
    files.rename(part, os.path.join(directory, IDENTITY_NAME))
    files.fsync_dir(directory)


def _encode(identity: Identity) -> bytes:
    return msgspec.json.format(msgspec.json.encode(_body(identity)), indent=2) + b"\n"


def _body(identity: Identity) -> _Body:
    incarnation, cluster_id = f"{identity.incarnation:032x}", f"{identity.cluster_id:032x}"
    checked = f"{FORMAT}\n{identity.id}\n{incarnation}\n{cluster_id}\n{identity.group}\n"
    return _Body(
        format=FORMAT,
        id=identity.id,
        incarnation=incarnation,
        cluster_id=cluster_id,
        group=identity.group,
        checksum=blake2b(checked.encode(), digest_size=16).hexdigest(),
    )
