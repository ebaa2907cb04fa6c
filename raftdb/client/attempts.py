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

from raftdb.client.exchange import Ask, Connections, Reply
from raftdb.client.outcomes import PASSES_BY_ITSELF, error_of
from raftdb.errors import (
    InvalidRequest,
    NoLeader,
    OutcomeUnknown,
    RaftDBError,
    Refused,
    Unreachable,
)

__all__ = ["Attempts"]

READ_ATTEMPT_S = 2.0
"""A read is asked elsewhere when a node takes longer than this."""
PAUSE_S = 0.05
PAUSE_MAX_S = 0.5
REDIRECTS_IN_A_ROW_MAX = 3
"""More of them mean that nodes disagree about the leader: wait for the election's end."""

_ORIGIN = re.compile(r"(?:https?://)?[^/?#@\s]+/?")
_LOCATION = re.compile(r"(https?://[^/?#@\s]+)(?:[/?#].*)?")


class Attempts:
    """Brings operations to a cluster, and remembers who answered last.

    :param clock: for deadlines and pauses
    :param connections: to the nodes
    :param endpoints: where to try, in this order
    :param rng: draws how long pauses are
    """

    def __init__(
        self,
        clock: IReactorTime,
        connections: Connections,
        endpoints: Sequence[str],
        rng: Random,
    ) -> None:
        if not endpoints:
            raise InvalidRequest("a client needs at least one endpoint, such as localhost:8091")
        self._clock = clock
        self._connections = connections
        self._endpoints = tuple(_origin(endpoint) for endpoint in endpoints)
        self._preferred = self._endpoints[0]
        self._rng = rng

    def start(self, ask: Ask, timeout_s: float, only: str | None = None) -> Deferred[Reply]:
        """Begin an operation; fires with an answer that is final.

        :param only: the one endpoint that may answer, or None for any
        :raises Refused: the time is up, and it surely did not happen
        :raises OutcomeUnknown: it may have happened
        """
        attempt = _Attempt(
            self._clock,
            self._connections,
            (_origin(only),) if only is not None else self._endpoints,
            ask,
            timeout_s,
            self._rng,
        )
        origin = _origin(only) if only is not None else self._preferred

        def cancel(_: Deferred[Reply]) -> None:
            attempt.cancelled = True
            running.cancel()

        def finish(result: Reply | Failure) -> None:
            if only is None:
                self._preferred = attempt.hint
            if not outer.called:
                outer.callback(result)

        outer: Deferred[Reply] = Deferred(cancel)
        running = Deferred.fromCoroutine(attempt.run(origin))
        running.addBoth(finish)
        return outer


class _Attempt:
    """One operation under way.

    ``hint`` is where the next operation should begin: whoever answered this one, or the node after
    the one that did not.
    """

    def __init__(
        self,
        clock: IReactorTime,
        connections: Connections,
        endpoints: tuple[str, ...],
        ask: Ask,
        timeout_s: float,
        rng: Random,
    ) -> None:
        self._rng = rng
        self.cancelled = False
        self.hint = endpoints[0]
        self._clock = clock
        self._connections = connections
        self._endpoints = endpoints
        self._ask = ask
        self._timeout_s = timeout_s
        self._deadline = clock.seconds() + timeout_s
        self._failures = 0
        self._redirects = 0
        self._reason: RaftDBError = Unreachable("there was no time to ask anybody")

    async def run(self, origin: str) -> Reply:
        """Ask until there is a final answer or no time."""
        while True:
            self.hint = origin
            try:
                reply = await self._send(origin)
                redirect = self._redirect(reply)
                if redirect is None:
                    return self._final(reply)
            except RaftDBError as error:
                self.hint = self._next(origin)
                if not (isinstance(error, Refused) or self._ask.is_read):
                    raise
                await self._pause(error)
                origin = self.hint
            else:
                origin = redirect

    async def _send(self, origin: str) -> Reply:
        left_s = self._deadline - self._clock.seconds()
        if self._ask.is_read and len(self._endpoints) > 1:
            left_s = min(left_s, READ_ATTEMPT_S)
        if left_s <= 0:
            raise self._reason
        try:
            return await self._connections.send(origin, self._ask, left_s)
        except Unreachable:
            if self._failures and self._clock.seconds() >= self._deadline:
                # The time left was too short to connect: what came before says more.
                raise self._reason from None
            raise
        finally:
            if self.cancelled:
                raise CancelledError

    def _redirect(self, reply: Reply) -> str | None:
        """Return whom a redirect points to; None if it is no redirect."""
        if reply.status not in (307, 308):
            self._redirects = 0
            return None
        match = _LOCATION.fullmatch(reply.location)
        self._redirects += 1
        if match is None or self._redirects > REDIRECTS_IN_A_ROW_MAX:
            self._redirects = 0
            raise NoLeader(
                f"{reply.origin} redirects to {reply.location!r:.300}, which does not help"
            )
        return match[1]

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
        return reply

    async def _pause(self, error: RaftDBError) -> None:
        """Wait before the next round over the endpoints; within a round there is no pause.

        :raises RaftDBError: ``error``, if there is no time for another attempt
        """
        self._reason = error
        self._failures += 1
        rounds, place = divmod(self._failures, len(self._endpoints))
        pause_s = (
            0.0
            if place
            else min(PAUSE_S * 2 ** min(rounds, 8), PAUSE_MAX_S) * self._rng.uniform(0.5, 1)
        )
        if self._clock.seconds() + pause_s >= self._deadline:
            raise error
        if pause_s:
            await deferLater(self._clock, pause_s)
        if self.cancelled:
            raise CancelledError

    def _next(self, origin: str) -> str:
        """Return the endpoint after ``origin``; the first after one that only a redirect named."""
        if origin not in self._endpoints:
            return self._endpoints[0]
        return self._endpoints[(self._endpoints.index(origin) + 1) % len(self._endpoints)]


def _origin(endpoint: str) -> str:
    """Return an endpoint as ``scheme://host:port``.

    :raises InvalidRequest: if it is none
    """
    if not _ORIGIN.fullmatch(endpoint):
        raise InvalidRequest(f"{endpoint!r} is no endpoint; one is HOST:PORT or http://HOST:PORT")
    scheme = "" if endpoint.startswith(("http://", "https://")) else "http://"
    return scheme + endpoint.rstrip("/")
