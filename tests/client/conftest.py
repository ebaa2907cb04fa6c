"""A cluster of real sites without sockets, with a network that can be told how to fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

import pytest
from treq.client import HTTPClient
from treq.testing import RequestTraversalAgent, _SynchronousProducer
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.error import ConnectionRefusedError as RefusedError
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from twisted.web.resource import Resource
from twisted.web.server import Request
from zope.interface import implementer

from raftdb.client import Client

T = TypeVar("T")


class Told(NamedTuple):
    """A request that arrived at a node."""

    node: str
    method: str
    target: str
    body: bytes


@dataclass
class Script(Resource):
    """A node that answers as it is told: one prepared answer after the other, the last for ever."""

    name: str
    told: list[Told]
    answers: list[tuple[int, dict[str, str], bytes]]
    isLeaf = True

    def __post_init__(self) -> None:
        super().__init__()

    def render(self, request: Request) -> bytes:
        assert request.content is not None
        self.told.append(
            Told(self.name, request.method.decode(), request.uri.decode(), request.content.read())
        )
        status, headers, body = self.answers[0]
        if len(self.answers) > 1:
            del self.answers[0]
        request.setResponseCode(status)
        for name, value in headers.items():
            request.setHeader(name, value)
        return body


@implementer(IAgent)
@dataclass
class Network:
    """Brings requests to the node of their address, or fails as a network does."""

    clock: Clock
    told: list[Told] = field(default_factory=list)
    nodes: dict[str, RequestTraversalAgent] = field(default_factory=dict)
    refusing: dict[str, None] = field(default_factory=dict)
    silent: dict[str, None] = field(default_factory=dict)
    deaf_after: dict[str, None] = field(default_factory=dict)
    dialled: list[str] = field(default_factory=list)
    held: list[tuple[Deferred[IResponse], Deferred[IResponse]]] | None = None
    """Answers that are on their way until they are released; None where none is held."""

    def release(self) -> None:
        """Deliver the answers that are held now."""
        assert self.held is not None
        held, self.held = self.held, []
        for waiting, answer in held:
            answer.addCallback(waiting.callback)

    def add(self, address: str, *answers: tuple[int, dict[str, str], bytes]) -> None:
        """Put a scripted node at an address."""
        self.nodes[address] = RequestTraversalAgent(Script(address, self.told, list(answers)))

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,  # noqa: N803  # Twisted's name
    ) -> Deferred[IResponse]:
        """Send a request."""
        address = urlsplit(uri.decode()).netloc
        self.dialled.append(address)
        if address in self.refusing or address not in self.nodes:
            return fail(RefusedError())
        if address in self.silent:
            self.told.append(Told(address, method.decode(), "", b""))
            return Deferred(
                lambda gone: gone.errback(ResponseNeverReceived([Failure(ConnectionLost())]))
            )
        node = self.nodes[address]
        answer: Deferred[IResponse] = node.request(method, uri, headers, bodyProducer)
        node.flush()
        if address in self.deaf_after:
            return fail(ResponseNeverReceived([Failure(ConnectionLost())]))
        if self.held is not None:
            waiting: Deferred[IResponse] = Deferred()
            self.held.append((waiting, answer))
            return waiting
        return answer


class Asking:
    """A client of such a network, and its clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.network = Network(self.clock)
        self.http = HTTPClient(self.network, data_to_body_producer=_SynchronousProducer)

    def client(self, *endpoints: str, timeout_s: float = 10.0) -> Client:
        """Make a client of these nodes."""
        return Client(self.clock, endpoints, timeout_s=timeout_s, http=self.http)

    def finish(self, deferred: Deferred[T], within_s: float = 30.0) -> T:
        """Let time pass until a Deferred fires, and return what with."""
        results: list[T | Failure] = []
        deferred.addBoth(results.append)
        begun = self.clock.seconds()
        while not results and self.clock.seconds() < begun + within_s:
            self.clock.advance(0.01)
        assert results, f"nothing within {within_s} s"
        if isinstance(results[0], Failure):
            results[0].raiseException()
        return results[0]

    @property
    def nodes_told(self) -> list[str]:
        """Which nodes were asked, in order."""
        return [told.node for told in self.network.told]


@pytest.fixture
def asking() -> Iterator[Asking]:
    """A network, a clock, and no timer left behind."""
    asking = Asking()
    yield asking
    assert asking.clock.getDelayedCalls() == []
