"""The commands that change the table of members besides configuration changes, and their bytes.

The bytes are MessagePack arrays, the kind's number first (:mod:`raftdb.state.wire`); numbers of 128
bits are 16 bytes there. A configuration change alone changes the members of a quorum; a command here
never touches one.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from raftdb.errors import InvalidRequest, RemoteProtocolError
from raftdb.state.members.records import Member, WireMember, from_wire, to_wire
from raftdb.state.wire import Codec

NAME_BYTES_MAX = 255
ADDRESS_BYTES_MAX = 512


class InitCluster(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, array_like=True, tag=1
):
    """Give the cluster its id, once: the first command of its first leader.

    :param cluster: the id as 16 bytes, not all zero
    """

    cluster: bytes

    def __post_init__(self) -> None:
        """Refuse what is no cluster id."""
        if len(self.cluster) != 16 or not self.cluster_id:
            raise InvalidRequest("a cluster id has 128 bits and is not zero")

    @classmethod
    def of(cls, cluster_id: int) -> InitCluster:
        """Return the command for ``1 <= cluster_id < 2**128``.

        :raises InvalidRequest: for any other number
        """
        if not 1 <= cluster_id < 2**128:
            raise InvalidRequest("a cluster id has 128 bits and is not zero")
        return cls(cluster_id.to_bytes(16, "big"))

    @property
    def cluster_id(self) -> int:
        """The id as a number."""
        return int.from_bytes(self.cluster, "big")


class Invite(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, array_like=True, tag=2
):
    """Expect a member whose incarnation is not known yet (the seed's ``/join``)."""

    id: str
    raft_address: str
    http_address: str

    def __post_init__(self) -> None:
        """Refuse empty and endless names."""
        check_names(self.id, self.raft_address, self.http_address)


class Uninvite(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, array_like=True, tag=3
):
    """Take an invitation back; harmless where there is none."""

    id: str


class UpdateMember(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, array_like=True, tag=4
):
    """Record new addresses or versions of a present member, of this very incarnation.

    :param wire: the member in the shape it has in bytes
    """

    wire: WireMember

    def __post_init__(self) -> None:
        """Refuse empty and endless names."""
        try:
            member = self.member
        except RemoteProtocolError as error:
            raise InvalidRequest(str(error)) from error
        check_names(member.id.id, member.raft_address, member.http_address)

    @classmethod
    def of(cls, member: Member) -> UpdateMember:
        """Return the command that records ``member``."""
        return cls(to_wire(member))

    @property
    def member(self) -> Member:
        """The member as it is to be recorded."""
        return from_wire(self.wire)


class SetFeatureLevel(
    msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, array_like=True, tag=5
):
    """Allow what every member supports from ``level`` on; the level never falls [R25]."""

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


COMMANDS: Codec[MembersCommand] = Codec(MembersCommand, "a members command")
"""Their bytes."""
