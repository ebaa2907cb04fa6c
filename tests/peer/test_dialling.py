"""A dialer over Twisted's own TCP endpoint, which ends in a way of its own when it is cancelled."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.testing import MemoryReactorClock

from raftdb.peer.dialer import Dialer
from raftdb.peer.hello import Kind
from raftdb.peer.limits import PeerLimits
from raftdb.raft.types import MemberID

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
