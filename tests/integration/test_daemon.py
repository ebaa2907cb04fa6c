"""The node as a process among others: signals, pid files, the background, what twistd is told."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.conftest import PATIENCE_S, ROOT, wait_until

if TYPE_CHECKING:
    from tests.integration.conftest import Cluster, Daemon

TWISTD = str(Path(sys.executable).with_name("twistd"))


def twistd(*arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run twistd until it, or the process in front of its daemon, has ended."""
    return subprocess.run(
        [TWISTD, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def flags(one: Daemon) -> tuple[str, ...]:
    """Return who the node is, on a command line."""
    raft = f"127.0.0.1:{one.raft_port}"
    return ("--id", one.name, "--haddr", one.http, "--raddr", raft, str(one.data))


class TestSignals:
    """Each does what people expect of a daemon, as often as it is sent."""

    @pytest.mark.parametrize("pause_s", [0.0, 0.02])
    def test_stopping_twice_is_stopping(self, cluster: Cluster, pause_s: float) -> None:
        """No traceback, whenever the second comes."""
        one = cluster.node().start()
        cluster.put("k", "v")
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            one.signal(number)
            time.sleep(pause_s)
        assert one.wait() in {-signal.SIGTERM, -signal.SIGINT}
        assert "Traceback" not in one.log
        assert "stopped" in one.log

    def test_a_hangup_stops_in_order(self, cluster: Cluster) -> None:
        """The leader hands over first, and says what it was that ended it."""
        cluster.three()
        leader = cluster.leader()
        leader.signal(signal.SIGHUP)
        assert leader.wait() == -signal.SIGHUP
        assert "Received SIGHUP" in leader.log
        assert "handing leadership over" in leader.log or "stopping as the leader" in leader.log
        assert "stopped" in leader.log

    def test_usr1_does_no_harm_in_the_foreground(self, cluster: Cluster) -> None:
        """There is no file to open anew, and the node goes on."""
        one = cluster.node().start()
        cluster.put("k", "v")
        one.signal(signal.SIGUSR1)
        cluster.wait_until("an answer to it", lambda: "no file of its own" in one.log)
        cluster.put("k", "w")


class TestFewDescriptors:
    """A limit on open files is raised, and where it cannot be, connections keep beneath it."""

    def started(self, cluster: Cluster, soft: int, hard: int) -> Daemon:
        one = cluster.node()
        one.program = ("/bin/sh", "-c", f'ulimit -Sn {soft}; ulimit -Hn {hard}; exec "$@"', "sh")
        one.program += (TWISTD,)
        return one.start()

    def crowd(self, one: Daemon, held: ExitStack, count: int) -> None:
        """Keep that many idle connections open."""
        for _ in range(count):
            held.enter_context(socket.create_connection(("127.0.0.1", one.http_port)))

    def test_the_soft_limit_is_raised(self, cluster: Cluster) -> None:
        """It is there for programs that use select, and a node does not."""
        one = self.started(cluster, 256, 4096)
        cluster.leader()
        assert one.process is not None
        limits = Path(f"/proc/{one.process.pid}/limits").read_text()
        assert any(
            "open files" in line and line.split()[3] == "4096" for line in limits.splitlines()
        )

    def test_idle_connections_do_not_take_the_files_of_the_log(self, cluster: Cluster) -> None:
        """Large writes go on, and new segments are made, under a hard limit of 256."""
        one = self.started(cluster, 256, 256)
        cluster.put("k", "v")
        assert "256 open files are allowed: " in one.log
        with ExitStack() as held:
            for number in range(8):  # on a connection of its own before the crowd comes
                big = b"x" * 1_000_000
                line = f"PUT /api/kv?key=k{number} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(big)}\r\n\r\n"
                writer = socket.create_connection(("127.0.0.1", one.http_port), timeout=PATIENCE_S)
                held.enter_context(writer)
                if number == 0:
                    self.crowd(one, held, 300)
                writer.sendall(line.encode())
                with suppress(ConnectionError):  # refused beyond the cap
                    writer.sendall(big)
                    writer.recv(100)
        wait_until("answers again", lambda: one.ask("GET", "/livez").status == 200)
        cluster.put("k", "w")
        assert one.runs
        assert "Too many open files" not in one.log

    def test_too_few_are_refused(self, cluster: Cluster) -> None:
        """With the number that is needed."""
        one = self.started(cluster, 128, 128)
        assert one.wait() == 1
        assert "128 open files are too few for a node: at least 208" in one.log


class TestInTheForeground:
    """``-n``: a supervisor, or a container, keeps the process."""

    def test_a_container_that_was_killed_starts_again(self, tmp_path: Path) -> None:
        """No pid file is kept that would name the first process of the next container."""
        (tmp_path / "twistd.pid").write_text(str(os.getpid()))  # somebody who is there
        done = twistd("-n", "raftdb", "data", cwd=tmp_path)
        assert "--id is needed" in done.stdout
        assert "Another twistd" not in done.stderr

    def test_a_pid_file_that_was_asked_for_is_kept(self, cluster: Cluster) -> None:
        """Also one with the name that twistd would have taken by itself."""
        one = cluster.node().start()
        cluster.leader()
        assert (cluster.base / f"{one.name}.pid").exists()
        (cluster.base / "twistd.pid").write_text(str(os.getpid()))
        done = twistd("-n", "--pidfile", "twistd.pid", "raftdb", "data", cwd=cluster.base)
        assert "Another twistd server is running" in done.stderr


class TestInTheBackground:
    """The command ends when the node serves, or has refused."""

    def test_exit_code_0_means_that_it_serves(self, cluster: Cluster) -> None:
        """The next command of a script can count on it."""
        one = cluster.node()
        one.foreground = False
        one.start()
        assert one.wait() == 0
        assert one.ask("GET", "/livez").status == 200

    @pytest.mark.parametrize("what", ["no id", "a locked directory", "a taken port"])
    def test_a_refusal_is_told_where_it_was_called(self, cluster: Cluster, what: str) -> None:
        """With the reason and exit code 1, not only in a log that nobody looks at."""
        one = cluster.node()
        arguments = flags(one)
        if what == "no id":
            expected, arguments = "--id is needed", arguments[2:]
        elif what == "a locked directory":
            expected = "in use by another process"
            one.start()
            cluster.leader()
            other = cluster.node()
            arguments = (*flags(other)[:-1], str(one.data))
        else:
            expected = "cannot listen for clients"
        with socket.socket() as taken:
            if what == "a taken port":
                taken.bind(("127.0.0.1", one.http_port))
                taken.listen()
            done = twistd("--pidfile=p.pid", "raftdb", *arguments, cwd=cluster.base)
        assert done.returncode == 1
        assert expected in done.stderr
        assert not (cluster.base / "p.pid").exists()

    def test_a_log_that_was_moved_away_is_begun_anew(self, cluster: Cluster) -> None:
        """``mv twistd.log old; kill -USR1``, and the new file may be read by who read the old one."""
        one = cluster.node()
        one.foreground = False
        one.start()
        assert one.wait() == 0
        log, old = cluster.base / "twistd.log", cluster.base / "old"
        mode = log.stat().st_mode
        log.rename(old)
        pid = int((cluster.base / f"{one.name}.pid").read_text())
        os.kill(pid, signal.SIGUSR1)
        wait_until("a new log", lambda: log.exists() and "opened anew" in log.read_text())
        assert log.stat().st_mode == mode
        os.kill(pid, signal.SIGTERM)
        wait_until("the end in it", lambda: "stopped" in log.read_text())
        assert "stopped" not in old.read_text()


class TestWrongUsage:
    """The mistake is the last thing on the screen but one line."""

    def test_an_error_stands_alone(self, tmp_path: Path) -> None:
        """Not under the whole help."""
        done = twistd("-n", "raftdb", "--hadr", "a:1", "data", cwd=tmp_path)
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            "raftdb: option --hadr not recognized",
            "All options: twistd raftdb --help",
        ]
        assert done.stdout == ""

    def test_a_misspelt_variable_is_told(self, tmp_path: Path) -> None:
        """Else the node would run with the default."""
        done = twistd("-n", "raftdb", "data", cwd=tmp_path, RAFTDB_HADRR="a:1")
        assert "RAFTDB_HADRR is no option and is ignored; RAFTDB_HADDR is meant?" in done.stdout


class TestTheLog:
    """What a tired person reads at night."""

    def test_of_a_life(self, cluster: Cluster) -> None:
        """Program and version first, milliseconds, short sources, nothing of Twisted's insides."""
        one = cluster.node().start()
        cluster.put("k", "v")
        one.stop()
        lines = one.log.splitlines()
        assert "[node] raftdb 0." in lines[0]
        assert len(lines[0].split(" ")[0].partition("T")[2]) == len("12:34:56.789+00:00")
        sources = {line.split("[")[1].partition("]")[0] for line in lines}
        assert sources <= {"node", "members", "storage", "raft", "peer", "http", "state"}
        assert "factory" not in one.log
