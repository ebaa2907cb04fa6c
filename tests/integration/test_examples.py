"""The programs in examples/ do what they say, against three real nodes."""

from __future__ import annotations

import http.client
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from raftdb.cli.ports import free_ports
from tests.integration.conftest import wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Cluster

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(name: str, *arguments: str) -> str:
    """Run an example to its end, and return what it printed."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@contextmanager
def running(name: str, *arguments: str, log: Path) -> Iterator[None]:
    """Run an example that does not end by itself."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / name), *arguments], stdout=output, stderr=output
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)


class TestTheExamples:
    """Each against the same cluster, one leader's death in between."""

    def test_all_of_them(self, cluster: Cluster, tmp_path: Path) -> None:
        """What they keep is kept."""
        trio = cluster.three()
        nodes = ",".join(node.http for node in trio)
        assert run("counter.py", nodes, "door-a", "3") == "door-a: 3\n"
        assert run("cache.py", nodes, "page") == "made: <h1>page</h1>\n"
        assert run("job_queue.py", nodes, "give", "one", "two") == "job 0: one\njob 1: two\n"
        cluster.leader().kill()
        assert run("counter.py", nodes, "door-a") == "door-a: 4\n"
        assert run("job_queue.py", nodes, "take") == "did 0: one\ndid 1: two\n"
        assert run("job_queue.py", nodes, "take") == ""
        cluster.wait_until_equal()
        assert run("cache.py", nodes, "page") == "cached: <h1>page</h1>\n"
        self.check_settings(cluster, nodes, tmp_path / "config")
        self.check_service(nodes, tmp_path / "service")

    def check_settings(self, cluster: Cluster, nodes: str, log: Path) -> None:
        """A change reaches the program without a restart."""
        with running("config_loader.py", nodes, log=log):
            for value in ("hello", "good bye"):
                cluster.put("config/greeting", value)
                line = f"greeting = {value}\n"
                wait_until("the setting", partial(self.has, log, line))

    def has(self, log: Path, line: str) -> bool:
        return line in log.read_text()

    def check_service(self, nodes: str, log: Path) -> None:
        """A name leads where it was put."""
        (port,) = free_ports(1)
        with running("web_service.py", nodes, str(port), log=log):
            wait_until("the service", lambda: "serving on" in log.read_text())
            answers = []
            for method, name, body in (
                ("PUT", "docs", b"https://docs.python.org"),
                ("GET", "docs", None),
                ("GET", "nothing", None),
            ):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                connection.request(method, f"/{name}", body)
                reply = connection.getresponse()
                answers.append((reply.status, reply.getheader("Location")))
                connection.close()
            assert answers == [(201, None), (302, "https://docs.python.org"), (404, None)]
