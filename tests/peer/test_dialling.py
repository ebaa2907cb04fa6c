"""A dialer over Twisted's own TCP endpoint, which ends in a way of its own when it is cancelled."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.testing import MemoryReactorClock

from raftdb.peer.dialer import Dialer
from raftdb.peer.handshake import Kind
from raftdb.peer.limits import PeerLimits
from raftdb.raft.types import MemberID

if TYPE_CHECKING:
    from tests.peer.conftest import Town

LIMITS = PeerLimits()


class Dialling:
    """A dialer whose connection attempts nobody answers."""

    def __init__(self) -> None:
        self.reactor: Any = MemoryReactorClock()  # its Clock half is not declared to zope
        self.failures: list[Exception] = []
        self.dialer = Dialer(
            self.reactor,
            LIMITS,
            Random(1),
            endpoint=TCP4ClientEndpoint(self.reactor, "10.0.0.1", 8089),
            build=lambda: pytest.fail("nobody answers"),
            member=MemberID("b", 1),
            kind=Kind.CONTROL,
            failed=self.failures.append,
            lost=lambda _: None,
        )
        self.dialer.start()


class TestAnAttemptThatNobodyAnswers:
    """What a partition looks like to a dialer."""

    def test_is_told_as_a_timeout(self) -> None:
        """And not as an unknown error whose text is an address."""
        dialling = Dialling()
        dialling.reactor.advance(LIMITS.connect_timeout_s)
        assert [type(error) for error in dialling.failures] == [TimeoutError]
        dialling.reactor.advance(0)
        assert len(dialling.reactor.tcpClients) == 2

    def test_ends_with_the_dialer(self) -> None:
        """1. The peer is removed while it is dialled. 2. Nobody dials it any more, ever."""
        dialling = Dialling()
        dialling.dialer.stop()
        for _ in range(100):
            dialling.reactor.advance(LIMITS.heartbeat_s)
        assert dialling.failures == []
        assert len(dialling.reactor.tcpClients) == 1
        assert dialling.reactor.getDelayedCalls() == []


class TestThePace:
    """How soon and how often a member is dialled."""

    def test_of_a_member_that_refuses(self, town: Town) -> None:
        """At once, then after an eighth of a heartbeat, doubling up to one, each with jitter."""
        a = town.build("a")
        begun: list[float] = []
        connect = town.wires.dial

        def dial(*arguments: Any) -> None:
            begun.append(town.clock.seconds())
            connect(*arguments)

        vars(town.wires)["dial"] = dial
        dialling = Dialler(town, a.local.raft_address.replace("a", "b"))
        town.run(2)
        dialling.dialer.stop()
        heartbeat_s = LIMITS.heartbeat_s
        gaps = [after - before for before, after in pairwise(begun)]
        for gap, backoff_s in zip(gaps, (0, 1 / 8, 1 / 4, 1 / 2, 1, 1, 1, 1), strict=False):
            least_s = backoff_s * heartbeat_s
            most_s = least_s + (heartbeat_s / 4 if backoff_s else 0)
            assert least_s - 0.001 <= gap <= most_s + 0.005, gaps
        assert len(gaps) > 8

    def test_of_one_whose_connections_live_and_end(self, town: Town) -> None:
        """Each time at once: it has been well, and nothing is known against it."""
        a, b = town.meet("a", "b")
        for _ in range(6):
            town.run(1)
            for each in a.transport._registry.of(b.member):
                each.abort()
            town.run(0.01)
            assert len(a.transport._registry.of(b.member)) == 4


class TestEvidence:
    """What a redial says of a process [R10]."""

    def test_of_a_machine_that_is_silent_comes_after_two_redials(self, town: Town) -> None:
        """And says nothing; that its address refuses later is told no more.

        1. A machine is cut off; two redials are lost. 2. It comes back without the process.
        """
        a, b = town.meet("a", "b")
        town.run(0.3)
        town.wires.part("a", "b")
        for each in a.transport._registry.of(b.member):
            each.abort()
        town.run(2 * LIMITS.connect_timeout_s + 0.05)
        assert a.links_lost == [(b.member, False)]
        town.wires.kill("b")
        town.wires.rejoin("a", "b")
        town.run(1)
        assert a.links_lost == [(b.member, False)]


class Dialler:
    """A dialer of its own in a town."""

    def __init__(self, town: Town, address: str) -> None:
        self.dialer = Dialer(
            town.clock,
            LIMITS,
            Random(1),
            endpoint=town.wires.endpoint("a", address),
            build=lambda: pytest.fail("nobody answers"),
            member=MemberID("b", 1),
            kind=Kind.CONTROL,
            failed=lambda _: None,
            lost=lambda _: None,
        )
        self.dialer.start()
