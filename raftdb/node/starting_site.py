"""What a node answers to HTTP while it is not part of a cluster yet: that it is alive, and why not."""

from __future__ import annotations

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import Request as TwistedRequest

from raftdb.http.budget import Budget
from raftdb.http.limits import Limits
from raftdb.http.messages import error_answer
from raftdb.http.site import LimitedSite


class StartingApp(Resource):
    """503 for everything but ``/livez``; nothing is known, so surely nothing happens.

    :param reason: what the node is waiting for
    """

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.isLeaf = True
        self.reason = reason

    def render(self, request: TwistedRequest) -> bytes:
        """Answer anything."""
        headers = request.responseHeaders
        headers.setRawHeaders(b"Connection", [b"close"])  # the next request finds the node itself
        headers.setRawHeaders(b"Content-Type", [b"application/json"])
        if request.path == b"/livez":
            return msgspec.json.encode({"live": True}) + b"\n"
        answer = error_answer(503, "starting", self.reason, ((b"Retry-After", b"1"),))
        request.setResponseCode(answer.status)
        for name, value in answer.headers:
            headers.setRawHeaders(name, [value])
        return b"" if request.method == b"HEAD" else answer.body


class StartingSite(LimitedSite):
    """Answers until the node is ready, within the same limits as the node's own site.

    :param clock: monotonic
    :param reason: what the node is waiting for
    :param connections_max: at a time
    """

    def __init__(self, clock: IReactorTime, reason: str, *, connections_max: int) -> None:
        limits = Limits(connections_max=connections_max)
        super().__init__(clock, StartingApp(reason), limits, Budget(limits.held_bytes_max))
