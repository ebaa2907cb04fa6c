"""Who says Hello, and what can be judged about it without knowing anybody else; pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from raftdb.codec import MEMBER_ID_BYTES_MAX
from raftdb.errors import InvalidRequest, RemoteProtocolError
from raftdb.raft.types import MemberID

PROTOCOL_MIN: Final = 1
PROTOCOL_MAX: Final = 1
"""The range of wire protocols spoken here; the highest common one is used [R25]."""


class Kind(Enum):
    """What a connection is for, so that a big batch never delays a heartbeat."""

    CONTROL = "control"
    BULK = "bulk"

    __hash__ = object.__hash__  # each is one object; Enum's own is a call, for every message sent


class Refusal(Enum):
    """Why a Hello, or the answer to one, is not accepted."""

    WRONG_CLUSTER = "wrong-cluster"
    NO_COMMON_VERSION = "no-common-version"
    REMOVED = "removed"
    DUPLICATE = "duplicate"
    SELF = "self"
    WRONG_MEMBER = "wrong-member"
    WRONG_CERTIFICATE = "wrong-certificate"
    STOPPING = "stopping"


REASONS: Final = {
    Refusal.WRONG_CLUSTER: "this node is not in that cluster",
    Refusal.NO_COMMON_VERSION: f"this node speaks protocols {PROTOCOL_MIN} to {PROTOCOL_MAX}",
    Refusal.REMOVED: "this member was removed from the cluster; it cannot come back, wipe its"
    " data directory and join anew",
    Refusal.DUPLICATE: "another process with the same identity is alive: a data directory was"
    " copied; stop one of them",
    Refusal.SELF: "a node dials itself: its peer address is advertised by another member",
    Refusal.WRONG_MEMBER: "somebody else answers at this address",
    Refusal.WRONG_CERTIFICATE: "the certificate is not for the host of the peer address: nobody"
    " could dial this node; give it a certificate for that host, or correct --raddr",
    Refusal.STOPPING: "this node is stopping",
}
"""What people read about a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalMember:
    """Who we are, as Hello tells it.

    :param member: id and incarnation
    :param boot: nonce of this process start, ``0 <= boot < 2**64``
    :param cluster_id: ``1 <= cluster_id < 2**128``, or None before this node is in a cluster: then
        it hears Hellos, reports and refuses them
    :param raft_address: advertised to peers
    :param http_address: advertised to clients
    :param feature_level: the highest this program supports [R25]
    """

    member: MemberID
    boot: int
    cluster_id: int | None
    raft_address: str
    http_address: str
    feature_level: int = 1

    def __post_init__(self) -> None:
        """Refuse what would not fit into the box of a stranger."""
        for name, text in (
            ("id", self.member.id),
            ("raft_address", self.raft_address),
            ("http_address", self.http_address),
        ):
            if len(text.encode()) > MEMBER_ID_BYTES_MAX:
                raise InvalidRequest(f"{name} is longer than {MEMBER_ID_BYTES_MAX} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class HelloFacts:
    """What the other side said about itself.

    :param member: who it says it is
    :param boot: nonce of its process start
    :param cluster_id: the cluster it belongs to
    :param raft_address: where peers find it
    :param http_address: where clients find it
    :param feature_level: the highest it supports
    :param protocols: the range it speaks, both ends included
    :param kind: what the connection is for
    :param dialled: whether we dialled it, so that this is its answer
    :param expected: whom it believes to have dialled; its own answer has none. An id that is ours
        with another incarnation comes from somebody who knew this node before its disk was wiped
    """

    member: MemberID
    boot: int
    cluster_id: int
    raft_address: str
    http_address: str
    feature_level: int
    protocols: tuple[int, int]
    kind: Kind
    dialled: bool
    expected: MemberID | None = None


class HelloRefused(RemoteProtocolError):
    """The other side refused our Hello, or we refuse its answer.

    :param refusal: why, or None for a reason nobody here knows
    :param reason: the same for people
    :param remote: whether it was the other side that refused
    """

    def __init__(self, refusal: Refusal | None, reason: str, *, remote: bool = False) -> None:
        super().__init__(reason)
        self.refusal = refusal
        self.remote = remote


def hello_arguments(local: LocalMember, kind: Kind, expected: MemberID) -> dict[str, object]:
    """Return the arguments of our Hello to ``expected``."""
    return {
        **_identity(local),
        "protocol_min": PROTOCOL_MIN,
        "protocol_max": PROTOCOL_MAX,
        "kind": kind.value,
        "expected_id": expected.id,
        "expected_incarnation": expected.incarnation,
    }


def accepting(local: LocalMember, facts: HelloFacts) -> dict[str, object]:
    """Return the answer that accepts a Hello, with the highest common protocol."""
    return {**_identity(local), "protocol": min(PROTOCOL_MAX, facts.protocols[1])}


def refusing(refusal: Refusal) -> dict[str, object]:
    """Return the answer that refuses a Hello; it tells a stranger nothing about us."""
    return {"refused": refusal.value, "reason": REASONS[refusal]}


def read_hello(arguments: Mapping[str, object]) -> HelloFacts:
    """Return the facts in a Hello.

    :raises RemoteProtocolError: where they contradict each other
    """
    try:
        kind = Kind(arguments["kind"])
    except ValueError:
        raise RemoteProtocolError(f"unknown kind of connection {arguments['kind']!r}") from None
    protocols = (_number(arguments, "protocol_min"), _number(arguments, "protocol_max"))
    if protocols[0] > protocols[1]:
        raise RemoteProtocolError(f"protocols from {protocols[0]} to {protocols[1]}")
    expected = _member(arguments, "expected_id", "expected_incarnation")
    return _facts(arguments, protocols=protocols, kind=kind, dialled=False, expected=expected)


def read_answer(arguments: Mapping[str, object], kind: Kind) -> HelloFacts:
    """Return the facts in the answer to our Hello.

    :raises HelloRefused: where the answer refuses us
    :raises RemoteProtocolError: where it is incomplete
    """
    refused = arguments.get("refused")
    if refused is not None:
        known = {refusal.value: refusal for refusal in Refusal}
        reason = str(arguments.get("reason") or refused)
        raise HelloRefused(known.get(str(refused)), reason, remote=True)
    protocol = _number(arguments, "protocol")
    if not PROTOCOL_MIN <= protocol <= PROTOCOL_MAX:
        raise RemoteProtocolError(f"the answer chose protocol {protocol}")
    return _facts(arguments, protocols=(protocol, protocol), kind=kind, dialled=True, expected=None)


def judge(local: LocalMember, facts: HelloFacts) -> Refusal | None:
    """Say why a Hello or an answer cannot be accepted, as far as ``local`` alone can tell."""
    if local.cluster_id is None or facts.cluster_id != local.cluster_id:
        return Refusal.WRONG_CLUSTER
    if facts.protocols[0] > PROTOCOL_MAX or facts.protocols[1] < PROTOCOL_MIN:
        return Refusal.NO_COMMON_VERSION
    if facts.member == local.member:
        return Refusal.SELF if facts.boot == local.boot else Refusal.DUPLICATE
    return None


def _identity(local: LocalMember) -> dict[str, object]:
    assert local.cluster_id is not None, "a node without a cluster says no Hello"
    return {
        "cluster": local.cluster_id,
        "id": local.member.id,
        "incarnation": local.member.incarnation,
        "boot": local.boot,
        "raft_address": local.raft_address,
        "http_address": local.http_address,
        "feature_level": local.feature_level,
    }


def _facts(
    arguments: Mapping[str, object],
    *,
    protocols: tuple[int, int],
    kind: Kind,
    dialled: bool,
    expected: MemberID | None,
) -> HelloFacts:
    return HelloFacts(
        member=_member(arguments, "id", "incarnation"),
        boot=_number(arguments, "boot"),
        cluster_id=_number(arguments, "cluster"),
        raft_address=_text(arguments, "raft_address"),
        http_address=_text(arguments, "http_address"),
        feature_level=_number(arguments, "feature_level"),
        protocols=protocols,
        kind=kind,
        dialled=dialled,
        expected=expected,
    )


def _member(arguments: Mapping[str, object], id_name: str, incarnation_name: str) -> MemberID:
    member_id = _text(arguments, id_name)
    if not 1 <= len(member_id.encode()) <= MEMBER_ID_BYTES_MAX:
        raise RemoteProtocolError(f"{id_name} is not 1 to {MEMBER_ID_BYTES_MAX} bytes long")
    return MemberID(member_id, _number(arguments, incarnation_name))


def _number(arguments: Mapping[str, object], name: str) -> int:
    value = arguments.get(name)
    if not isinstance(value, int):
        raise RemoteProtocolError(f"{name} is missing")
    return value


def _text(arguments: Mapping[str, object], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str):
        raise RemoteProtocolError(f"{name} is missing")
    return value
