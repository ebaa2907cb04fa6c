"""Nodes that prove themselves to each other with certificates, and strangers that cannot."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.certificates import Authority

if TYPE_CHECKING:
    from tests.integration.conftest import Cluster


@pytest.fixture
def tls(tmp_path: Path) -> Path:
    """A directory for ``--peer-tls``."""
    return Authority().issue(tmp_path / "tls")


class TestAGroupWithCertificates:
    """Everything goes on as without; but nobody else comes in."""

    def test_works_and_survives_its_leader(self, cluster: Cluster, tls: Path) -> None:
        """Joining, replication, an election and a catch-up, all over TLS."""
        cluster.three("--peer-tls", str(tls))
        cluster.put("before", "1")
        dead = cluster.leader()
        dead.kill()
        cluster.put("after", "2")
        dead.start()
        cluster.wait_for_voters(3)
        cluster.wait_until_equal()
        assert [one.get("after") for one in cluster.nodes] == ["2"] * 3

    def test_believes_no_certificate_of_another_authority(
        self, cluster: Cluster, tls: Path, tmp_path: Path
    ) -> None:
        """It is asked in over HTTP, and gets nothing and no vote; both sides say why."""
        first = cluster.node("--peer-tls", str(tls)).start()
        cluster.leader()
        cluster.put("secret", "1")
        foreign = Authority("another").issue(tmp_path / "foreign")
        stranger = cluster.node("--peer-tls", str(foreign), join=first).start()
        cluster.wait_until("a complaint", lambda: "certificate" in first.log)
        cluster.wait_until("a complaint", lambda: "certificate" in stranger.log)
        assert stranger.get("secret") in {None, ""}
        roles = {m["id"]: m["role"] for m in first.status()["members"]}
        assert roles.get(stranger.name, "learner") == "learner"
        cluster.put("still", "there")

    def test_reads_nothing_of_who_shows_none(self, cluster: Cluster, tls: Path) -> None:
        """Neither in clear nor with TLS; the node does not mind."""
        first = cluster.node("--peer-tls", str(tls)).start()
        cluster.leader()
        address = ("127.0.0.1", first.raft_port)
        with socket.create_connection(address, 10.0) as plain:
            plain.sendall(b"\x00\x04_ask\x00\x0123\x00\x00")
            assert _ends(plain)
        context = ssl.create_default_context(cafile=str(tls / "ca.pem"))
        with (
            socket.create_connection(address, 10.0) as raw,
            context.wrap_socket(raw, server_hostname="127.0.0.1") as anonymous,
        ):
            assert _ends(anonymous)
        cluster.put("still", "there")
        assert "Traceback" not in first.log


def _ends(connection: socket.socket) -> bool:
    """Whether the other side hangs up, having said nothing but perhaps a TLS alert."""
    try:
        while said := connection.recv(4096):
            assert said[0] == 0x15, "an alert, or nothing"
    except (ssl.SSLError, ConnectionError):
        return True
    return True
