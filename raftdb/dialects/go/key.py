"""``/key``: the dialect of the program raftdb re-implements, status, body and headers alike.

Reads at ``default`` and ``consistent`` and all writes are the leader's business: elsewhere they
are redirected, so that ``curl -L`` works with every verb at every node. An operator may have each
node answer reads by itself instead.
"""

from __future__ import annotations

from collections.abc import Awaitable
from functools import lru_cache
from typing import Final, TypeVar

import msgspec
from twisted.internet.defer import Deferred

from raftdb.database import Database, Level
from raftdb.dialects.go.go_json import html_escape, json_pair, json_string
from raftdb.dialects.go.long_json import PIECE_BYTES, LongJson
from raftdb.dialects.levels import parse_level
from raftdb.errors import InvalidRequest, NoLeader, NotLeader, TooLarge
from raftdb.http.bodies import decode_json
from raftdb.http.errors import answer_error, location
from raftdb.http.limits import Limits
from raftdb.http.messages import TEXT, Request, Response
from raftdb.http.routing import Router
from raftdb.http.targets import check_key, percent_decode
from raftdb.state.kv.commands import Delete, Put
from raftdb.state.kv.reads import Get
from raftdb.state.kv.values import KeyValue

T = TypeVar("T")

_STALE: Final = Level.STALE  # a name of its own: to ask an Enum takes 100 ns in Python 3.11
_DONE: Final = Response(200)
_HTML = b"text/html; charset=utf-8"
_PAIRS: Final = msgspec.json.Decoder(dict[str, str])
_NO_LEADER = Response(
    503,
    b"node is not the leader\n",
    TEXT,
    (
        (b"Raftdb-Error", b"no_leader"),
        (b"Retry-After", b"1"),
        (b"X-Content-Type-Options", b"nosniff"),
    ),
)


