"""The real directory: ``POST /api/cluster/members``, following redirects to the leader.

It is the one place below :mod:`raftdb.http` that speaks HTTP, and it speaks it as a client only.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IReactorTime
from twisted.web.client import RequestTransmissionFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from raftdb.errors import JoinRefused, OutcomeUnknown, RemoteProtocolError
from raftdb.membership.directory import JoinAnswer, JoinRequest
from raftdb.membership.wire import decode_join_answer, encode_join_request
from raftdb.outbound import HttpPool, cause_of, http_agent, http_origin, verbatim

PATH = "/api/cluster/members"
REDIRECTS_MAX = 5
REQUEST_TIMEOUT_S = 5.0
ANSWER_BYTES_MAX = 1024 * 1024

_NO_HTTP = " (is it TLS, write https://; --join takes --haddr addresses, not --raddr)"
"""Both ports end a connection over its first bytes, as a node that dies does."""

_CUT_OFF = (RequestTransmissionFailed, ResponseNeverReceived)
_FOR_GOOD = frozenset({400, 403, 404, 405, 409, 410, 411, 413, 414, 415})
"""Statuses after which the same request to the same address never succeeds."""


class _Reply(NamedTuple):
    status: int
    location: str | None
    body: bytes


class HttpDirectory:
    """Asks over HTTP, or over HTTPS where the address begins with ``https://``.

    :param clock: for the deadline of each request
    :param client: a treq client; its agent brings the connect timeout
    """

    def __init__(self, clock: IReactorTime, client: HTTPClient) -> None:
        self._clock = clock
        self._client = client

    def join(self, http_address: str, request: JoinRequest) -> Deferred[JoinAnswer]:
        """Ask ``http_address``; see :class:`~raftdb.membership.directory.Directory`."""
        return Deferred.fromCoroutine(self._join(http_address, request))

    async def _join(self, http_address: str, request: JoinRequest) -> JoinAnswer:
        url = http_origin(http_address) + PATH
        body = encode_join_request(request)
        for _ in range(REDIRECTS_MAX + 1):
            reply = await self._post(url, body)
            if reply.status in {307, 308} and reply.location:
                url = reply.location
                continue
            return _answer(url, reply)
        raise OutcomeUnknown(f"more than {REDIRECTS_MAX} redirects, the last to {url}")

    async def _post(self, url: str, body: bytes) -> _Reply:
        late = False

        def give_up() -> None:
            nonlocal late
            late = True
            exchange.cancel()

        exchange = Deferred.fromCoroutine(self._exchange(url, body))
        timer = self._clock.callLater(REQUEST_TIMEOUT_S, give_up)
        try:
            return await exchange
        except RemoteProtocolError:
            raise
        except Exception as error:
            # Whatever ends an HTTP request early leaves the same: nobody answered. Asking again
            # is harmless, and who cancels us asks no more.
            hint = _NO_HTTP if isinstance(error, _CUT_OFF) else ""
            cause = cause_of(error)
            if late and not isinstance(error, ConnectError):
                cause = f"silence for {REQUEST_TIMEOUT_S:g} s"
                hint = _NO_HTTP
            raise OutcomeUnknown(f"no answer from {url}: {cause}{hint}") from error
        finally:
            if timer.active():
                timer.cancel()

    async def _exchange(self, url: str, body: bytes) -> _Reply:
        headers = Headers({"Content-Type": ["application/json"]})
        return await _read(
            await self._client.post(
                verbatim(url), data=body, headers=headers, allow_redirects=False
            )
        )


def quiet_client(reactor: object, connect_timeout_s: float) -> HTTPClient:
    """Make an HTTP client that keeps no connections and writes no log lines of its own.

    :param connect_timeout_s: for reaching one address
    """
    return HTTPClient(http_agent(reactor, HttpPool(reactor), connect_timeout_s))


async def _read(response: IResponse) -> _Reply:
    chunks: list[bytes] = []
    count = 0

    def collect(chunk: bytes) -> None:
        nonlocal count
        count += len(chunk)
        if count <= ANSWER_BYTES_MAX:
            chunks.append(chunk)

    await response.collect(collect)  # type: ignore[attr-defined]  # treq's response, untyped
    if count > ANSWER_BYTES_MAX:
        raise RemoteProtocolError(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
    location = response.headers.getRawHeaders("location", [None])
    return _Reply(response.code, location[0] if location else None, b"".join(chunks))


def _answer(url: str, reply: _Reply) -> JoinAnswer:
    if reply.status == 200:
        try:
            return decode_join_answer(reply.body)
        except RemoteProtocolError as error:
            raise RemoteProtocolError(f"{url} does not answer as raftdb does: {error}") from error
    reason = f"{url} answered {reply.status}: {_reason(reply.body)}"
    if reply.status in _FOR_GOOD:
        raise JoinRefused(reason)
    raise OutcomeUnknown(reason)


class _Error(msgspec.Struct):
    message: str


class _ErrorBody(msgspec.Struct):
    error: _Error


def _reason(body: bytes) -> str:
    """Return what an error's body says, be it raftdb's JSON or anybody's text."""
    try:
        return msgspec.json.decode(body, type=_ErrorBody).error.message
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body[:200].decode("utf-8", "replace").strip() or "nothing"
