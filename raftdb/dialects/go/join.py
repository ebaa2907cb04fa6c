"""``/join``: the older dialect of taking a node in, by its three addresses alone."""

from __future__ import annotations

from typing import Final

import msgspec

from raftdb.dialects.go.key import answer_as_go
from raftdb.http.bodies import decode_json
from raftdb.http.messages import Request, Response
from raftdb.http.routing import Router
from raftdb.membership import Membership, check_address, check_id


class _Join(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    id: str
    raft_addr: str
    http_addr: str


_JOIN: Final = msgspec.json.Decoder(_Join)


class JoinApp:
    """The route ``/join``.

    :param membership: what takes the node in
    """

    app = Router()

    def __init__(self, membership: Membership) -> None:
        self._membership = membership

    @app.at("/join", "POST")
    async def join(self, asked: Request) -> Response:
        """Invite a node; a present member changes nothing."""
        wanted = decode_json(_JOIN, asked.body, "three strings: id, raftAddr, httpAddr")
        await self._membership.invite(
            check_id(wanted.id),
            check_address(wanted.raft_addr),
            check_address(wanted.http_addr),
        )
        return Response(200)

    def answer_error(self, error: Exception, asked: Request) -> Response:
        """Answer a failed request in the same dialect as ``/key``."""
        return answer_as_go(error, asked)
