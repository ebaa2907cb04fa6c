"""The way of an operation to a node that answers it: redirects, other endpoints, pauses, the end.

Invariant: a write is sent again only after an answer, or the lack of a connection, that proves the
one before never happened.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from raftdb.client.exchange import UNDER_WAY_PER_NODE_MAX, Ask, Connections, Reply
from raftdb.client.outcomes import PASSES_BY_ITSELF, error_of
from raftdb.client.places import Places
from raftdb.errors import (
    InvalidRequest,
    NoLeader,
    OutcomeUnknown,
    RaftDBError,
    Refused,
    Unreachable,
)
from raftdb.outbound import http_origin

__all__ = ["Attempts"]

READ_ATTEMPT_S = 2.0
"""A read is asked elsewhere when a node takes longer than this."""
PAUSE_S = 0.01
"""After the first round over the nodes; an election after a crash takes a few of these."""
PAUSE_GROWTH = 1.5
PAUSE_MAX_S = 0.5
REDIRECTS_IN_A_ROW_MAX = 3
"""More of them mean that nodes disagree about the leader: wait for the election's end."""

_LOCATION = re.compile(r"(https?://[^/?#@\s]+)(?:[/?#].*)?")


class Attempts:
    """Brings operations to a cluster, and remembers who answered last.

    :param clock: for deadlines and pauses
    :param connections: to the nodes
    :param endpoints: where to try, in this order; at least one, as
        :func:`~raftdb.outbound.http_origins` writes them
    :param rng: draws how long pauses are
    """

    def __init__(
        self,
        clock: IReactorTime,
        connections: Connections,
        endpoints: Sequence[str],
        rng: Random,
    ) -> None:
        self.clock = clock
        self.connections = connections
        self.endpoints = tuple(endpoints)
        self.preferred = self.endpoints[0]
        self.places = Places(clock, UNDER_WAY_PER_NODE_MAX)
        self.rng = rng

    def start(self, ask: Ask, timeout_s: float, only: str | None = None) -> Deferred[Reply]:
        """Begin an operation; fires with an answer that is final.

        :param only: the one endpoint that may answer, or None for any
        :raises Refused: the time is up, and it surely did not happen
        :raises OutcomeUnknown: it may have happened
        """
        attempt = _Attempt(self, ask, timeout_s, only)

        def cancel(_: Deferred[Reply]) -> None:
            attempt.cancelled = True
            running.cancel()

        def finish(result: Reply | Failure) -> None:
            if not outer.called:
                outer.callback(result)

        outer: Deferred[Reply] = Deferred(cancel)
        running = Deferred.fromCoroutine(attempt.run())
        running.addBoth(finish)
        return outer


