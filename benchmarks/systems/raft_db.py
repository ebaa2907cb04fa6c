"""raftdb as it is run: three nodes under ``twistd``, default options."""

from __future__ import annotations

import http.client
import json
import sys
from pathlib import Path
from urllib.parse import quote

from benchmarks.processes import Process
from benchmarks.systems.base import NODES, ROOT
from benchmarks.systems.http import Ask, HTTPSystem, Load, json_of
from raftdb import __version__
from raftdb.cli.ports import free_ports


class RaftDB(HTTPSystem):
    """Three nodes of this tree."""

    name = "raftdb"
    dialect = "raftdb"
    loads = {  # noqa: RUF012  # never changed
        "write": Load("write"),
        "write10": Load("write", keys=10),
        "write100": Load("write", keys=100),
        "stale": Load("stale", leader=False),
        "default": Load("default"),
        "consistent": Load("consistent"),
    }
    operations = frozenset(loads)

    def __init__(self, directory: Path, *, bulk: bool = False) -> None:
        super().__init__(directory, bulk=bulk)
        ports = free_ports(2 * NODES)
        self.addresses = [f"127.0.0.1:{port}" for port in ports[:NODES]]
        self._raft = [f"127.0.0.1:{port}" for port in ports[NODES:]]

    @classmethod
    def missing(cls) -> str | None:
        """Nothing can be."""
        return None

    @classmethod
    def version(cls) -> str:
        """Return what is measured."""
        return __version__

    def spawn(self, number: int) -> Process:
        """Start a node with the flags that are always the same."""
        pid_file = self.directory / f"{number}.pid"
        pid_file.unlink(missing_ok=True)  # a killed twistd leaves its own behind
        return Process(
            [
                sys.executable,
                str(Path(sys.executable).with_name("twistd")),
                "--nodaemon",
                f"--pidfile={pid_file}",
                "raftdb",
                f"--id=node{number}",
                f"--haddr={self.addresses[number]}",
                f"--raddr={self._raft[number]}",
                *([f"--join={self.addresses[0]}"] if number else []),
                str(self.directory / f"node{number}"),
            ],
            self.directory / f"node{number}.log",
            environment={"PYTHONPATH": str(ROOT)},  # this tree, whatever is installed
        )

    def find_leader(self) -> int | None:
        """Ask every node whom it follows, and whether all have a vote."""
        leaders = []
        for number in self.running:
            status = self.status(number)
            members = status.get("members", [])
            assert isinstance(members, list)
            if sum(member["role"] in {"leader", "voter"} for member in members) != NODES:
                return None
            leaders.append(status["leader"])
        names = [f"node{number}" for number in self.running]
        agreed = leaders[0] in names and leaders == leaders[:1] * len(names)
        return int(str(leaders[0])[4:]) if agreed else None

    def status(self, number: int) -> dict[str, object]:
        """Return what a node says of itself; nothing where it does not answer."""
        status, body = self.ask(number, Ask("GET", "/api/status"))
        return json_of(body) if status == http.client.OK else {}

    def ask_write(self, name: str, value: str) -> Ask:
        """POST it."""
        return Ask("POST", "/key", json.dumps({name: value}))

    def ask_copy(self, name: str) -> Ask:
        """Read it with level=stale."""
        return Ask("GET", f"/key/{quote(name)}?level=stale")

    def shows(self, body: bytes, value: str) -> bool:
        """Look for it: values are plain."""
        return f'"{value}"'.encode() in body
