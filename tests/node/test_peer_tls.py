"""The files that ``--peer-tls`` names: what is wrong with them is said before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from OpenSSL import crypto
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory
from twisted.logger import LogLevel, capturedLogs, formatEvent

from raftdb.errors import InvalidRequest
from raftdb.node.peer_tls import PeerTLS
from raftdb.peer.handshake import HelloRefused, Refusal
from tests.certificates import Authority

Spoil = Callable[[Path], object]


class TestFiles:
    """Three files that belong together."""

    def test_are_read(self, tmp_path: Path) -> None:
        """As OpenSSL and most authorities write them."""
        PeerTLS(Authority().issue(tmp_path), "127.0.0.1")

    def test_may_hold_a_chain(self, tmp_path: Path) -> None:
        """Several authorities, and certificates between."""
        directory = Authority().issue(tmp_path / "one")
        other = Authority("another").issue(tmp_path / "two")
        for name in ("ca.pem", "node.pem"):
            whole = (directory / name).read_bytes() + (other / "ca.pem").read_bytes()
            (directory / name).write_bytes(whole)
        PeerTLS(directory, "127.0.0.1")

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda d: (d / "ca.pem").unlink(), "ca.pem cannot be read (No such file"),
            (lambda d: (d / "node.pem").unlink(), "node.pem cannot be read (No such file"),
            (lambda d: (d / "node.key").unlink(), "node.key cannot be read (No such file"),
            (lambda d: (d / "ca.pem").write_bytes(b""), "ca.pem holds no PEM certificate"),
            (
                lambda d: (d / "node.pem").write_bytes(b"x-----END CERTIFICATE-----"),
                "node.pem holds something that is no PEM certificate",
            ),
            (
                lambda d: (d / "node.key").write_bytes(b"secret"),
                "node.key holds no PEM private key",
            ),
            (
                lambda d: (d / "node.key").write_bytes(
                    (Authority().issue(d / "other") / "node.key").read_bytes()
                ),
                "node.key is not the key of",
            ),
        ],
    )
    def test_that_cannot_be_used(self, tmp_path: Path, spoil: Spoil, said: str) -> None:
        """Are named, with what is wrong."""
        directory = Authority().issue(tmp_path)
        spoil(directory)
        with pytest.raises(InvalidRequest) as caught:
            PeerTLS(directory, "127.0.0.1")
        assert said in str(caught.value)

    @pytest.mark.parametrize("host", ["127.0.0.2", "node02.example.org", "my_node", "::1"])
    def test_that_are_for_another_host(self, tmp_path: Path, host: str) -> None:
        """Nobody could dial this node: it says so instead of joining."""
        with pytest.raises(InvalidRequest, match=f"is for 127.0.0.1, not for {host}, the host in"):
            PeerTLS(Authority().issue(tmp_path), host)


class TestTheTime:
    """A certificate ends on a day that nobody has in mind."""

    @pytest.mark.parametrize(
        ("days", "level", "said"),
        [
            ((-30, -1), LogLevel.error, "the certificate of CN=node expired on "),
            ((1, 30), LogLevel.error, "the certificate of CN=node is not valid before "),
            ((-1, 13), LogLevel.warn, "the certificate of CN=node expires on "),
        ],
    )
    def test_is_told_at_the_start(
        self, tmp_path: Path, days: tuple[int, int], level: LogLevel, said: str
    ) -> None:
        """As an error where no peer will believe it any more, as a warning before."""
        with capturedLogs() as events:
            PeerTLS(Authority().issue(tmp_path, days=days), "127.0.0.1")
        (event,) = events
        assert event["log_level"] is level
        assert said in str(formatEvent(event))

    def test_is_not_mentioned_without_need(self, tmp_path: Path) -> None:
        """Two weeks are enough to renew one."""
        with capturedLogs() as events:
            PeerTLS(Authority().issue(tmp_path, days=(-1, 15)), "127.0.0.1")
        assert events == []


class TestACaller:
    """It must be possible to call it back."""

    def test_is_refused_with_a_certificate_for_another_host(self, tmp_path: Path) -> None:
        """Before it is admitted, so that it never gets entries, and never a vote."""
        ours = PeerTLS(Authority().issue(tmp_path), "127.0.0.1")
        shown = crypto.load_certificate(crypto.FILETYPE_PEM, (tmp_path / "node.pem").read_bytes())
        ours.check_caller(shown, "127.0.0.1")
        with pytest.raises(HelloRefused, match=r"is for 127.0.0.1, not for n2") as caught:
            ours.check_caller(shown, "n2")
        assert caught.value.refusal is Refusal.WRONG_CERTIFICATE


class TestWhoIsTurnedAway:
    """The transport takes no more connections, or is stopping."""

    def test_is_turned_away_behind_tls_as_well(self, tmp_path: Path) -> None:
        """Not let in with nobody to speak to."""
        tls = PeerTLS(Authority().issue(tmp_path), "127.0.0.1").listen(_Full())
        assert tls.buildProtocol(IPv4Address("TCP", "192.0.2.1", 1)) is None


class _Full(Factory):
    def buildProtocol(self, addr: IAddress | None) -> None:  # Twisted's name
        del addr
