"""A connection that sends at once: the bytes, their order, and its end are as Twisted's."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, cast

import pytest
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.tcp import Connector, Port, Server
from twisted.internet.testing import MemoryReactor

from raftdb.reactor.immediate_write import (
    ImmediateClient,
    ImmediateServer,
    make_prompt,
    prompt_reactor,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from twisted.internet.interfaces import IReactorFDSet


class Selectables:
    """A reactor that only remembers who wants to write."""

    def __init__(self) -> None:
        self.writers: list[object] = []

    def addReader(self, reader: object) -> None:  # noqa: N802  # Twisted's name
        """Never read."""

    def removeReader(self, reader: object) -> None:  # noqa: N802  # Twisted's name
        """Never read."""

    def addWriter(self, writer: object) -> None:  # noqa: N802  # Twisted's name
        """Remember it."""
        if writer not in self.writers:
            self.writers.append(writer)

    def removeWriter(self, writer: object) -> None:  # noqa: N802  # Twisted's name
        """Forget it."""
        if writer in self.writers:
            self.writers.remove(writer)


class Other(Server):
    """What somebody else's port makes."""


class Pulls:
    """A producer that is asked for each piece."""

    def __init__(self, server: ImmediateServer) -> None:
        self._server = server
        self.left = 3

    def resumeProducing(self) -> None:
        """Write one piece."""
        if self.left:
            self.left -= 1
            self._server.write(b"piece")

    def stopProducing(self) -> None:
        """Write no more."""


class Ends:
    """Both ends of one connection."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        self.reactor = Selectables()
        port, reactor = cast("Port", None), cast("IReactorFDSet", self.reactor)
        self.server = ImmediateServer(ours, Protocol(), ("127.0.0.1", 1), port, 1, reactor)

    def turn(self) -> object:
        """Do what the reactor does when the socket is writable."""
        return self.server.doWrite() if self.reactor.writers else None

    def received(self) -> bytes:
        """Return what has come by now."""
        self.theirs.setblocking(False)
        data = b""
        try:
            while piece := self.theirs.recv(1 << 20):
                data += piece
        except BlockingIOError:
            pass
        return data


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A connection."""
    both = Ends()
    yield both
    both.server.socket.close()
    both.theirs.close()


class TestWriting:
    """What the kernel takes leaves in the same call."""

    def test_leaves_at_once_and_asks_the_reactor_for_nothing(self, ends: Ends) -> None:
        """Call after call."""
        for data in (b"one ", b"two ", b""):
            ends.server.write(data)
        assert ends.received() == b"one two "
        assert ends.reactor.writers == []

    def test_what_does_not_fit_follows_in_order(self, ends: Ends) -> None:
        """However it is cut, and whatever is written meanwhile."""
        data = bytes(range(256)) * 4096
        ends.server.write(data)
        assert ends.reactor.writers == [ends.server]
        ends.server.write(b"the end")
        ends.server.writeSequence([b", ", b"really"])
        came = b""
        while ends.reactor.writers:
            came += ends.received()
            ends.turn()
        assert came + ends.received() == data + b"the end, really"

    def test_a_sequence_is_not_overtaken(self, ends: Ends) -> None:
        """It waits for its turn, so what is written after it does."""
        ends.server.writeSequence([b"a", b"b"])
        ends.server.write(b"c")
        ends.turn()
        assert ends.received() == b"abc"

    def test_an_end_of_the_other_side_is_left_to_the_reactor(self, ends: Ends) -> None:
        """The writer, in the middle of something, hears nothing of it."""
        ends.theirs.close()
        ends.server.write(b"into the void")
        assert isinstance(ends.turn(), Exception)

    def test_a_producer_that_waits_to_be_asked_is_asked(self, ends: Ends) -> None:
        """By the reactor, which only comes round if something is left for it."""
        producer = Pulls(ends.server)
        ends.server.registerProducer(producer, False)
        while producer.left:
            assert ends.reactor.writers
            ends.turn()
        ends.turn()
        assert ends.received() == b"piece" * 3

    def test_the_last_words_come_before_the_end(self, ends: Ends) -> None:
        """Closing by half."""
        ends.server.write(b"last words")
        ends.server.loseWriteConnection()
        ends.server.write(b" of all")
        ends.turn()
        assert ends.theirs.recv(100) == b"last words of all"
        assert ends.theirs.recv(100) == b""


class TestMakingPortsPrompt:
    """Only those whose connections are Twisted's own for TCP."""

    def test_tcp_is_made_prompt_and_others_stay(self) -> None:
        """Whatever else an endpoint may bring."""
        port = Port(0, Factory())
        assert port.transport is Server
        make_prompt(port)
        assert port.transport is ImmediateServer
        port.transport = Other
        make_prompt(port)
        assert port.transport is Other


class TestDialling:
    """Connections that are dialled send at once, too."""

    def test_the_reactors_connections_are_prompt(self) -> None:
        """As soon as it begins to make one."""
        prompt = cast("IReactorTCP", prompt_reactor(SelectReactor()))
        connector = prompt.connectTCP("127.0.0.1", 1, ClientFactory())
        assert isinstance(connector, Connector)
        assert isinstance(connector.transport, ImmediateClient)
        connector.stopConnecting()

    def test_other_reactors_stay_as_they_are(self) -> None:
        """What they make need not be a socket."""
        reactor = MemoryReactor()
        assert prompt_reactor(reactor) is reactor
