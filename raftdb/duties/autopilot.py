"""What happens to the members unasked: promotion, new addresses, feature levels, the farewell.

Every node has a caretaker; all but the leader's only look on, and pass on what they saw. It does
one thing at a time, and what is refused now it tries again at a later check.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from raftdb.errors import RaftDBError
from raftdb.membership.changes import Membership
from raftdb.membership.decisions import next_feature_level, next_promotion
from raftdb.membership.directory import Directory, JoinRequest
from raftdb.membership.proposer import Proposer
from raftdb.membership.reported_addresses import ReportedAddress, ReportedAddresses
from raftdb.membership.seams import Table
from raftdb.raft.ready import Status
from raftdb.raft.types import Role
from raftdb.state.members import Member, SetFeatureLevel, UpdateMember

FAREWELL_S = 5.0
"""For so long a node stays that finds itself removed, unless a member tells it to go.

1. A, B, C and D; A leads and removes D, which hears that this is committed, and ends. 2. A's machine
dies before B and C have heard it. 3. B and C need D's vote, or its word that they do not need it.
"""

ANNOUNCE_S = 1.0
"""Between two attempts of a follower to tell the leader of a new address."""


class Autopilot:
    """Checks the members once per ``check_s``.

    :param clock: for the checks
    :param agreement: what is known, and the way to change it
    :param membership: takes invited members in
    :param directory: through which a follower tells the leader what it saw
    :param on_removed: is called once, when this node finds itself removed
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        agreement: Proposer,
        membership: Membership,
        directory: Directory,
        *,
        on_removed: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._proposer = agreement
        self._membership = membership
        self._directory = directory
        self._on_removed = on_removed
        self._reported_addresses = ReportedAddresses(agreement.own)
        self._call: IDelayedCall | None = None
        self._busy = False
        self._commit_before: int | None = None
        self._announced_s = float("-inf")
        self._leaves_s: float | None = None

    def start(self) -> None:
        """Begin to check."""
        self._call = self._clock.callLater(self._proposer.options.check_s, self._check)

    def stop(self) -> None:
        """Check no more; what is proposed already may still happen."""
        if self._call is not None and self._call.active():
            self._call.cancel()
        self._call = None

    def seen(self, sighting: ReportedAddress) -> None:
        """Take note of where a node says it lives; believed only if the cluster knows it."""
        self._reported_addresses.note(self._proposer.table, sighting)

    def _check(self) -> None:
        status = self._proposer.sample()
        table = self._proposer.table
        if table.is_removed(self._proposer.own.id):
            self._take_leave(status)
            return
        self.start()
        if self._busy:
            return
        work = self._next(table, status)
        if work is not None:
            self._busy = True
            work.addErrback(self._not_now).addBoth(self._done)

    def _take_leave(self, status: Status) -> None:
        """End the node, but not before its removal can do without it.

        A leader goes on until the others can; it steps down by itself then. To end it here would
        leave two members, of which one leads and is removed, with one that needs both.
        """
        now_s = self._clock.seconds()
        if self._leaves_s is None or status.role is Role.LEADER:
            self._leaves_s = now_s + FAREWELL_S
        if now_s < self._leaves_s:
            self.start()
        else:
            self._on_removed()

    def _next(self, table: Table, status: Status) -> Deferred[object] | None:
        """Set the next thing to do going, None where there is nothing to do."""
        news = self._reported_addresses.news(table)
        if status.role is not Role.LEADER:
            self._commit_before = None
            return None if news is None else self._announce(table, news, status)
        commit_before, self._commit_before = self._commit_before, status.hard_state.commit
        if news is not None:
            return self._record(table, news)
        if commit_before is not None:
            change = next_promotion(
                table.conf_state,
                status,
                commit_before=commit_before,
                answers=self._proposer.answers,
            )
            if change is not None:
                self._log.info(
                    "{member} has caught up and becomes a voter", member=change.changes[0].member
                )
                return self._proposer.change(change)
        level = next_feature_level(table)
        return None if level is None else self._proposer.command(SetFeatureLevel(level))

    def _record(self, table: Table, record: Member) -> Deferred[object]:
        """As the leader: make the table say what was seen."""
        self._reported_addresses.forget(
            record.id
        )  # what fails now is seen again, or asked for again
        if table.get(record.id) is None:
            return Deferred.fromCoroutine(self._take_in(record, table))
        self._log.info(
            "{member} lives at {raft} {http} now",
            member=record.id,
            raft=record.raft_address,
            http=record.http_address,
        )
        return self._proposer.command(UpdateMember.of(record))

    async def _take_in(self, record: Member, table: Table) -> object:
        return await self._membership.add(_request(record, table))

    def _announce(self, table: Table, record: Member, status: Status) -> Deferred[object] | None:
        """As a follower: tell the leader what was seen, should it not see it itself."""
        leader = None if status.leader is None else table.get(status.leader)
        now_s = self._clock.seconds()
        if leader is None or now_s < self._announced_s + ANNOUNCE_S:
            return None
        self._announced_s = now_s
        asked: Deferred[object] = Deferred()
        self._directory.join(leader.http_address, _request(record, table)).addBoth(asked.callback)
        return asked

    def _not_now(self, failure: Failure) -> None:
        failure.trap(RaftDBError)
        self._log.debug("membership waits: {error}", error=failure.getErrorMessage())

    def _done(self, result: object) -> None:
        self._busy = False
        if isinstance(result, Failure):
            self._log.failure("a check of the members failed", failure=result)


def _request(record: Member, table: Table) -> JoinRequest:
    return JoinRequest(
        member=record.id,
        raft_address=record.raft_address,
        http_address=record.http_address,
        cluster_id=table.cluster_id,
        protocol_versions=(record.protocol_min, record.protocol_max),
        feature_level=record.feature_max,
    )
