"""The command ``raftdb`` against real nodes, and the demonstration as its users run it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

import pytest

from raftdb.cli.acknowledged import Ledger
from raftdb.client import Client
from tests.integration.conftest import wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Cluster, Daemon

ROOT = Path(__file__).resolve().parents[2]


def raftdb(*arguments: str, given: bytes = b"", temporary: Path | None = None) -> tuple[int, str]:
    """Run one command; return its exit code and what it printed."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    if temporary is not None:
        environ["TMPDIR"] = str(temporary)
    done = subprocess.run(
        [sys.executable, "-m", "raftdb.cli", *arguments],
        cwd=ROOT,
        env=environ,
        input=given,
        capture_output=True,
        check=False,
        timeout=300,
    )
    return done.returncode, (done.stdout + done.stderr).decode()


def _printing_to(out: IO[bytes], *arguments: str) -> tuple[int, int]:
    """Run one command that prints there; return its exit code and how many lines it complained."""
    done = subprocess.run(
        [sys.executable, "-m", "raftdb.cli", *arguments],
        cwd=ROOT,
        stdout=out,
        stderr=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    return done.returncode, len(done.stderr.splitlines())


@pytest.fixture(name="node")
def node_fixture(cluster: Cluster) -> Daemon:
    """Return one node that leads itself."""
    node = cluster.node().start()
    cluster.leader()
    return node


class TestCommands:
    """What a shell script needs: the value on standard output, the outcome as the exit code."""

    def test_put_get_delete(self, node: Daemon) -> None:
        """Keys are any text, values any bytes."""
        at = f"--endpoint={node.http}"
        assert raftdb("put", at, "a/b ☃", "snow") == (0, "")
        assert raftdb("get", at, "a/b ☃", "--level=consistent") == (0, "snow")
        assert raftdb("put", at, "raw", "-", given=b"from\nstdin") == (0, "")
        assert raftdb("get", at, "raw") == (0, "from\nstdin")
        assert raftdb("delete", at, "raw") == (0, "")
        code, text = raftdb("get", at, "raw")
        assert (code, "no key" in text) == (1, True)
        code, text = raftdb("delete", at, "raw")
        assert (code, "no key" in text) == (1, True)

    def test_status_is_json(self, node: Daemon) -> None:
        """As the node tells it."""
        code, text = raftdb("status", f"--endpoint={node.http}")
        assert code == 0
        assert '"role": "leader"' in text

    def test_bench_measures_and_leaves_nothing_behind(self, node: Daemon) -> None:
        """Reads and writes both happen; afterwards the store is as it was."""
        arguments = (
            "--seconds=0.5",
            "--connections=3",
            "--keys=20",
            "--level=consistent",
            "--json",
        )
        code, text = raftdb("bench", f"--host={node.http}", *arguments)
        assert code == 0
        told, _ = json.JSONDecoder().raw_decode(text)
        assert told["read"]["operations"] > 0
        assert told["write"]["p99_ms"] > 0
        assert told["all"]["errors"] == {}
        beginning = text[text.index("all beginning ") :].split()[2]
        assert raftdb("get", f"--endpoint={node.http}", f"{beginning}00000000")[0] == 1

    def test_nobody_there_is_a_refusal(self, cluster: Cluster) -> None:
        """A write that could not be sent surely did not happen."""
        absent = cluster.node()
        code, text = raftdb("put", f"--endpoint={absent.http}", "--timeout=0.5", "k", "v")
        assert code == 4
        assert absent.http in text
        assert raftdb("get", f"--endpoint={absent.http}", "--timeout=0.5", "k")[0] == 4

    def test_each_endpoint_tells_its_reason(self, cluster: Cluster) -> None:
        """One list with commas, a line's end of a foreign script behind it."""
        one, other = cluster.node(), cluster.node()
        at = f"--endpoint={one.http},{other.http}\r"
        code, text = raftdb("put", at, "--timeout=0.5", "k", "v")
        assert code == 4
        assert one.http in text
        assert other.http in text

    @pytest.mark.parametrize("address", ["[::1]:1", "my_kv_1.invalid:8091", "https://my_kv_1:1"])
    def test_what_never_left_leaves_no_doubt(self, address: str) -> None:
        """Addresses that IDNA knows nothing of."""
        code, text = raftdb("put", "-e", address, "--timeout=0.5", "k", "v")
        assert code == 4
        assert "unknown" not in text
        assert address.removeprefix("https://") in text

    def test_a_node_at_an_ipv6_address_is_reached(self, cluster: Cluster) -> None:
        """By the command, by a node that joins through it, and by whom it redirects."""
        first = cluster.node()
        first.flags = ("--haddr", f"[::1]:{first.http_port}")
        first.start()
        second = cluster.node("--join", f"[::1]:{first.http_port}").start()
        cluster.wait_until("two voters", lambda: len(second.status().get("members", [])) == 2)
        assert raftdb("put", "-e", f"[::1]:{first.http_port}", "k", "v") == (0, "")
        assert raftdb("put", "-e", second.http, "l", "w") == (0, "")
        assert raftdb("get", "-e", f"http://[::1]:{first.http_port}/", "l") == (0, "w")

    def test_tls_where_there_is_none_is_told(self, node: Daemon) -> None:
        """The handshake came to nothing, so nothing was written."""
        code, text = raftdb("put", f"-e=https://{node.http}", "--timeout=1", "k", "v")
        assert code == 4
        assert "a port without TLS takes http:// alone" in text

    def test_an_output_that_takes_nothing_is_told(self, node: Daemon) -> None:
        """By codes of their own: a missing key is something else."""
        at = f"--endpoint={node.http}"
        assert raftdb("put", at, "k", "v")[0] == 0
        read_end, write_end = os.pipe()
        os.close(read_end)
        with open("/dev/full", "wb") as full, os.fdopen(write_end, "wb") as closed:  # noqa: PTH123  # a device
            for command in (("get", at, "k"), ("status", at)):
                assert _printing_to(full, *command) == (5, 1)
                assert _printing_to(closed, *command) == (141, 0)

    def test_bench_without_a_cluster_tells_the_error_alone(self, cluster: Cluster) -> None:
        """No table of zeros."""
        code, text = raftdb("bench", f"-e={cluster.node().http}", "--timeout=0.5")
        assert code == 4
        assert "refused" in text
        assert "max ms" not in text
        assert "deleted" not in text

    def test_a_read_at_the_peer_port_leaves_no_doubt(self, node: Daemon) -> None:
        """Nothing changes by reading; the message names the likely mistake."""
        at = f"--endpoint=127.0.0.1:{node.raft_port}"
        for arguments in (("get", at, "k"), ("status", at)):
            code, text = raftdb(*arguments, "--timeout=0.5")
            assert code == 4
            assert "unknown" not in text
            assert "--haddr" in text
        assert raftdb("put", at, "k", "v", "--timeout=0.5")[0] == 3


class TestLedger:
    """The comparison that the demonstration stands on must be able to fail."""

    def test_one_differing_key_is_found(self, node: Daemon) -> None:
        """Also a missing one; and a node that does not answer is no success."""
        ledger = Ledger(cast("Client", None))  # it only compares here
        ledger.acknowledged = {f"k{n}": "v" for n in range(250)}
        for key in ledger.acknowledged:
            node.ask("PUT", f"/api/kv?key={key}", b"v")
        seen: list[int] = []
        assert ledger.difference(node.http, seen.append) is None
        assert sum(seen) == 200
        node.ask("PUT", "/api/kv?key=k200", b"other")
        assert "'k200'" in str(ledger.difference(node.http, seen.append))
        node.ask("DELETE", "/api/kv?key=k100")
        assert "'k100'" in str(ledger.difference(node.http, seen.append))
        node.kill()
        assert "did not answer" in str(ledger.difference(node.http, seen.append))


@pytest.mark.slow
class TestDemo:
    """``make demo ONCE=1``, without make."""

    def test_tells_its_story_and_cleans_up(self, tmp_path: Path) -> None:
        """Exit code 0, every node compared, nothing left behind."""
        code, text = raftdb("demo", "--once", temporary=tmp_path)
        assert code == 0, text
        for name in ("node01", "node02", "node03"):
            assert f"{name} holds all" in text
        assert "one state everywhere" in text
        assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
class TestInterruptedDemo:
    """Whatever ends it leaves no node and, where it can, no file behind."""

    NODES_UP = b"all three vote"
    STOPPING = b"stopping the nodes"

    def interrupt(self, base: Path, at: bytes, *numbers: signal.Signals) -> int:
        """Start it, send signals once it has printed ``at``; return its exit code."""
        with subprocess.Popen(
            [sys.executable, "-m", "raftdb.cli", "demo", "--once"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(base)},
            stdout=subprocess.PIPE,
        ) as demo:
            assert demo.stdout is not None
            said = b""
            while at not in said:
                more = os.read(demo.stdout.fileno(), 65536)
                assert more, said
                said += more
            for number in numbers:
                demo.send_signal(number)
                time.sleep(0.05)
            demo.stdout.read()
            return demo.wait()

    def nodes(self, base: Path) -> list[str]:
        """Return the command lines of processes that work in ``base``."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                found.append(path.read_bytes().replace(b"\0", b" ").decode())
        return [line for line in found if str(base) in line]

    def test_a_signal_while_it_cleans_up_changes_nothing(self, tmp_path: Path) -> None:
        """All was well, and the directory goes."""
        ends = (signal.SIGINT, signal.SIGTERM)
        assert self.interrupt(tmp_path, self.STOPPING, *ends) == 0
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_amid_it_cleans_up(self, tmp_path: Path, number: signal.Signals) -> None:
        """Also a terminal that is closed, and somebody impatient."""
        assert self.interrupt(tmp_path, self.NODES_UP, number, number) == 130
        assert list(tmp_path.iterdir()) == []
        assert self.nodes(tmp_path) == []

    def test_a_kill_takes_the_nodes_along(self, tmp_path: Path) -> None:
        """They notice by themselves that nobody holds them any more."""
        assert self.interrupt(tmp_path, self.NODES_UP, signal.SIGKILL) == -signal.SIGKILL
        wait_until("the end of all nodes", lambda: not self.nodes(tmp_path))
