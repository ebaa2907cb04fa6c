"""What a node answers to HTTP while it is not part of a cluster yet: that it is alive, and why not."""

from __future__ import annotations

import msgspec
from twisted.web.http import Request as HTTPRequest
from twisted.web.resource import Resource
from twisted.web.server import Request, Site


class WaitingRoom(Resource):
    """503 for everything but ``/livez``; nothing is known, so surely nothing happens.

    :param reason: what the node is waiting for
    """

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.isLeaf = True
        self.reason = reason

    def render(self, request: Request) -> bytes:
        """Answer anything."""
        request.content.read() if request.content is not None else None
        headers = request.responseHeaders
        headers.setRawHeaders(b"connection", [b"close"])  # the next request finds the node itself
        headers.setRawHeaders(b"content-type", [b"application/json"])
        if request.path == b"/livez":
            return msgspec.json.encode({"live": True}) + b"\n"
        request.setResponseCode(503)
        headers.setRawHeaders(b"retry-after", [b"1"])
        answer = {"error": {"code": "starting", "message": self.reason}}
        return msgspec.json.encode(answer) + b"\n"


class WaitingSite(Site):
    """Answers until the node is ready, and keeps no access log.

    :param reason: what the node is waiting for
    """

    noisy = False

    def __init__(self, reason: str) -> None:
        super().__init__(WaitingRoom(reason))

    def log(self, request: HTTPRequest) -> None:
        """Write nothing: twisted.web's log lines go to the daemon's log, dated 1970."""
