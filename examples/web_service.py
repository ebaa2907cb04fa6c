"""A web service on Klein that keeps its data in the cluster: short names for long addresses.

    python examples/web_service.py HOST:PORT[,HOST:PORT...] LISTEN_PORT
    curl -X PUT localhost:LISTEN_PORT/docs -d https://docs.python.org
    curl -i localhost:LISTEN_PORT/docs

Run as many of it as you like, anywhere: it keeps nothing itself. It says what it knows: 201 means that
a majority has the name on its disks, 503 that nothing happened, 504 that nobody knows yet.
"""

from __future__ import annotations

import sys
from typing import Any

from klein import Klein
from twisted.internet import endpoints
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.iweb import IRequest
from twisted.web.server import Site

from raftdb.client import Client
from raftdb.errors import OutcomeUnknown, Refused


class Names:
    """The service."""

    app = Klein()

    def __init__(self, client: Client) -> None:
        self._client = client

    @app.route("/<string:name>", methods=["PUT"])
    async def put(self, request: IRequest, name: str) -> bytes:
        """Keep an address under a name."""
        await self._client.put(f"names/{name}", request.content.read().strip())
        request.setResponseCode(201)
        return b"kept\n"

    @app.route("/<string:name>", methods=["GET"])
    async def get(self, request: IRequest, name: str) -> bytes:
        """Lead to the address; ``default`` is at most an election timeout old."""
        found = await self._client.get(f"names/{name}")
        if found is None:
            request.setResponseCode(404)
            return b"no such name\n"
        request.redirect(found)
        return b""

    @app.handle_errors(Refused)
    def refused(self, request: IRequest, failure: Any) -> bytes:
        """Nothing happened; it is safe to try again."""
        request.setResponseCode(503)
        return f"{failure.value}\n".encode()

    @app.handle_errors(OutcomeUnknown)
    def unknown(self, request: IRequest, failure: Any) -> bytes:
        """It may have happened; to put the same again is safe."""
        request.setResponseCode(504)
        return f"{failure.value}\n".encode()


async def main(reactor: Any, nodes: str, port: str) -> None:
    """Serve until Ctrl-C."""
    service = Names(Client(reactor, nodes.split(",")))
    endpoint = endpoints.TCP4ServerEndpoint(reactor, int(port), interface="127.0.0.1")
    await endpoint.listen(Site(service.app.resource()))
    print(f"serving on 127.0.0.1:{port}", flush=True)
    await Deferred()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, *sys.argv[1:])))
