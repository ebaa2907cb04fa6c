"""``/api``: raftdb's own dialect: any bytes as key and value, typed answers, the cluster's affairs.

A read is answered by whichever node is asked, at any level; a write is redirected to the leader.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from raftdb.database import Database
from raftdb.dialects.levels import parse_level
from raftdb.errors import InvalidRequest, KeyNotFound
from raftdb.http.bodies import decode_json
from raftdb.http.errors import answer_error
from raftdb.http.limits import Limits
from raftdb.http.messages import JSON, Request, Response, json_answer, readable_answer
from raftdb.http.routing import Router
from raftdb.http.targets import check_key, parameters, percent_decode
from raftdb.membership import Membership, check_id, decode_join_request, encode_join_answer
from raftdb.state.kv.commands import Delete, Put
from raftdb.state.kv.reads import Get

_BYTES = b"application/octet-stream"


class _Transfer(msgspec.Struct, forbid_unknown_fields=True):
    to: str


_TRANSFER: Final = msgspec.json.Decoder(_Transfer)


class KVApp:
    """The route ``/api/kv``: one key at a time, its bytes percent-decoded from ``?key=``.

    :param database: what is read and written
    :param limits: what a request may ask for
    """

    app = Router()

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits

    @app.at("/api/kv", "GET", "HEAD")
    async def get(self, asked: Request) -> Response:
        """Read the value's bytes; its revisions come as headers."""
        given = parameters(asked.query, ("key", "level"))
        key = self._key(given)
        found = await self._database.query(
            Get(key),
            parse_level(given.get("level", b"")),
            leader_only=False,
            timeout_s=self._limits.answer_timeout_s,
        )
        if found is None:
            raise KeyNotFound(key)
        revisions = (
            (b"Raftdb-Create-Revision", b"%d" % found.create_revision),
            (b"Raftdb-Mod-Revision", b"%d" % found.mod_revision),
            (b"Raftdb-Version", b"%d" % found.version),
            (b"X-Content-Type-Options", b"nosniff"),  # nobody's bytes become a page of this site
        )
        return Response(200, found.value, _BYTES if found.value else b"", revisions)

    @app.at("/api/kv", "PUT")
    async def put(self, asked: Request) -> Response:
        """Write the body's bytes."""
        key = self._key(parameters(asked.query, ("key",)))
        result = await self._database.execute(
            Put(((key, asked.body),)), timeout_s=self._limits.answer_timeout_s
        )
        return json_answer({"revision": result.revision})

    @app.at("/api/kv", "DELETE")
    async def delete(self, asked: Request) -> Response:
        """Delete the key, and tell whether there was one."""
        key = self._key(parameters(asked.query, ("key",)))
        result = await self._database.execute(
            Delete((key,)), timeout_s=self._limits.answer_timeout_s
        )
        return json_answer({"revision": result.revision, "deleted": result.deleted})

    def answer_error(self, error: Exception, asked: Request) -> Response:
        """Answer a failed request."""
        return answer_error(error, asked)

    def _key(self, given: dict[str, bytes]) -> bytes:
        if "key" not in given:
            raise InvalidRequest("the parameter 'key' is missing, as in /api/kv?key=name")
        return check_key(given["key"], self._limits.key_bytes_max)


class ClusterApp:
    """The routes ``/api/status``, ``/api/cluster/…``, ``/livez`` and ``/readyz``.

    :param membership: who belongs
    :param status: what the node knows about itself, ready to be written as JSON
    :param unready: why the node should not be given work, or None
    """

    app = Router()

    def __init__(
        self,
        membership: Membership,
        *,
        status: Callable[[], object],
        unready: Callable[[], str | None],
    ) -> None:
        self._membership = membership
        self._status = status
        self._unready = unready

    @app.at("/api/status", "GET", "HEAD")
    def status(self, asked: Request) -> Response:
        """Tell what the node knows about itself and its cluster."""
        parameters(asked.query, ())
        return readable_answer(self._status())

    @app.at("/api/cluster/members", "GET", "HEAD")
    def members(self, asked: Request) -> Response:
        """List the members."""
        parameters(asked.query, ())
        return readable_answer(self._membership.members())

    @app.at("/api/cluster/members", "POST")
    async def add(self, asked: Request) -> Response:
        """Take a node in as a learner; it votes once it has caught up."""
        answer = await self._membership.add(decode_join_request(asked.body))
        return Response(200, encode_join_answer(answer) + b"\n", JSON)

    @app.at("/api/cluster/members/<path:member_id>", "DELETE")
    async def remove(self, asked: Request, member_id: bytes) -> Response:
        """Remove a member."""
        parameters(asked.query, ())
        removed = _text(percent_decode(member_id, "the path"))
        await self._membership.remove(removed)
        return json_answer({"removed": removed})

    @app.at("/api/cluster/transfer", "POST")
    async def transfer(self, asked: Request) -> Response:
        """Hand leadership over to a member."""
        wanted = decode_json(_TRANSFER, asked.body, 'the new leader, as in {"to": "node02"}')
        await self._membership.transfer(check_id(wanted.to))
        return json_answer({"leader": wanted.to})

    @app.at("/livez", "GET", "HEAD")
    def livez(self, asked: Request) -> Response:
        """Tell that the event loop turns."""
        del asked
        return json_answer({"live": True})

    @app.at("/readyz", "GET", "HEAD")
    def readyz(self, asked: Request) -> Response:
        """Tell whether the node should be given work, and if not, why."""
        del asked
        reason = self._unready()
        if reason is None:
            return json_answer({"ready": True})
        return json_answer({"ready": False, "reason": reason}, 503)

    def answer_error(self, error: Exception, asked: Request) -> Response:
        """Answer a failed request."""
        return answer_error(error, asked)


def _text(raw: bytes) -> str:
    try:
        return check_id(raw.decode())
    except UnicodeDecodeError:
        raise InvalidRequest("a node's id is UTF-8") from None
