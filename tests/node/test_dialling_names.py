"""A name is dialled at all its addresses, and refuses only where all of them do."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, DNSLookupError, NoRouteError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from raftdb.node.dialling import ADDRESSES_MAX, EveryAddress

V4, V6 = "192.0.2.1", "2001:db8::1"
PACE_S = 0.05


class Street:
    """Addresses that answer when the test says so, and a name server in its hands."""

    def __init__(self, *addresses: str) -> None:
        self.clock = Clock()
        self.nameResolver = self
        self.receivers: list[Any] = []
        self.attempts: dict[str, Deferred[IProtocol]] = {}
        self.cancelled: list[str] = []
        self.found: list[Any] = []
        self.host = EveryAddress(
            self.clock,
            self,  # type: ignore[arg-type]  # all of it that is asked for
            "n1",
            endpoint=lambda address: Door(self, address),  # type: ignore[arg-type,return-value]  # same
            pace_s=PACE_S,
        )
        self.ends = self.dial()
        if addresses:
            self.resolve(*addresses)

    def dial(self) -> list[object]:
        ends: list[object] = []
        self.connecting = self.host.connect(Factory.forProtocol(Protocol)).addBoth(ends.append)
        return ends

    def resolveHostName(self, receiver: Any, host: str) -> None:  # noqa: N802  # Twisted's name
        assert host == "n1"
        self.receivers.append(receiver)

    def resolve(self, *addresses: str) -> None:
        receiver = self.receivers.pop()
        for address in addresses:
            kind = IPv6Address if ":" in address else IPv4Address
            receiver.addressResolved(kind("TCP", address, 0))
        receiver.resolutionComplete()

    def fail(self, address: str, error: Exception) -> None:
        self.attempts.pop(address).errback(error)

    def answer(self, address: str) -> Protocol:
        protocol = Protocol()
        protocol.makeConnection(StringTransport())
        self.attempts.pop(address).callback(protocol)
        return protocol

    @property
    def error(self) -> type[BaseException]:
        (end,) = self.ends
        assert isinstance(end, Failure)
        assert end.value is not None
        return type(end.value)


class Door:
    """One address."""

    def __init__(self, street: Street, address: str) -> None:
        self._street, self._address = street, address

    def connect(self, _: object) -> Deferred[IProtocol]:
        street, address = self._street, self._address
        street.attempts[address] = Deferred(lambda _: street.cancelled.append(address))
        return street.attempts[address]


class TestANameWithSeveralAddresses:
    """The first that answers wins."""

    def test_is_dialled_at_its_ipv4_address_first(self) -> None:
        """That is the one which who listens on a name prefers."""
        street = Street(V6, V4)
        assert list(street.attempts) == [V4]
        assert street.ends == []

    def test_goes_to_the_next_at_once_where_one_fails(self) -> None:
        """A refusal is no reason to wait."""
        street = Street(V6, V4)
        street.fail(V4, Refused())
        protocol = street.answer(V6)
        assert street.ends == [protocol]

    def test_goes_to_the_next_after_a_moment_where_one_is_silent(self) -> None:
        """And takes whichever answers; the other attempt ends."""
        street = Street(V4, V6)
        street.clock.advance(PACE_S)
        protocol = street.answer(V6)
        assert street.ends == [protocol]
        assert street.cancelled == [V4]
        assert street.clock.getDelayedCalls() == []

    def test_ends_with_the_attempt(self) -> None:
        """Cancelled as a whole: no address is dialled any more."""
        street = Street(V4, V6)
        street.connecting.cancel()
        street.clock.advance(10)
        assert street.cancelled == [V4]
        assert list(street.attempts) == [V4]


class TestARefusal:
    """Evidence that nobody listens there any more [R10]."""

    def test_takes_all_addresses(self) -> None:
        """Each of them refuses."""
        street = Street(V4, V6)
        street.fail(V4, Refused())
        assert street.ends == []
        street.fail(V6, Refused())
        assert street.error is Refused

    @pytest.mark.parametrize("silent", [V4, V6])
    def test_is_none_where_one_address_failed_otherwise(self, silent: str) -> None:
        """Its process may be alive behind that one."""
        street = Street(V4, V6)
        street.clock.advance(PACE_S)
        street.fail(V6 if silent == V4 else V4, Refused())
        assert street.ends == []
        street.fail(silent, ConnectError("host unreachable"))
        assert street.error is ConnectError

    def test_stands_where_the_rest_cannot_be_dialled_from_here_at_all(self) -> None:
        """A host without IPv6 says nothing of an IPv6 address."""
        street = Street(V4, V6)
        street.fail(V4, Refused())
        street.fail(V6, NoRouteError())
        assert street.error is Refused

    def test_is_none_without_any(self) -> None:
        """No route is no refusal."""
        street = Street(V4)
        street.fail(V4, NoRouteError())
        assert street.error is NoRouteError


class TestAName:
    """As its server knows it."""

    def test_without_addresses_is_told(self) -> None:
        """In words, and tried again by who dials."""
        street = Street()
        street.resolve()
        assert street.error is DNSLookupError

    def test_is_asked_for_once_at_a_time(self) -> None:
        """A server that hangs holds one thread, however often the name is dialled."""
        street = Street()
        for _ in range(10):
            street.connecting.cancel()
            street.ends = street.dial()
        assert len(street.receivers) == 1
        street.resolve(V4)
        assert list(street.attempts) == [V4]
        protocol = street.answer(V4)
        assert street.ends == [protocol]

    def test_is_asked_for_anew_each_time(self) -> None:
        """A node that has moved is found."""
        street = Street(V4)
        street.fail(V4, Refused())
        street.ends = street.dial()
        street.resolve(V6)
        assert list(street.attempts) == [V6]

    def test_with_a_thousand_addresses_is_dialled_at_some(self) -> None:
        """Whoever answers for the name does not decide what an attempt may cost."""
        street = Street(*(f"192.0.2.{number}" for number in range(200)))
        street.clock.pump([PACE_S] * 300)
        assert len(street.attempts) == ADDRESSES_MAX
