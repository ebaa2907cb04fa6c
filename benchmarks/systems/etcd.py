"""etcd as Debian packages it, through its JSON gateway; three nodes, default options."""

from __future__ import annotations

import base64
import http.client
import json
import re
import shutil
import subprocess
from pathlib import Path

from benchmarks.processes import Process
from benchmarks.systems.base import NODES
from benchmarks.systems.http import Ask, HTTPSystem, Load, json_of
from raftdb.cli.ports import free_ports

QUOTA_BYTES = 8 * 1024**3
"""Of the data file: the default of 2 GiB might be reached, because nothing is compacted here."""


class Etcd(HTTPSystem):
    """Three nodes of etcd."""

    name = "etcd"
    dialect = "etcd"
    loads = {  # noqa: RUF012  # never changed
        "write": Load("write"),
        "write10": Load("write", keys=10),
        "write100": Load("write", keys=100),
        "serializable": Load("serializable", leader=False),
        "linearizable": Load("linearizable"),
    }
    operations = frozenset(loads)

    def __init__(self, directory: Path, *, bulk: bool = False) -> None:
        super().__init__(directory, bulk=bulk)
        ports = free_ports(2 * NODES)
        self.addresses = [f"127.0.0.1:{port}" for port in ports[:NODES]]
        self._peers = [f"http://127.0.0.1:{port}" for port in ports[NODES:]]

    @classmethod
    def missing(cls) -> str | None:
        """Look for the program."""
        if shutil.which("etcd"):
            return None
        return "etcd is not installed and is left out; on Debian: apt install etcd-server"

    @classmethod
    def version(cls) -> str:
        """Ask the program."""
        etcd = shutil.which("etcd")
        assert etcd is not None
        told = subprocess.run([etcd, "--version"], capture_output=True, text=True, check=True)  # noqa: S603  # no input
        found = re.search(r"etcd Version: (\S+)", told.stdout)
        return found[1] if found else "of unknown version"

    def spawn(self, number: int) -> Process:
        """Start a node."""
        client = f"http://{self.addresses[number]}"
        peers = ",".join(f"node{n}={url}" for n, url in enumerate(self._peers))
        return Process(
            [
                shutil.which("etcd") or "etcd",
                f"--name=node{number}",
                f"--data-dir={self.directory / f'node{number}'}",
                f"--listen-client-urls={client}",
                f"--advertise-client-urls={client}",
                f"--listen-peer-urls={self._peers[number]}",
                f"--initial-advertise-peer-urls={self._peers[number]}",
                f"--initial-cluster={peers}",
                f"--quota-backend-bytes={QUOTA_BYTES}",
                "--log-level=error",
                "--logger=zap",
                "--log-outputs=stderr",
            ],
            self.directory / f"node{number}.log",
        )

    def find_leader(self) -> int | None:
        """Ask every node for its own id and the leader's."""
        members, leaders = {}, set()
        for number in self.running:
            status, body = self.ask(number, Ask("POST", "/v3/maintenance/status", "{}"))
            told = json_of(body)
            if status != http.client.OK or "leader" not in told:
                return None
            header = told["header"]
            assert isinstance(header, dict)
            members[header["member_id"]] = number
            leaders.add(told["leader"])
        return members.get(leaders.pop()) if len(leaders) == 1 else None

    def ask_write(self, name: str, value: str) -> Ask:
        """Put it."""
        return Ask(
            "POST", "/v3/kv/put", json.dumps({"key": base64_of(name), "value": base64_of(value)})
        )

    def ask_copy(self, name: str) -> Ask:
        """Ask for a serializable range of one key."""
        return Ask(
            "POST", "/v3/kv/range", json.dumps({"key": base64_of(name), "serializable": True})
        )

    def shows(self, body: bytes, value: str) -> bool:
        """Look for it."""
        return f'"value":"{base64_of(value)}"'.encode() in body


def base64_of(text: str) -> str:
    """Return the form in which the gateway takes and gives bytes."""
    return base64.b64encode(text.encode()).decode()
