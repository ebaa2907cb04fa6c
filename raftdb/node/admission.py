"""How an empty directory becomes a member's: by founding a cluster, or by being taken into one.

A directory that is somebody's already is only checked. The identity is written last, in one step;
whatever ends the process before leaves the directory empty, and the next start begins anew.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from raftdb.errors import InvalidRequest, JoinRefused
from raftdb.membership import (
    Directory,
    Joiner,
    JoinRequest,
    KnownMember,
    claimed,
    founding_batch,
    hex128,
)
from raftdb.membership.founding import LISTEN_S
from raftdb.node.settings import Settings
from raftdb.peer.handshake import PROTOCOL_MAX, PROTOCOL_MIN, HelloFacts
from raftdb.raft.types import MemberID
from raftdb.state import encode_entry
from raftdb.state.members import Member, MembersCommand
from raftdb.storage import DataDirectory, Identity

LOOK_S = 0.05
"""Between two looks whether a cluster has claimed the node."""

FEATURE_LEVEL_MAX = 1
"""The highest feature level that this version supports [R25]."""


def envelope(command: MembersCommand) -> bytes:
    """Make a command of the member table an entry's data, stamped with the time."""
    wall_ms = int(time.time() * 1000)
    return encode_entry(command, wall_ms=wall_ms)


def own_record(settings: Settings, member: MemberID) -> Member:
    """Return how this node should stand in the member table."""
    return Member(
        member,
        settings.raft_address,
        settings.http_address,
        PROTOCOL_MIN,
        PROTOCOL_MAX,
        FEATURE_LEVEL_MAX,
    )


def join_request(record: Member, cluster_id: int | None) -> JoinRequest:
    """Return what a node asks for that stands in the table as ``record``, or wants to."""
    return JoinRequest(
        member=record.id,
        raft_address=record.raft_address,
        http_address=record.http_address,
        cluster_id=cluster_id,
        protocol_versions=(record.protocol_min, record.protocol_max),
        feature_level=record.feature_max,
    )


def check_name(settings: Settings, data: DataDirectory) -> str:
    """Return the node's id, by the settings or by the directory, which must not disagree.

    :raises InvalidRequest: where they do, or neither says it
    """
    if data.identity is None:
        if settings.id is None:
            raise InvalidRequest(
                f"--id is needed: {data.path} is empty and does not say who this is"
            )
        return settings.id
    if settings.id not in {None, data.identity.id}:
        raise InvalidRequest(
            f"{data.path} belongs to {data.identity.id}, not to {settings.id}: correct --id or the"
            " directory; a node is renamed by removing it and joining under the new name"
        )
    return data.identity.id


class Admission:
    """Gives an empty directory its identity.

    :param clock: for the pauses
    :param settings: name, addresses, whom to join
    :param directory: whom to ask
    :param random_id: makes 128 random bits
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        settings: Settings,
        directory: Directory,
        random_id: Callable[[], int] = lambda: secrets.randbits(128) or 1,
    ) -> None:
        self._clock = clock
        self._settings = settings
        self._directory = directory
        self._random_id = random_id
        self._claim: JoinRefused | None = None
        self._joiner: Joiner | None = None

    def heard(self, facts: HelloFacts) -> None:
        """Take note of a Hello that came while this node has no cluster: somebody may know it."""
        known = facts.expected
        if known is not None and known.id == self._settings.id:
            self._claim = claimed(name=known.id, peer=facts.member, cluster_id=facts.cluster_id)

    def stop(self) -> None:
        """Ask no more."""
        if self._joiner is not None:
            self._joiner.stop()

    async def join(self, data: DataDirectory, member: MemberID) -> tuple[KnownMember, ...]:
        """Be taken in by the cluster that ``--join`` names; return its members.

        :raises JoinRefused: it refused for good
        :raises OutcomeUnknown: nobody took the node in within the time
        """
        settings = self._settings
        self._log.info(
            "joining as {member} through {join}", member=member, join=", ".join(settings.join)
        )
        self._joiner = Joiner(
            self._clock,
            self._directory,
            addresses=settings.join,
            own_address=settings.http_address,
            timeout_s=settings.join_timeout_s,
        )
        known = data.identity.cluster_id if data.identity is not None else None
        answer = await self._joiner.join(join_request(own_record(settings, member), known))
        if data.identity is None:
            identity = Identity(member.id, member.incarnation, answer.cluster_id)
            data.create(identity, limits=settings.storage_limits)
        self._log.info("joined: cluster={cluster}", cluster=hex128(answer.cluster_id))
        return answer.members

    async def found(self, data: DataDirectory, member: MemberID) -> None:
        """Found a cluster of one, unless a cluster claims this node meanwhile [R15].

        :raises JoinRefused: one did
        """
        self._log.info(
            "no --join and no data: listening {seconds} s for a cluster that knows {name}",
            seconds=LISTEN_S,
            name=member.id,
        )
        await self._quiet(LISTEN_S)
        cluster_id = self._random_id()
        batch = founding_batch(own_record(self._settings, member), cluster_id, envelope)
        data.create(
            Identity(member.id, member.incarnation, cluster_id),
            hard_state=batch.hard_state,
            entries=batch.entries,
            limits=self._settings.storage_limits,
        )
        self._log.info(
            "bootstrap: {member} founded cluster={cluster}",
            member=member,
            cluster=hex128(cluster_id),
        )

    async def _quiet(self, seconds: float) -> None:
        """Wait, and raise as soon as a cluster claims this node."""
        ends_s = self._clock.seconds() + seconds
        while self._clock.seconds() < ends_s:
            if self._claim is not None:
                raise self._claim
            await deferLater(self._clock, LOOK_S)
