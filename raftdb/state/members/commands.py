"""The commands that change the table of members besides configuration changes, and their bytes.

Layout: kind (1 byte), then the fields as :mod:`raftdb.state.members.records` packs them. Who takes part
is changed by configuration changes alone; a command here never touches a quorum.
"""

from __future__ import annotations

from typing import TypeAlias, assert_never

import msgspec

from raftdb.errors import InvalidRequest, RemoteProtocolError
from raftdb.state.members.records import Member, WireMember, from_wire, pack, to_wire, unpack

NAME_BYTES_MAX = 255
ADDRESS_BYTES_MAX = 512

_BYTES: msgspec.msgpack.Decoder[bytes] = msgspec.msgpack.Decoder(bytes)
_TEXT: msgspec.msgpack.Decoder[str] = msgspec.msgpack.Decoder(str)
_NUMBER: msgspec.msgpack.Decoder[int] = msgspec.msgpack.Decoder(int)
_NAMES: msgspec.msgpack.Decoder[tuple[str, str, str]] = msgspec.msgpack.Decoder(
    tuple[str, str, str]
)
_MEMBER: msgspec.msgpack.Decoder[WireMember] = msgspec.msgpack.Decoder(WireMember)

_INIT_CLUSTER, _INVITE, _UNINVITE, _UPDATE_MEMBER, _SET_FEATURE_LEVEL = range(1, 6)


class InitCluster(msgspec.Struct, frozen=True):
    """Give the cluster its id, once: the first command of its first leader.

    :param cluster_id: 128 random bits, ``1 <= cluster_id < 2**128``
    """

    cluster_id: int

    def __post_init__(self) -> None:
        """Refuse what is no cluster id."""
        if not 1 <= self.cluster_id < 2**128:
            raise InvalidRequest("a cluster id has 128 bits and is not zero")


class Invite(msgspec.Struct, frozen=True):
    """Expect a member whose incarnation is not known yet (the seed's ``/join``)."""

    id: str
    raft_address: str
    http_address: str

    def __post_init__(self) -> None:
        """Refuse empty and endless names."""
        check_names(self.id, self.raft_address, self.http_address)


class Uninvite(msgspec.Struct, frozen=True):
    """Take an invitation back; harmless where there is none."""

    id: str


class UpdateMember(msgspec.Struct, frozen=True):
    """Record new addresses or versions of a present member, of this very incarnation."""

    member: Member

    def __post_init__(self) -> None:
        """Refuse empty and endless names."""
        check_names(self.member.id.id, self.member.raft_address, self.member.http_address)


class SetFeatureLevel(msgspec.Struct, frozen=True):
    """Allow what every member supports from ``level`` on; the level never falls [25]."""

    level: int


MembersCommand: TypeAlias = InitCluster | Invite | Uninvite | UpdateMember | SetFeatureLevel


def check_names(name: str, raft_address: str, http_address: str) -> None:
    """Refuse names and addresses that are empty or beyond their limit in UTF-8 bytes.

    :raises InvalidRequest: naming which
    """
    limits = (
        ("id", name, NAME_BYTES_MAX),
        ("raft address", raft_address, ADDRESS_BYTES_MAX),
        ("HTTP address", http_address, ADDRESS_BYTES_MAX),
    )
    for what, value, limit in limits:
        try:
            length = len(value.encode())
        except UnicodeEncodeError:
            length = 0
        if not 1 <= length <= limit:
            raise InvalidRequest(
                f"a member's {what} has 1 to {limit} bytes of UTF-8, not {value!r:.80}"
            )


def encode_members_command(command: MembersCommand) -> bytes:
    """Return the bytes that go into the log."""
    match command:
        case InitCluster(cluster_id=cluster_id):
            return _bytes(_INIT_CLUSTER, cluster_id.to_bytes(16, "big"))
        case Invite(id=name, raft_address=raft_address, http_address=http_address):
            return _bytes(_INVITE, (name, raft_address, http_address))
        case Uninvite(id=name):
            return _bytes(_UNINVITE, name)
        case UpdateMember(member=member):
            return _bytes(_UPDATE_MEMBER, to_wire(member))
        case SetFeatureLevel(level=level):
            return _bytes(_SET_FEATURE_LEVEL, level)
        case _:
            assert_never(command)


def _bytes(kind: int, fields: object) -> bytes:
    return bytes([kind]) + pack(fields)


def decode_members_command(data: bytes) -> MembersCommand:
    """Return the command behind ``data``.

    :raises RemoteProtocolError: where the bytes are of an unknown version or kind, or no command
    """
    fields = data[1:]
    try:
        match data[0] if data else 0:
            case 1:
                return InitCluster(int.from_bytes(unpack(fields, _BYTES), "big"))
            case 2:
                return Invite(*unpack(fields, _NAMES))
            case 3:
                return Uninvite(unpack(fields, _TEXT))
            case 4:
                return UpdateMember(from_wire(unpack(fields, _MEMBER)))
            case 5:
                return SetFeatureLevel(unpack(fields, _NUMBER))
            case kind:
                raise RemoteProtocolError(
                    f"a members command of kind {kind}; this raftdb knows 1 to 5"
                )
    except InvalidRequest as error:
        raise RemoteProtocolError(f"a members command breaks a limit: {error}") from error
