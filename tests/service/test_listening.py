"""A port that nobody else can reach is not opened in silence."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactor
from twisted.logger import LogLevel, capturedLogs

from raftdb.service.listening import Door

SHORT = "127.1"
"""A name as far as raftdb can tell; every resolver takes it for 127.0.0.1, asking nobody."""


class Opened:
    """A door opened on a reactor that only remembers what was asked of it, and what it warned of."""

    def __init__(self, listen: str) -> None:
        reactor = MemoryReactor()
        with capturedLogs() as events:
            Deferred.fromCoroutine(Door("peers").open(reactor, listen))
        assert reactor.tcpServers
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