class _Attempt:
    """One operation under way: rounds over the nodes, with a pause after each.

    In one round no node is asked twice, so that a dead leader's address, named by each of the
    others, is dialled once.
    """

    def __init__(self, attempts: Attempts, ask: Ask, timeout_s: float, only: str | None) -> None:
        self.cancelled = False
        self._attempts = attempts
        self._clock = attempts.clock
        self._ask = ask
        self._is_bound = only is not None
        self._endpoints = attempts.endpoints if only is None else (only,)
        self._origin = attempts.preferred if only is None else only
        self._deadline = self._clock.seconds() + timeout_s
        self._asked: dict[str, None] = {}
        self._answered: str | None = None
        self._rounds = 0
        self._redirects = 0
        self._reasons: dict[str, RaftDBError] = {}

    async def run(self) -> Reply:
        """Ask until there is a final answer or no time."""
        while True:
            try:
                reply = await self._send()
                redirect = self._redirect(reply)
                if redirect is None:
                    return self._final(reply)
            except RaftDBError as error:
                if not (isinstance(error, Refused) or self._ask.is_read):
                    self._avoid()
                    raise
                await self._go_on(error)
            else:
                self._asked[self._origin] = None
                self._origin = redirect

    async def _send(self) -> Reply:
        """Ask one node, when it has a place for one more request.

        :raises Refused: nothing came of it
        :raises OutcomeUnknown: there is no answer
        """
        places, origin = self._attempts.places, self._origin
        left_s = self._deadline - self._clock.seconds()
        if left_s <= 0:
            raise self._last_word()
        await places.take(origin, left_s)
        try:
            return await self._send_now(origin)
        finally:
            places.give_back(origin)
            if self.cancelled:
                raise CancelledError

    async def _send_now(self, origin: str) -> Reply:
        left_s = self._deadline - self._clock.seconds()
        if left_s <= 0:
            raise self._last_word()
        if self._ask.is_read and len(self._endpoints) > 1:
            left_s = min(left_s, READ_ATTEMPT_S)
        try:
            reply = await self._attempts.connections.send(origin, self._ask, left_s)
        except Unreachable:
            if self._reasons and self._clock.seconds() >= self._deadline:
                # The time left was too short to connect: what came before says more.
                raise self._last_word() from None
            raise
        self._answered = origin
        return reply

    def _redirect(self, reply: Reply) -> str | None:
        """Return whom a redirect points to; None if it is no redirect.

        :raises NoLeader: it points nowhere, or to a node that was asked in this round already
        """
        if reply.status not in (307, 308):
            self._redirects = 0
            return None
        self._redirects += 1
        match = _LOCATION.fullmatch(reply.location)
        try:
            target = http_origin(match[1]) if match else ""
        except InvalidRequest:
            target = ""
        if not target or target in self._asked or self._redirects > REDIRECTS_IN_A_ROW_MAX:
            raise NoLeader(
                f"{reply.origin} redirects to {reply.location!r:.300}, which does not help"
            )
        return target

    def _final(self, reply: Reply) -> Reply:
        """Return an answer that asking again would not change.

        :raises Refused: what passes by itself
        :raises OutcomeUnknown: the answer says nothing about the operation
        """
        if reply.error in PASSES_BY_ITSELF:
            raise error_of(reply)
        if not reply.is_raftdb:
            raise OutcomeUnknown(f"{reply.origin} answered {reply.status}, but is no raftdb")
        if reply.status >= 300 and isinstance(error := error_of(reply), OutcomeUnknown):
            raise error
        if not self._is_bound:
            self._attempts.preferred = self._origin
        return reply

    async def _go_on(self, error: RaftDBError) -> None:
        """Turn to the next node, or wait for the next round where all were asked in this one.

        :raises RaftDBError: there is no time for another attempt
        """
        self._avoid()
        self._reasons.pop(self._origin, None)
        self._reasons[self._origin] = error
        self._asked[self._origin] = None
        self._redirects = 0
        left = [one for one in self._after(self._origin) if one not in self._asked]
        if left:
            self._origin = left[0]
            return
        await self._pause()
        self._origin = self._answered or self._after(self._origin)[0]
        self._asked.clear()
        self._answered = None

    async def _pause(self) -> None:
        longest_s = min(PAUSE_S * PAUSE_GROWTH ** min(self._rounds, 16), PAUSE_MAX_S)
        pause_s = longest_s * self._attempts.rng.uniform(0.5, 1)
        self._rounds += 1
        if self._clock.seconds() + pause_s >= self._deadline:
            raise self._last_word()
        await deferLater(self._clock, pause_s)
        if self.cancelled:
            raise CancelledError

    def _avoid(self) -> None:
        """Have the next operations begin elsewhere."""
        attempts = self._attempts
        if not self._is_bound and attempts.preferred == self._origin:
            attempts.preferred = self._after(self._origin)[0]

    def _after(self, origin: str) -> Sequence[str]:
        """Return the endpoints in order, from the one after ``origin`` on."""
        if origin not in self._endpoints:
            return self._endpoints
        place = self._endpoints.index(origin) + 1
        return self._endpoints[place:] + self._endpoints[:place]

    def _last_word(self) -> RaftDBError:
        """Return what is told when the time is up: the last answer, and why others gave none."""
        reasons = list(self._reasons.values())
        if not reasons:
            return Unreachable("there was no time to ask anybody")
        answers = [reason for reason in reasons if not isinstance(reason, Unreachable)]
        last = (answers or reasons)[-1]
        if len(reasons) == 1:
            return last
        others = [str(reason) for reason in reasons if reason is not last]
        return type(last)("; ".join([str(last), *others]))
