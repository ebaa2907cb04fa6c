"""Keeps one connection of one kind to one member: dials, says Hello, and dials again.

A loop of its own rather than Twisted's ``ClientService``: that one raises ``NoTransition`` into the
reactor whenever a connection ends while ``prepareConnection`` waits, which is what every refused
Hello does, and it logs each attempt.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IProtocol, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from raftdb.peer.handshake import Kind
from raftdb.peer.limits import PeerLimits
from raftdb.peer.protocol import PeerConnection
from raftdb.raft.types import MemberID

REDIALS_THAT_TELL = 2
"""A process that dies closes one socket after the other: its port may still take the first redial,
and end it at once; the second one is refused."""


class _Dialled(Factory):
    """Builds the connections of one dialer."""

    noisy = False

    def __init__(self, build: Callable[[], PeerConnection]) -> None:
        self._build = build

    def buildProtocol(self, addr: object) -> PeerConnection:
        """Return a connection for one attempt."""
        del addr
        return self._build()


class Dialer:
    """One connection that is kept up.

    :param clock: for all waiting
    :param limits: times and caps
    :param rng: for the jitter
    :param endpoint: where the member is believed to be
    :param build: makes a connection for each attempt
    :param member: who is expected there
    :param kind: what the connection is for
    :param failed: told why an attempt failed
    :param lost: told, after an open connection has ended and was dialled again, whether a
        redial was refused: the evidence for fast failover [R10]
    """

    def __init__(
        self,
        clock: IReactorTime,
        limits: PeerLimits,
        rng: Random,
        *,
        endpoint: IStreamClientEndpoint,
        build: Callable[[], PeerConnection],
        member: MemberID,
        kind: Kind,
        failed: Callable[[Exception], None],
        lost: Callable[[bool], None],
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._rng = rng
        self._endpoint = endpoint
        self._factory = _Dialled(build)
        self._member = member
        self._kind = kind
        self._failed = failed
        self._lost = lost
        self._connection: PeerConnection | None = None
        self._running: Deferred[None] | None = None
        self._stopped = False

    def start(self) -> None:
        """Begin to dial."""
        assert self._running is None, "a dialer starts once"
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(_unless_cancelled)

    def stop(self) -> Deferred[None]:
        """Close the connection and dial no more; fires when it is gone."""
        self._stopped = True
        connection = self._connection
        closed: Deferred[None] = Deferred()
        if connection is None or connection.is_closed:
            closed.callback(None)
        else:
            closed = connection.when_closed()
            connection.close()
        if self._running is not None:
            self._running.cancel()
        return closed

    async def _run(self) -> None:
        failures = 0
        redials_that_tell = 0
        while True:
            error = await self._dial()
            if redials_that_tell:
                redials_that_tell -= 1
                refused = isinstance(error, Refused)
                if refused or error is None or not redials_that_tell:
                    redials_that_tell = 0
                    self._lost(refused)
            if error is None:
                assert self._connection is not None
                opened_at_s = self._clock.seconds()
                await self._connection.when_closed()
                redials_that_tell = REDIALS_THAT_TELL
                # A connection that ends at once again and again must not be redialled at once.
                lived = self._clock.seconds() - opened_at_s >= self._limits.heartbeat_s
                failures = 0 if lived else failures + 1
            else:
                failures += 1
            await deferLater(self._clock, self._delay_s(failures))

    async def _dial(self) -> Exception | None:
        """Connect and say Hello; return what went wrong, or None with an open connection."""
        self._connection = None
        try:
            connection = await self._connect()
            assert isinstance(connection, PeerConnection)
            self._connection = connection
            await connection.say_hello(self._kind, self._member)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  (whatever it is, we dial again and tell it)
            self._failed(error)
            return error
        return None

    async def _connect(self) -> IProtocol:
        within_s = self._limits.connect_timeout_s
        connecting = self._endpoint.connect(self._factory)
        connecting.addTimeout(within_s, self._clock)
        try:
            return await connecting
        except (DeferredTimeoutError, ConnectingCancelledError):
            # Twisted's TCP endpoints end with an error of their own when they are cancelled, be it
            # by the timeout or by stop(); taken for a failure like any other, it would make a
            # stopped dialer dial on for ever.
            if self._stopped:
                raise CancelledError from None
            raise TimeoutError(f"no connection within {within_s} seconds") from None

    def _delay_s(self, failures: int) -> float:
        """Return the back-off: the first retry at once, then doubling to a heartbeat, with jitter [R17].

        A peer that comes back is found within about a heartbeat, so that a healed partition costs
        no election; the jitter keeps a cluster from dialling in step.
        """
        if failures <= 1:
            return 0.0
        heartbeat_s = self._limits.heartbeat_s
        backoff_s: float = min(heartbeat_s, heartbeat_s / 8 * 2 ** min(failures - 2, 10))
        return backoff_s + self._rng.uniform(0, heartbeat_s / 4)


def _unless_cancelled(failure: Failure) -> None:
    """Take the end of a loop that was stopped."""
    failure.trap(CancelledError)
