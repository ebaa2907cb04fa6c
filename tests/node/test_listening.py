"""Ports: one that nobody else can reach is not opened in silence, and a crowd is let in."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.tcp import Port
from twisted.internet.testing import MemoryReactor, MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs
from twisted.python.failure import Failure

from raftdb.node.endpoints import listen_description
from raftdb.node.listening import ACCEPTS_MAX, Listener

SHORT = "127.1"
"""A name as far as raftdb can tell; every resolver takes it for 127.0.0.1, asking nobody."""


class Opened:
    """A door opened on a reactor that only remembers what was asked of it, and what it warned of."""

    def __init__(self, listen: str) -> None:
        reactor = MemoryReactor()
        with capturedLogs() as events:
            Deferred.fromCoroutine(Listener("peers").open(reactor, listen))
        assert reactor.tcpServers or reactor.adoptedPorts
        self.warnings = [event for event in events if event["log_level"] is LogLevel.warn]


class TestALoopbackName:
    """Debian gives a host's own name the address 127.0.1.1: such a node starts, alone."""

    def test_a_name_that_leads_nowhere_else_is_told(self) -> None:
        """The operator reads why nobody comes, and which options help."""
        opened = Opened(f"{SHORT}:8089")
        (warning,) = opened.warnings
        assert warning["name"] == SHORT
        assert warning["who"] == "peers"
        assert "--rlisten" in warning["log_format"]

    @pytest.mark.parametrize("listen", ["localhost:8089", "127.0.0.1:8089", ":8089"])
    def test_what_was_meant_is_not_told(self, listen: str) -> None:
        """Nobody who writes localhost, an address, or no host at all has to be warned."""
        assert not Opened(listen).warnings


class TestEveryAddress:
    """``:8091`` is what people write who do not want to think of addresses."""

    @pytest.mark.parametrize("listen", [":0", "tcp:0:interface=\\:\\:"])
    def test_means_ipv4_and_ipv6(self, listen: str) -> None:
        """Whatever the system's habit is with sockets that are bound to ``::``."""
        reactor = SelectReactor()
        written = listen if listen != ":0" else listen_description(":1").replace(":1:", ":0:")
        Deferred.fromCoroutine(Listener("clients").open(reactor, written))
        (port,) = [one for one in reactor.getReaders() if isinstance(one, Port)]
        number = port.getHost().port
        try:
            for host in ("127.0.0.1", "::1"):
                socket.create_connection((host, number), timeout=5).close()
        finally:
            port.connectionLost(Failure(ConnectionDone()))


class TestANameWithoutAnAddress:
    """The network, or its names, may come up after the node."""

    def open(self, reactor: MemoryReactorClock, patience_s: float) -> Deferred[None]:
        return Deferred.fromCoroutine(
            Listener("peers").open(reactor, "no-such-host.invalid:8089", patience_s=patience_s)
        )

    def test_is_waited_for_and_told(self) -> None:
        """As long as a join is, with a line each five seconds."""
        reactor = MemoryReactorClock()
        with capturedLogs() as events:
            opened = self.open(reactor, 12.0)
            reactor.pump([0.5] * 22)
            assert not opened.called
            reactor.pump([0.5] * 4)
        failures: list[Failure] = []
        opened.addErrback(failures.append)
        assert "--rlisten" in failures[0].getErrorMessage()
        told = [event["left"] for event in events if "has no address" in event["log_format"]]
        assert told == [12.0, 7.0, 2.0]

    def test_is_listened_on_when_it_has_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a restart."""
        reactor = MemoryReactorClock()
        opened = self.open(reactor, 12.0)
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_more: found)
        reactor.advance(0.5)
        assert opened.called
        assert reactor.tcpServers[0][3] == "127.0.0.1"


class TestACrowd:
    """After a failover all clients of a service come at the same moment."""

    CLIENTS = 200

    def come(self, listen: str, patience_s: float) -> None:
        """Connect as many to a door whose reactor gets no turn to accept one of them."""
        reactor = SelectReactor()
        Deferred.fromCoroutine(Listener("clients").open(reactor, listen))
        (port,) = [one for one in reactor.getReaders() if isinstance(one, Port)]
        address = ("127.0.0.1", port.getHost().port)
        with ExitStack() as held:
            held.callback(port.connectionLost, Failure(ConnectionDone()))
            for _ in range(self.CLIENTS):
                held.enter_context(socket.create_connection(address, timeout=patience_s))

    def test_all_get_through_while_the_node_is_busy(self) -> None:
        """The kernel keeps them all: one that is dropped comes back up to a second later."""
        self.come("tcp:0:interface=127.0.0.1", patience_s=5)

    def test_who_names_a_backlog_gets_it(self) -> None:
        """An operator's own word in the description counts."""
        with pytest.raises(TimeoutError):
            self.come("tcp:0:backlog=1:interface=127.0.0.1", patience_s=0.3)


class Counting(Factory):
    """Counts whom it lets in."""

    noisy = False
    count = 0

    def buildProtocol(self, addr: IAddress | None) -> Protocol:  # Twisted's name
        del addr
        self.count += 1
        return Protocol()


class TestAFlood:
    """More connections than a pass of the reactor can take."""

    def test_is_taken_a_few_at_a_time(self) -> None:
        """However long it lasts: what else happens in a pass does not wait for all of them."""
        reactor = SelectReactor()
        door, inside = Listener("peers"), Counting()
        Deferred.fromCoroutine(door.open(reactor, "tcp:0:interface=127.0.0.1"))
        door.lead_to(inside)
        (port,) = [one for one in reactor.getReaders() if isinstance(one, Port)]
        address = ("127.0.0.1", port.getHost().port)
        with ExitStack() as held:
            held.callback(port.connectionLost, Failure(ConnectionDone()))
            for _ in range(10 * ACCEPTS_MAX):
                held.enter_context(socket.create_connection(address, timeout=5))
            for passes in range(1, 11):
                port.doRead()
                assert inside.count == passes * ACCEPTS_MAX
            for one in reactor.removeAll():
                if one is not port:
                    one.connectionLost(Failure(ConnectionDone()))
