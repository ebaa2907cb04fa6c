"""Clients over TLS, as an operator makes it with an endpoint description and any HTTPS client asks."""

from __future__ import annotations

import http.client
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from tests.certificates import Authority

if TYPE_CHECKING:
    from tests.integration.conftest import Cluster


class TestHTTPS:
    """What ``--hlisten ssl:…`` serves."""

    def test_is_spoken_with_every_client(self, cluster: Cluster, tmp_path: Path) -> None:
        """Whether it names no protocol, ours, or ours behind another, as curl does."""
        tls = Authority().issue(tmp_path / "tls")
        node = cluster.node()
        listen = f"ssl:{node.http_port}:interface=127.0.0.1"
        node.start("--hlisten", f"{listen}:privateKey={tls}/node.key:certKey={tls}/node.pem")
        cluster.wait_until("the port", lambda: "listening for clients" in node.log)
        for protocols in ([], ["http/1.1"], ["h2", "http/1.1"]):
            context = ssl.create_default_context(cafile=str(tls / "ca.pem"))
            if protocols:
                context.set_alpn_protocols(protocols)
            address = ("127.0.0.1", node.http_port)
            connection = http.client.HTTPSConnection(*address, timeout=10, context=context)
            connection.request("GET", "/livez")
            assert connection.getresponse().status == 200, protocols
            connection.close()
