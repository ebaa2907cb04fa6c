"""Ports for nodes that are started here."""

from __future__ import annotations

import socket

import pytest

from raftdb.cli.ports import HIGHEST, LOWEST, free_ports


class TestFreePorts:
    """Nobody listens there, and no connection will end there."""

    def test_are_free_and_different(self) -> None:
        """All of them can be bound at once."""
        ports = free_ports(50)
        assert len(set(ports)) == 50
        assert all(LOWEST <= port <= HIGHEST for port in ports)

    def test_a_port_in_use_is_passed_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever else listens on this host."""
        (port,) = free_ports(1)
        monkeypatch.setattr("raftdb.cli.ports.LOWEST", port)
        monkeypatch.setattr("raftdb.cli.ports.HIGHEST", port)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", port))
            with pytest.raises(OSError, match="are free"):
                free_ports(1)
