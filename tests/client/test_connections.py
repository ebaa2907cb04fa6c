"""The client's own connections: kept open, closed in the end, and never trusted to retry."""

from __future__ import annotations

from typing import cast

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.error import ConnectionRefusedError as RefusedError
from twisted.internet.interfaces import IConnector
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from raftdb.client import Client
from raftdb.errors import OutcomeUnknown, Unreachable

ADDRESS = IPv4Address("TCP", "127.0.0.1", 8091)
ANSWER = b"HTTP/1.1 200 OK\r\nRaftdb-Applied-Index: 1\r\nContent-Length: %d\r\n\r\n%b"


class Server:
    """The other end of the client's connections, byte by byte."""

    def __init__(self) -> None:
        self.reactor = MemoryReactorClock()
        self.client = Client(self.reactor, ["127.0.0.1:8091"])
        self.connections: list[tuple[Protocol, StringTransport]] = []

    @property
    def dialled(self) -> int:
        """How many connections the client has asked for."""
        return len(self.reactor.tcpClients)

    def accept(self) -> None:
        """Accept the connection that was asked for last."""
        _, _, factory, _, _ = self.reactor.tcpClients[-1]
        protocol, transport = factory.buildProtocol(ADDRESS), StringTransport()
        assert isinstance(protocol, Protocol)
        self.connections.append((protocol, transport))
        protocol.makeConnection(transport)

    def refuse(self) -> None:
        """Refuse the connection that was asked for last."""
        _, _, factory, _, _ = self.reactor.tcpClients[-1]
        factory.clientConnectionFailed(cast("IConnector", None), Failure(RefusedError()))

    def answer(self, body: bytes) -> None:
        """Answer the request on the last connection."""
        self.connections[-1][0].dataReceived(ANSWER % (len(body), body))

    @property
    def requests(self) -> list[bytes]:
        """The first line of every request, on any connection."""
        everything = b"".join(transport.value() for _, transport in self.connections)
        return [line for line in everything.split(b"\r\n") if line.endswith(b" HTTP/1.1")]


@pytest.fixture
def server() -> Server:
    """A server, and a client that wants to talk to it."""
    return Server()


def outcome(deferred: Deferred[object]) -> object:
    """Return what a Deferred has fired with."""
    results: list[object] = []
    deferred.addBoth(results.append)
    assert results, "nothing yet"
    return results[0]


class TestConnections:
    """One is used for many requests."""

    def test_is_kept_open_and_used_again(self, server: Server) -> None:
        """Until the client is closed."""
        first = server.client.delete("k")
        server.accept()
        server.answer(b'{"revision":1,"deleted":1}')
        assert outcome(first) is True  # type: ignore[arg-type]  # any result will do
        server.client.delete("k")
        assert server.dialled == 1
        assert len(server.requests) == 2

    @pytest.mark.parametrize("reason", [ConnectionDone(), ConnectionLost()])
    def test_a_write_on_a_connection_that_dies_is_not_repeated(
        self, server: Server, reason: Exception
    ) -> None:
        """twisted.web would repeat a DELETE by itself, on a new connection."""
        first = server.client.delete("k")
        server.accept()
        server.answer(b'{"revision":1,"deleted":1}')
        assert outcome(first) is True  # type: ignore[arg-type]  # any result will do
        second = server.client.delete("k")
        server.connections[0][0].connectionLost(Failure(reason))
        failure = outcome(second)  # type: ignore[arg-type]  # any result will do
        assert isinstance(failure, Failure)
        assert isinstance(failure.value, OutcomeUnknown)
        assert server.dialled == 1

    def test_a_refused_connection_is_tried_again(self, server: Server) -> None:
        """Nothing was sent on it."""
        waiting = server.client.delete("k", timeout_s=3.0)
        server.refuse()
        server.reactor.pump([0.05] * 20)
        assert server.dialled == 2
        server.accept()
        server.answer(b'{"revision":1,"deleted":0}')
        assert outcome(waiting) is False  # type: ignore[arg-type]  # any result will do

    def test_a_host_that_does_not_answer_was_not_written_to(self, server: Server) -> None:
        """A deadline that passes while connecting leaves no doubt."""
        waiting = server.client.delete("k", timeout_s=1.0)
        server.reactor.advance(1.1)
        failure = outcome(waiting)  # type: ignore[arg-type]  # any result will do
        assert isinstance(failure, Failure)
        assert isinstance(failure.value, Unreachable)
        assert str(failure.value) == "no connection to http://127.0.0.1:8091 within 1 s"

    def test_the_last_attempt_hides_no_better_reason(self, server: Server) -> None:
        """It is cut short by the deadline; the one before was refused."""
        waiting = server.client.delete("k", timeout_s=0.5)
        server.refuse()
        server.reactor.pump([0.05] * 11)
        assert server.dialled == 2
        failure = outcome(waiting)  # type: ignore[arg-type]  # any result will do
        assert isinstance(failure, Failure)
        assert isinstance(failure.value, Unreachable)
        assert "refused" in str(failure.value)

    def test_a_port_that_speaks_no_http_is_suspected(self, server: Server) -> None:
        """A node's other port ends the connection without a word."""
        waiting = server.client.delete("k")
        server.accept()
        server.connections[0][0].connectionLost(Failure(ConnectionDone()))
        failure = outcome(waiting)  # type: ignore[arg-type]  # any result will do
        assert isinstance(failure, Failure)
        assert "if that is a port for nodes, give the address that --haddr names" in str(
            failure.value
        )

    def test_close_closes_them(self, server: Server) -> None:
        """And waits for it."""
        first = server.client.delete("k")
        server.accept()
        server.answer(b'{"revision":1,"deleted":1}')
        outcome(first)  # type: ignore[arg-type]  # any result will do
        closed = server.client.close()
        assert server.connections[0][1].disconnecting
        server.connections[0][0].connectionLost(Failure(ConnectionDone()))
        assert outcome(closed) is None  # type: ignore[arg-type]  # any result will do
