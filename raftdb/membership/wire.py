"""The JSON of ``POST /api/cluster/members``: both directions, typed, nothing guessed.

128-bit numbers travel as 32 hexadecimal digits: JSON readers elsewhere lose bits of large numbers.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from raftdb.errors import InvalidRequest, RemoteProtocolError
from raftdb.http.bodies import reason
from raftdb.membership.addresses import check_address, check_id
from raftdb.membership.directory import JoinAnswer, JoinRequest, KnownMember
from raftdb.raft.types import MemberID

_Hex128 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
_Version = Annotated[int, msgspec.Meta(ge=0, le=2**31)]


class _RequestBody(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    incarnation: _Hex128
    raft_address: str
    http_address: str
    cluster_id: _Hex128 | None = None
    protocol_versions: tuple[_Version, _Version] = (1, 1)
    feature_level: _Version = 1


class _MemberBody(msgspec.Struct):
    id: str
    incarnation: _Hex128
    raft_address: str
    http_address: str


class _AnswerBody(msgspec.Struct):
    cluster_id: _Hex128
    members: list[_MemberBody]


def hex128(number: int) -> str:
    """Write 128 bits as the 32 digits that logs, files and JSON show."""
    return f"{number:032x}"


def encode_join_request(request: JoinRequest) -> bytes:
    """Write what the joining node posts."""
    body = _RequestBody(
        id=request.member.id,
        incarnation=hex128(request.member.incarnation),
        raft_address=request.raft_address,
        http_address=request.http_address,
        cluster_id=None if request.cluster_id is None else hex128(request.cluster_id),
        protocol_versions=request.protocol_versions,
        feature_level=request.feature_level,
    )
    return msgspec.json.encode(body)


def decode_join_request(body: bytes) -> JoinRequest:
    """Read what a joining node posted.

    :raises InvalidRequest: naming the field that is wrong
    """
    try:
        parsed = msgspec.json.decode(body, type=_RequestBody)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"this is no join request: {reason(body, error)}") from error
    return JoinRequest(
        member=MemberID(check_id(parsed.id), int(parsed.incarnation, 16)),
        raft_address=check_address(parsed.raft_address),
        http_address=check_address(parsed.http_address),
        cluster_id=None if parsed.cluster_id is None else int(parsed.cluster_id, 16),
        protocol_versions=parsed.protocol_versions,
        feature_level=parsed.feature_level,
    )


def encode_join_answer(answer: JoinAnswer) -> bytes:
    """Write what the cluster answers."""
    members = [
        _MemberBody(
            id=known.member.id,
            incarnation=hex128(known.member.incarnation),
            raft_address=known.raft_address,
            http_address=known.http_address,
        )
        for known in answer.members
    ]
    return msgspec.json.encode(_AnswerBody(cluster_id=hex128(answer.cluster_id), members=members))


def decode_join_answer(body: bytes) -> JoinAnswer:
    """Read what a cluster answered.

    :raises RemoteProtocolError: where it is no such answer: perhaps no raftdb answered at all
    """
    try:
        parsed = msgspec.json.decode(body, type=_AnswerBody)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RemoteProtocolError(f"the answer to the join request is none: {error}") from error
    return JoinAnswer(
        cluster_id=int(parsed.cluster_id, 16),
        members=tuple(
            KnownMember(
                member=MemberID(member.id, int(member.incarnation, 16)),
                raft_address=member.raft_address,
                http_address=member.http_address,
            )
            for member in parsed.members
        ),
    )
