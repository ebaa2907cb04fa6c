"""The methods of a client: what is asked, and what the answer means to the caller.

How an operation finds its way to a node that answers it is :mod:`raftdb.client.attempts`' part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Literal, TypeAlias, TypeVar
from urllib.parse import quote

import msgspec
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from raftdb.client.attempts import Attempts
from raftdb.client.exchange import Ask, Connections, Reply
from raftdb.client.outcomes import error_of
from raftdb.errors import InvalidRequest, KeyNotFound, OutcomeUnknown

__all__ = ["Client", "Level"]

Level: TypeAlias = Literal["stale", "default", "consistent"]
T = TypeVar("T")

TIMEOUT_S = 10.0


class _Put(msgspec.Struct):
    revision: int


class _Deleted(msgspec.Struct):
    deleted: int


class Client:
    """Reads and writes a cluster; every method returns a Deferred that can be awaited.

    Keys and values are bytes; a text is taken as its UTF-8. Cancelling a Deferred ends the waiting,
    not a write that is under way.

    :param reactor: Twisted's reactor; any clock will do together with ``http``
    :param endpoints: ``host:port`` or a URL, of one or more nodes; they are tried in this order
    :param timeout_s: how long an operation may take, retries included, unless it says otherwise
    :param http: a treq client to be used instead of an own one, such as one that trusts a private
        certificate authority; it must neither follow redirects nor retry by itself
    :param rng: draws the pauses between attempts; given where a run has to be repeatable
    """

    def __init__(
        self,
        reactor: IReactorTime,
        endpoints: Sequence[str],
        *,
        timeout_s: float = TIMEOUT_S,
        http: HTTPClient | None = None,
        rng: Random | None = None,
    ) -> None:
        self._connections = Connections(reactor, http)
        self._attempts = Attempts(reactor, self._connections, endpoints, rng or Random())
        self._timeout_s = timeout_s

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

        return self._ask("GET", _kv(key) + f"&level={quote(level)}", value, timeout_s=timeout_s)

    def put(
        self, key: str | bytes, value: str | bytes, *, timeout_s: float | None = None
    ) -> Deferred[int]:
        """Write a key, and return the store's revision after it.

        :raises Refused: it was surely not written
        :raises OutcomeUnknown: it may have been written, or may still be
        """

        def revision(reply: Reply) -> int:
            return _decoded(_success(reply), _Put).revision

        return self._ask("PUT", _kv(key), revision, body=_bytes(value), timeout_s=timeout_s)

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

        try:
            body = msgspec.json.encode(dict(pairs))
        except (UnicodeEncodeError, TypeError) as bad:
            raise InvalidRequest(f"put_many takes texts: {bad}") from bad
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

        return self._ask("GET", "/api/status", status, timeout_s=timeout_s, only=endpoint)

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
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        return self._attempts.start(ask, limit_s, only).addCallback(meaning)


def _bytes(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        return text.encode()
    except UnicodeEncodeError as bad:
        raise InvalidRequest(f"the text has no UTF-8: {bad}") from bad


def _kv(key: str | bytes) -> str:
    return f"/api/kv?key={quote(_bytes(key), safe='')}"


def _success(reply: Reply) -> Reply:
    if reply.status != 200:
        raise error_of(reply)
    return reply


def _decoded(reply: Reply, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(reply.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as bad:
        raise OutcomeUnknown(f"{reply.origin} answered 200, but not as raftdb does: {bad}") from bad
