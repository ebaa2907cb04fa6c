"""The methods of a client: what is asked, and what the answer means to the caller.

How an operation finds its way to a node that answers it is :mod:`raftdb.client.attempts`' part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TypeVar
from urllib.parse import quote

import msgspec
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from raftdb.client.arguments import Level, as_bytes, as_level, as_pairs, as_timeout
from raftdb.client.attempts import Attempts
from raftdb.client.exchange import Ask, Connections, Reply
from raftdb.client.outcomes import error_of
from raftdb.errors import InvalidRequest, KeyNotFound, OutcomeUnknown
from raftdb.outbound import http_origin, http_origins

__all__ = ["Client", "Level"]

T = TypeVar("T")

TIMEOUT_S = 10.0


class _Put(msgspec.Struct):
    revision: int


class _Deleted(msgspec.Struct):
    deleted: int


class Client:
    """Reads and writes a cluster; every method returns a Deferred that can be awaited.

    Keys and values are bytes; a text is taken as its UTF-8. Cancelling a Deferred ends the waiting,
    not a write that is under way. As many operations as one likes may be begun at once: 64 are under
    way at a node, the others wait for their turn, within their time. What is no argument is an
    :class:`~raftdb.errors.InvalidRequest` at once.

    :param reactor: Twisted's reactor; any clock will do together with ``http``
    :param endpoints: ``host:port``, ``[v6]:port`` or a URL, of one or more nodes, which are tried in
        this order; one text with commas will do; the port is 8091 where a host has none, and a URL's
        is its scheme's
    :param timeout_s: how long an operation may take, retries included, unless it says otherwise
    :param http: a treq client to be used instead of an own one, such as one that trusts a private
        certificate authority; it must neither follow redirects nor retry by itself
    :param rng: draws the pauses between attempts; given where a run has to be repeatable
    :raises InvalidRequest: an argument is none of these
    """

    def __init__(
        self,
        reactor: IReactorTime,
        endpoints: str | Sequence[str],
        *,
        timeout_s: float = TIMEOUT_S,
        http: HTTPClient | None = None,
        rng: Random | None = None,
    ) -> None:
        origins = http_origins(endpoints)
        self._timeout_s = as_timeout(timeout_s)
        _check_parts(reactor, http, rng)
        self._connections = Connections(reactor, http)
        self._attempts = Attempts(reactor, self._connections, origins, rng or Random())

    def get(
        self, key: str | bytes, *, level: Level = "default", timeout_s: float | None = None
    ) -> Deferred[bytes | None]:
        """Read a key; None if there is none.

        :param level: ``consistent`` is linearizable; ``default`` trusts the leader's lease;
            ``stale`` takes what the node that is asked has
        :raises Refused: no node could answer within the time
        :raises OutcomeUnknown: no node did answer within the time; reading again is harmless
        """

        def value(reply: Reply) -> bytes | None:
            if reply.status == 200:
                return reply.body
            error = error_of(reply)
            if isinstance(error, KeyNotFound):
                return None
            raise error

        return self._ask("GET", _kv(key) + f"&level={as_level(level)}", value, timeout_s=timeout_s)

    def put(
        self, key: str | bytes, value: str | bytes, *, timeout_s: float | None = None
    ) -> Deferred[int]:
        """Write a key, and return the store's revision after it.

        :raises Refused: it was surely not written
        :raises OutcomeUnknown: it may have been written, or may still be
        """

        def revision(reply: Reply) -> int:
            return _decoded(_success(reply), _Put).revision

        return self._ask(
            "PUT", _kv(key), revision, body=as_bytes("a value", value), timeout_s=timeout_s
        )

    def put_many(
        self, pairs: Mapping[str, str], *, timeout_s: float | None = None
    ) -> Deferred[None]:
        """Write several keys at once: all of them or none.

        :param pairs: texts only, at most 5,000 of them and 1.5 MiB in all
        :raises Refused: none was written
        :raises OutcomeUnknown: either all or none were or will be written
        """

        def done(reply: Reply) -> None:
            _success(reply)

        body = msgspec.json.encode(as_pairs(pairs))
        return self._ask("POST", "/key", done, body=body, timeout_s=timeout_s)

    def delete(self, key: str | bytes, *, timeout_s: float | None = None) -> Deferred[bool]:
        """Delete a key, and tell whether there was one.

        :raises Refused: it was surely not deleted
        :raises OutcomeUnknown: it may have been deleted, or may still be
        """

        def deleted(reply: Reply) -> bool:
            return _decoded(_success(reply), _Deleted).deleted > 0

        return self._ask("DELETE", _kv(key), deleted, timeout_s=timeout_s)

    def status(
        self, endpoint: str | None = None, *, timeout_s: float | None = None
    ) -> Deferred[dict[str, object]]:
        """Return what a node knows about itself and its cluster.

        :param endpoint: which node; without it the first that answers
        """

        def status(reply: Reply) -> dict[str, object]:
            return _decoded(_success(reply), dict[str, object])

        only = None if endpoint is None else http_origin(endpoint)
        return self._ask("GET", "/api/status", status, timeout_s=timeout_s, only=only)

    def close(self) -> Deferred[None]:
        """Close the connections that are kept open; fires when they are closed."""
        return self._connections.close()

    def _ask(
        self,
        method: str,
        target: str,
        meaning: Callable[[Reply], T],
        *,
        body: bytes | None = None,
        timeout_s: float | None = None,
        only: str | None = None,
    ) -> Deferred[T]:
        ask = Ask(method, target, body)
        limit_s = self._timeout_s if timeout_s is None else as_timeout(timeout_s)
        return self._attempts.start(ask, limit_s, only).addCallback(meaning)


def _check_parts(reactor: object, http: object, rng: object) -> None:
    if not (callable(getattr(reactor, "callLater", None)) and hasattr(reactor, "seconds")):
        raise InvalidRequest(f"a client needs Twisted's reactor, not {type(reactor).__name__}")
    if http is not None and not callable(getattr(http, "request", None)):
        raise InvalidRequest(f"http is a treq client, not {type(http).__name__}")
    if http is None and not hasattr(reactor, "connectTCP"):
        raise InvalidRequest("a clock that is no reactor needs a treq client of yours as http")
    if rng is not None and not isinstance(rng, Random):
        raise InvalidRequest(f"rng is a random.Random, not {type(rng).__name__}")


def _kv(key: str | bytes) -> str:
    return "/api/kv?key=" + quote(as_bytes("a key", key), safe="")


def _success(reply: Reply) -> Reply:
    if reply.status != 200:
        raise error_of(reply)
    return reply


def _decoded(reply: Reply, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as bad:
        raise OutcomeUnknown(f"{reply.origin} answered 200, but not as raftdb does: {bad}") from bad
