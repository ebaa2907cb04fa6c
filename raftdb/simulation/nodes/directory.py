"""How simulated nodes ask each other over HTTP: delay, cut links, dead nodes; the bytes are the bodies'."""

from __future__ import annotations

from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004  # Twisted's name
from twisted.python.failure import Failure

from raftdb.errors import InvalidRequest, JoinRefused, NotLeader, OutcomeUnknown, RaftDBError
from raftdb.membership import (
    JoinAnswer,
    JoinRequest,
    decode_join_answer,
    decode_join_request,
    encode_join_answer,
    encode_join_request,
)
from raftdb.simulation.clock import NodeClock
from raftdb.simulation.nodes.surroundings import StreamSurroundings

REDIRECTS_MAX = 5
REQUEST_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0


class SimulatedDirectory:
    """The Directory of one process.

    :param cluster: that it can ask
    :param host: where it runs
    :param clock: of the process; it hears of nothing once it is dead
    """

    def __init__(self, cluster: StreamSurroundings, host: str, clock: NodeClock) -> None:
        self._cluster = cluster
        self._host = host
        self._clock = clock

    def join(self, http_address: str, request: JoinRequest) -> Deferred[JoinAnswer]:
        """Ask ``http_address``; see :class:`~raftdb.membership.directory.Directory`."""
        return Deferred.fromCoroutine(self._join(http_address, request))

    async def _join(self, http_address: str, request: JoinRequest) -> JoinAnswer:
        body = encode_join_request(request)
        address = http_address
        for _ in range(REDIRECTS_MAX + 1):
            exchange = _Exchange(self._cluster, self._host, self._clock, address)
            try:
                return decode_join_answer(await exchange.post(body))
            except NotLeader as error:
                if not error.http_address:
                    raise OutcomeUnknown(f"{address}: {error}") from error
                address = error.http_address
            except JoinRefused:
                raise
            except InvalidRequest as error:
                raise JoinRefused(f"{address}: {error}") from error
            except (RaftDBError, TimeoutError) as error:
                raise OutcomeUnknown(f"{address}: {error}") from error
        raise OutcomeUnknown(f"more than {REDIRECTS_MAX} redirects, the last to {address}")


class _Exchange:
    """One request and its answer, on their way between two processes."""

    def __init__(
        self, cluster: StreamSurroundings, host: str, clock: NodeClock, address: str
    ) -> None:
        self._cluster = cluster
        self._host = host
        self._clock = clock
        self._address = address
        self._remote = address.partition(".")[0]
        self._answer: Deferred[bytes] = Deferred()

    def post(self, body: bytes) -> Deferred[bytes]:
        """Send a join request; fires with the answer's body or the error it stands for."""
        lossy_streams = self._cluster.lossy_streams
        self._cluster.clock.callLater(lossy_streams.latency_s(), self._arrive, body)
        return self._answer.addTimeout(REQUEST_TIMEOUT_S, self._clock)

    def _arrive(self, body: bytes) -> None:
        lossy_streams, node = self._cluster.lossy_streams, self._cluster.nodes.get(self._remote)
        if not self._passes() or lossy_streams.is_silent(self._remote):
            self._clock.callLater(CONNECT_TIMEOUT_S, self._finish, _failed("nobody answers"))
            return
        if node is None or not node.is_up:
            self._reply(_failed("connection refused"))
            return
        node.clock.callLater(0, self._serve, body)

    def _serve(self, body: bytes) -> None:
        """In the asked node's own time: do what the site does with the request."""
        added = self._cluster.nodes[self._remote].membership.add(decode_join_request(body))
        added.addCallback(encode_join_answer).addBoth(self._reply)

    def _reply(self, result: bytes | Failure) -> None:
        latency_s = self._cluster.lossy_streams.latency_s()
        self._cluster.clock.callLater(latency_s, self._return, result)

    def _return(self, result: bytes | Failure) -> None:
        if self._passes():
            self._clock.callLater(0, self._finish, result)

    def _finish(self, result: bytes | Failure) -> None:
        if not self._answer.called:
            self._answer.callback(result)

    def _passes(self) -> bool:
        lossy_streams = self._cluster.lossy_streams
        return lossy_streams.passes(self._host, self._remote) and lossy_streams.passes(
            self._remote, self._host
        )


def _failed(reason: str) -> Failure:
    return Failure(OutcomeUnknown(reason))  # type: ignore[no-untyped-call]  # Twisted's