class KeyApp:
    """The routes under ``/key``.

    :param database: what is read and written
    :param limits: what a request may ask for
    :param text: writes values
    :param serve_reads: answer every read here, where this node does not lead after asking the
        leader for the index to wait for (Thesis, 6.4), instead of redirecting
    """

    app = Router()

    def __init__(
        self, database: Database, limits: Limits, text: LongJson, *, serve_reads: bool = False
    ) -> None:
        self._database = database
        self._limits = limits
        self._text = text
        self._serve_reads = serve_reads

    @app.at("/key", "POST")
    @app.at("/key/", "POST")
    @app.at("/key/<path:key>", "POST")
    def put(self, asked: Request, key: bytes = b"") -> Response | Deferred[Response]:
        """Write all pairs of the body at once; the path beyond ``/key`` never meant anything.

        This and :meth:`get` are no coroutines: one costs as much as all the rest of the handler.
        """
        del key
        pairs = self._pairs(asked.body)
        if not pairs:
            return _DONE
        written = self._database.execute(Put(pairs), timeout_s=self._limits.answer_timeout_s)
        return _deferred(written).addCallback(lambda _: _DONE)

    @app.at("/key", "GET", "HEAD", "DELETE")
    @app.at("/key/", "GET", "HEAD", "DELETE")
    async def keyless(self, asked: Request) -> Response:
        """Refuse: which key?"""
        raise InvalidRequest(f"{asked.method.decode()} needs a key in the path, as in /key/name")

    @app.at("/key/<path:key>", "GET", "HEAD")
    def get(self, asked: Request, key: bytes) -> Response | Deferred[Response]:
        """Read one key; a missing one reads as empty, as it always did."""
        name, text = self._key(key)
        level = _level(asked.query)
        found = self._database.look_up(
            Get(name),
            level,
            leader_only=level is not _STALE and not self._serve_reads,
            timeout_s=self._limits.answer_timeout_s,
        )
        if type(found) is Deferred:  # isinstance would take an ABC's way for all that is none
            return found.addCallback(self._shown, text)
        return self._shown(found, text)  # type: ignore[arg-type]  # a Deferred is all it may wait for

    def _shown(self, found: KeyValue | None, text: str) -> Response | Deferred[Response]:
        """Return the answer that shows what was found under the key ``text``."""
        value = b"" if found is None else found.value
        if len(value) > PIECE_BYTES:
            return Deferred.fromCoroutine(self._show_long(value, text))
        return Response(200, json_pair(text, value.decode("utf-8", "replace")), TEXT)

    async def _show_long(self, value: bytes, text: str) -> Response:
        literal = await self._text.json_string(value)
        return Response(200, b"{%b:%b}" % (json_string(text), literal), TEXT)

    @app.at("/key/<path:key>", "DELETE")
    async def delete(self, asked: Request, key: bytes) -> Response:
        """Delete one key, present or not."""
        del asked
        name, _ = self._key(key)
        await self._database.execute(Delete((name,)), timeout_s=self._limits.answer_timeout_s)
        return Response(200)

    def answer_error(self, error: Exception, asked: Request) -> Response:
        """Answer a failed request."""
        return answer_as_go(error, asked)

    def _key(self, raw: bytes) -> tuple[bytes, str]:
        """Return the key of a raw path's rest, as bytes and as text."""
        key = percent_decode(raw, "the path") if b"%" in raw else raw
        bytes_max = self._limits.key_bytes_max
        if not 0 < len(key) <= bytes_max:  # as nearly never
            check_key(key, bytes_max)
        try:
            return key, key.decode()
        except UnicodeDecodeError:
            raise InvalidRequest(
                "a key under /key is UTF-8; /api/kv?key= reaches keys of other bytes"
            ) from None

    def _pairs(self, body: bytes) -> tuple[tuple[bytes, bytes], ...]:
        """Return what a POST wants to be written, all checked before anything is proposed."""
        pairs = decode_json(_PAIRS, body, 'an object of strings, as in {"name": "value"}')
        if len(pairs) > self._limits.pairs_max:
            raise TooLarge(f"{len(pairs)} keys; one write takes {self._limits.pairs_max}")
        bytes_max = self._limits.key_bytes_max
        checked = []
        for key, value in pairs.items():
            name = key.encode()
            if not 0 < len(name) <= bytes_max:  # as nearly never: a call costs more than all else
                check_key(name, bytes_max)
            checked.append((name, value.encode()))
        return tuple(checked)


def _deferred(result: Awaitable[T]) -> Deferred[T]:
    """Return what is a Deferred anyway; it could not be declared so, because it is invariant."""
    assert isinstance(result, Deferred)
    return result


def answer_as_go(error: Exception, asked: Request) -> Response:
    """Answer a failed request; who leads is told as Go's ``net/http`` tells it."""
    match error:
        case NotLeader(http_address=address) if address:
            return _redirect(error, asked)
        case NotLeader() | NoLeader():
            return _NO_LEADER
        case _:
            return answer_error(error, asked)


@lru_cache(maxsize=64)
def _level(query: bytes) -> Level:
    """Return the level of the first ``level`` parameter; other parameters mean nothing here.

    Clients write few different queries, so nearly all are found in the cache.
    """
    if not query:
        return Level.DEFAULT
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if percent_decode(name.replace(b"+", b" "), "the query") == b"level":
            return parse_level(percent_decode(value.replace(b"+", b" "), "the level"))
    return Level.DEFAULT


def _redirect(leader: NotLeader, asked: Request) -> Response:
    """Redirect to the leader as ``http.Redirect`` of Go does."""
    where = location(leader, asked)
    headers = ((b"Location", where), (b"Raftdb-Error", b"not_leader"))
    if asked.method not in (b"GET", b"HEAD"):
        return Response(307, headers=headers)
    body = f'<a href="{html_escape(where.decode("ascii"))}">Temporary Redirect</a>.\n\n'
    return Response(307, body.encode(), _HTML, headers)
