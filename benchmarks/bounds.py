"""Whether memory, log and disk stay below what is documented while clients write all they can.

``python -m benchmarks.bounds DIRECTORY`` starts three nodes there, lets clients write values of each
size to a few keys over and over again, and prints the most that any node took. Exits with 1 where
that is more than ``docs/operations.md`` says.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

from raftdb.cli.ports import free_ports

MiB = 1024 * 1024
SNAPSHOT_BYTES = HISTORY_BYTES = 64 * MiB
SEGMENT_BYTES = 16 * MiB
LAGGING = 4


class Most(NamedTuple):
    """The most that a node took, in bytes; and seconds."""

    memory: int
    log: int
    disk: int
    stall_s: float


class Node:
    """One node under twistd."""

    def __init__(self, directory: Path, name: str, join: str = "") -> None:
        self.directory = directory / name
        self.http, self.raft = free_ports(2)
        self.log = (directory / f"{name}.log").open("wb")
        twistd = Path(sys.executable).with_name("twistd")
        command = [
            *(str(twistd), "-n", f"--pidfile={directory / name}.pid", "raftdb", f"--id={name}"),
            *(f"--haddr=127.0.0.1:{self.http}", f"--raddr=127.0.0.1:{self.raft}"),
            *([f"--join={join}"] if join else []),
            str(self.directory),
        ]
        self.process = subprocess.Popen(  # noqa: S603  # a command of our own making
            command, stdout=self.log, stderr=subprocess.STDOUT
        )

    def status(self) -> dict[str, object]:
        """Return what the node says of itself, nothing where it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.http}/api/status", timeout=5) as r:
                answer: dict[str, object] = json.load(r)
                return answer
        except OSError:
            return {}

    def took(self) -> Most:
        """Measure it now."""
        status = self.status()
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        memory = int(text.split("VmRSS:")[1].split()[0]) * 1024
        disk = sum(_blocks(path) for path in self.directory.rglob("*"))
        return Most(
            memory, int(str(status.get("log_bytes", 0))), disk,
            float(str(status.get("event_loop_stall_max_s", 0))),
        )  # fmt: skip

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait(30)
        self.log.close()


class Writer(threading.Thread):
    """Writes one key over and over again."""

    def __init__(self, port: int, key: str, size: int, ends_s: float) -> None:
        super().__init__()
        self._port, self._key, self._size, self._ends_s = port, key, size, ends_s
        self.written = self.refused = 0

    def run(self) -> None:
        """Write until it is time."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        value = bytes(self._size)
        while time.monotonic() < self._ends_s:
            try:
                connection.request("PUT", f"/api/kv?key={self._key}", body=value)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                time.sleep(0.05)
                continue
            if answer.status == 200:
                self.written += 1
            else:
                self.refused += 1
                time.sleep(0.02)


def main() -> int:
    """Measure each size; say whether all that is promised holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--sizes", default="100,65536,1572000", help="of values, in bytes")
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    held = [_measure(options, int(size)) for size in options.sizes.split(",")]
    return 0 if all(held) else 1


def _measure(options: argparse.Namespace, size: int) -> bool:
    directory = options.directory / str(size)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    first = Node(directory, "n1")
    nodes = [first]
    try:
        _until(lambda: first.status().get("role") == "leader")
        nodes += [Node(directory, name, f"127.0.0.1:{first.http}") for name in ("n2", "n3")]
        _until(lambda: all(node.status().get("leader") for node in nodes))
        return _load(options, size, nodes)
    finally:
        for node in nodes:
            node.stop()


def _load(options: argparse.Namespace, size: int, nodes: list[Node]) -> bool:
    begin_s = time.monotonic()
    ends_s = begin_s + options.seconds
    writers = [Writer(nodes[0].http, f"k{n}", size, ends_s) for n in range(options.clients)]
    for writer in writers:
        writer.start()
    most = [Most(0, 0, 0, 0.0)] * len(nodes)
    half: list[Most] = []
    written_before = 0
    idle_s = 0.0
    while time.monotonic() < ends_s:
        time.sleep(1)
        most = [_larger(old, node.took()) for old, node in zip(most, nodes, strict=True)]
        if not half and time.monotonic() > begin_s + options.seconds / 2:
            half = most
        written = sum(writer.written for writer in writers)
        idle_s = idle_s + 1 if written == written_before else 0.0
        written_before = written
    for writer in writers:
        writer.join()
    written = sum(writer.written for writer in writers)
    refused = sum(writer.refused for writer in writers)
    print(
        f"{size} B x {options.clients}: {written} written"
        f" ({written * size / options.seconds / 1e6:.1f} MB/s), {refused} refused"
    )
    bound = _bound(size * options.clients)
    held = idle_s < 5
    for node, now, then in zip(nodes, most, half, strict=True):
        took = (now.memory, now.log, now.disk)
        held = held and all(map(int.__le__, took, (bound.memory, bound.log, bound.disk)))
        print(
            f"  {node.directory.name}: memory {now.memory >> 20} MiB (of {bound.memory >> 20};"
            f" at half time {then.memory >> 20}), log {now.log >> 20} (of {bound.log >> 20};"
            f" {then.log >> 20}), disk {now.disk >> 20} (of {bound.disk >> 20};"
            f" {then.disk >> 20}), stall {now.stall_s * 1000:.0f} ms,"
            f" snapshot {node.status().get('snapshot_index')}"
        )
    print("  below the bounds" if held else "  ABOVE THE BOUNDS", flush=True)
    return held


def _larger(one: Most, other: Most) -> Most:
    return Most(
        max(one.memory, other.memory),
        max(one.log, other.log),
        max(one.disk, other.disk),
        max(one.stall_s, other.stall_s),
    )


def _bound(state: int) -> Most:
    """Return what docs/operations.md says; stalls are told, for they are the machine's, too."""
    log = 2 * LAGGING * SNAPSHOT_BYTES
    snapshots = 3 * (state + HISTORY_BYTES)
    memory = 65 * MiB + 2 * (state + HISTORY_BYTES) + log + 10 * state  # requests, appends, buffers
    return Most(memory, log, log + 3 * SEGMENT_BYTES + snapshots, 0.0)


def _until(condition: object, patience_s: float = 30.0) -> None:
    assert callable(condition)
    ends_s = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > ends_s:
            raise TimeoutError("the nodes do not come up; read their logs")
        time.sleep(0.1)


def _blocks(path: Path) -> int:
    try:
        return path.stat().st_blocks * 512
    except OSError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
