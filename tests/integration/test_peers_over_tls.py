"""Nodes that prove themselves to each other with certificates, and strangers that cannot."""

from __future__ import annotations

import socket
import ssl
import time
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
        of_first = "its certificate comes from CN=another, an authority that is not in ca.pem"
        of_stranger = of_first.replace("another", "the group's authority")
        cluster.wait_until("a complaint", lambda: of_first in first.log)
        cluster.wait_until("a complaint", lambda: of_stranger in stranger.log)
        assert "[(" not in first.log + stranger.log, "OpenSSL's errors are told in words"
        assert stranger.get("secret") in {None, ""}
        roles = {m["id"]: m["role"] for m in first.status()["members"]}
        assert roles.get(stranger.name, "learner") == "learner"
        cluster.put("still", "there")

    def test_says_whose_certificate_has_expired(self, cluster: Cluster, tmp_path: Path) -> None:
        """Its own log at the start, and the others' with the day."""
        authority = Authority()
        good = authority.issue(tmp_path / "good", name="good")
        old = authority.issue(tmp_path / "old", name="old", days=(-9, -2))
        first = cluster.node("--peer-tls", str(good)).start()
        cluster.leader()
        late = cluster.node("--peer-tls", str(old), join=first).start()
        cluster.wait_until("a word at the start", lambda: "CN=old expired on" in late.log)
        cluster.wait_until("a word of the other", lambda: "CN=old expired on" in first.log)
        cluster.wait_until("what it is told", lambda: "it says that this node's" in late.log)
        assert "[(" not in first.log + late.log

    def test_takes_no_node_that_nobody_could_dial(self, cluster: Cluster, tmp_path: Path) -> None:
        """It refuses to start: its certificate is for another host than its --raddr."""
        authority = Authority()
        first = cluster.node("--peer-tls", str(authority.issue(tmp_path / "a"))).start()
        cluster.leader()
        other = authority.issue(tmp_path / "b", ip="127.0.0.9")
        lost = cluster.node("--peer-tls", str(other), join=first).start()
        assert lost.wait() == 1
        assert "is for 127.0.0.9, not for 127.0.0.1, the host in --raddr" in lost.log
        assert len(first.status()["members"]) == 1

    def test_reads_nothing_of_who_shows_none(self, cluster: Cluster, tls: Path) -> None:
        """Neither in clear nor with TLS; the node does not mind."""
        first = cluster.node("--peer-tls", str(tls)).start()
        cluster.leader()
        address = ("127.0.0.1", first.raft_port)
        for said, heard in (
            (b"\x00\x06_answer\x00\x0123\x00\x00", "it speaks no TLS"),
            (b"GET / HTTP/1.1\r\n\r\n", "it speaks HTTP"),
        ):
            for _ in range(3):
                with socket.create_connection(address, 10.0) as plain:
                    plain.sendall(said)
                    assert _ends(plain)
            assert first.log.count(heard) == 1
        context = ssl.create_default_context(cafile=str(tls / "ca.pem"))
        with (
            socket.create_connection(address, 10.0) as raw,
            context.wrap_socket(raw, server_hostname="127.0.0.1") as anonymous,
        ):
            assert _ends(anonymous)
        assert "it has shown no certificate" in first.log
        assert "[(" not in first.log
        cluster.put("still", "there")
        assert "Traceback" not in first.log


class TestANodeWithoutThem:
    """The peer port in clear."""

    def test_says_what_it_met(self, cluster: Cluster) -> None:
        """TLS and HTTP are told as such, once each, and ended at once."""
        first = cluster.node().start()
        cluster.leader()
        address = ("127.0.0.1", first.raft_port)
        for said, heard in (
            (b"\x16\x03\x01\x02\x00\x01", "it speaks TLS"),
            (b"\x16\x01", "it speaks TLS"),
            (b"GET / HTTP/1.1\r\n\r\n", "it speaks HTTP"),
            (b"PRI * HTTP/2.0\r\n\r\n", "it speaks HTTP"),
        ):
            begun_s = time.monotonic()
            with socket.create_connection(address, 10.0) as plain:
                plain.sendall(said)
                assert _ends(plain)
            assert time.monotonic() - begun_s < 0.9, "before the time for Hello is over"
            assert first.log.count(heard) == 1


def _ends(connection: socket.socket) -> bool:
    """Whether the other side hangs up, having said nothing but perhaps a TLS alert."""
    try:
        while said := connection.recv(4096):
            assert said[0] == 0x15, "an alert, or nothing"
    except (ssl.SSLError, ConnectionError):
        return True
    return True
