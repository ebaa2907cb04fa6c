"""The files that ``--peer-tls`` names: what is wrong with them is said before anything starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from raftdb.errors import InvalidRequest
from raftdb.service.peer_tls import PeerTLS
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
