"""The command line and the environment: what is understood, and what is refused with a reason."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.python.usage import UsageError

from raftdb.node import Settings
from raftdb.storage.batch import extent_for
from raftdb.storage.durable import RECORD_BYTES_MAX
from raftdb.storage.segment import HEADER_BYTES
from raftdb.tap import Options

ROOT = Path(__file__).resolve().parents[2]


def parse(*arguments: str, **environ: str) -> Settings:
    options = Options(environ)
    options.parseOptions(list(arguments))
    return options.settings


def complaint(*arguments: str, **environ: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(*arguments, **environ)
    return str(caught.value)


class TestDefaults:
    """What holds where nothing is said."""

    def test_the_addresses_are_the_older_programs(self) -> None:
        """Its users' commands go on working."""
        settings = parse("data")
        assert settings.http_address == "localhost:8091"
        assert settings.raft_address == "localhost:8089"
        assert settings.join == ()
        assert settings.id is None
        assert settings.data_dir == Path("data")

    def test_the_times_are_those_of_a_local_network(self) -> None:
        """A tick of 50 ms, a heartbeat of 100, elections after 400 to 800."""
        settings = parse("data")
        assert settings.tick_s == pytest.approx(0.05)
        assert settings.heartbeat_ticks == 2
        assert settings.election_ticks == 8
        assert settings.election_timeout_s == pytest.approx(0.4)

    def test_the_heartbeat_scales_the_election_timeout(self) -> None:
        """One option is enough for a wide-area network."""
        assert parse("--heartbeat", "500", "data").election_timeout_s == pytest.approx(2.0)

    def test_an_election_timeout_is_rounded_up_to_ticks(self) -> None:
        """Never shorter than asked for."""
        assert parse("--election-timeout", "410", "data").election_timeout_s == pytest.approx(0.45)


class TestEnvironment:
    """Every option can come from there."""

    def test_it_fills_in_what_the_command_line_leaves_out(self) -> None:
        """Names in capitals, dashes as underscores."""
        settings = parse(
            RAFTDB_ID="node07",
            RAFTDB_HADDR="a:1",
            RAFTDB_ELECTION_TIMEOUT="1000",
            RAFTDB_JOIN="b:1, c:1",
            RAFTDB_DATADIR="/data",
        )
        assert settings.id == "node07"
        assert settings.http_address == "a:1"
        assert settings.election_timeout_ms == 1000
        assert settings.join == ("b:1", "c:1")
        assert settings.data_dir == Path("/data")

    def test_the_command_line_wins(self) -> None:
        """Also for the directory and for --join, which replaces and does not add."""
        settings = parse(
            "--haddr", "b:2", "--join", "d:1", "here",
            RAFTDB_HADDR="a:1", RAFTDB_JOIN="b:1", RAFTDB_DATADIR="/data",
        )  # fmt: skip
        assert settings.http_address == "b:2"
        assert settings.join == ("d:1",)
        assert settings.data_dir == Path("here")

    def test_empty_counts_as_unset(self) -> None:
        """Compose files set variables they have no value for."""
        assert parse("data", RAFTDB_JOIN="", RAFTDB_HADDR=" ").http_address == "localhost:8091"

    def test_every_option_has_a_variable(self) -> None:
        """Whatever --help lists, with a value it refuses."""
        names = [name for name, *_ in Options.optParameters if name != "id"]
        for name in names:
            variable = f"RAFTDB_{name.upper().replace('-', '_')}"
            assert complaint("data", **{variable: "\x00"}), name


class TestJoin:
    """Several addresses."""

    def test_by_commas_and_by_repetition(self) -> None:
        """In the order given."""
        assert parse("--join", "a:1,b:1", "--join", "c:1", "data").join == ("a:1", "b:1", "c:1")

    def test_a_scheme_may_say_https(self) -> None:
        """For clusters behind TLS."""
        assert parse("--join", "https://a:1", "data").join == ("https://a:1",)


class TestComplaints:
    """A bad option is named, with what would be right."""

    @pytest.mark.parametrize(
        ("arguments", "expected"),
        [
            ((), "a DATADIR is needed"),
            (("a", "b"), "one DATADIR"),
            (("--id", "a b", "d"), "cannot be a member's id"),
            (("--join", "", "d"), "--join: the address is missing"),
            (("--join", " , ", "d"), "--join: the address is missing"),
            (("--haddr", "h", "d"), "--haddr: 'h' is no address"),
            (("--raddr", "r", "d"), "--raddr: 'r' is no address"),
            (("--join", "j:0", "d"), "--join: 'j:0' is no endpoint"),
            (("--hlisten", "h", "d"), "--hlisten: 'h' is no address"),
            (("--rlisten", "r", "d"), "--rlisten: 'r' is no address"),
            (("--haddr", "a:1", "--raddr", "a:1", "d"), "--haddr and --raddr must differ"),
            (("--hlisten", ":1", "--rlisten", ":1", "d"), "--haddr and --raddr must differ"),
            (("--segment-bytes", "1099511627776", "d"), "--segment-bytes must be at most"),
            (("--request-timeout", "inf", "d"), "--request-timeout must be above 0"),
            (("--id", "", "d"), "cannot be a member's id"),
            (("--haddr", "localhost", "d"), "must be host:port"),
            (("--raddr", "localhost:0", "d"), "must be host:port"),
            (("--join", "::1", "d"), "one is HOST:PORT, [IPV6]:PORT"),
            (("--hlisten", "nowhere", "d"), "must be host:port"),
            (("--rdial", "tcp:localhost:1", "d"), "{host} and {port}"),
            (("--rdial", "{", "d"), "{host} and {port}"),
            (("--heartbeat", "fast", "d"), "--heartbeat must be a number"),
            (("--heartbeat", "1", "d"), "--heartbeat must be from 2 to 10000"),
            (("--heartbeat", "86400000", "d"), "--heartbeat must be from 2 to 10000"),
            (("--peer-tls", "nowhere", "d"), "--peer-tls: nowhere is no directory"),
            (("--election-timeout", "60001", "d"), "--election-timeout must be at most 60000"),
            (
                ("--peer-tls", ".", "--rdial", "tls:{host}:{port}", "d"),
                "--peer-tls puts TLS on top of --rdial",
            ),
            (("--election-timeout", "150", "d"), "at least two heartbeats (200 ms)"),
            (("--snapshot-entries", "0", "d"), "--snapshot-entries must be at least 1"),
            (("--connections", "-1", "d"), "--connections must be at least 1"),
            (("--body-bytes", "99999999", "d"), "--body-bytes must be at most"),
            (
                ("--segment-bytes", "1000000", "d"),
                "--segment-bytes: a segment must have a multiple of 512 bytes and more than 4096, not 1000000",
            ),
            (("--segment-bytes", "1048576", "d"), "must hold --body-bytes"),
            (("--join-timeout", "0", "d"), "--join-timeout must be above 0"),
            (("--request-timeout", "nan", "d"), "--request-timeout must be above 0"),
            (("--http-lane", "slow", "d"), "--http-lane must be fast or stock"),
            (("--log-writer", "ring", "d"), "--log-writer must be auto or thread"),
            (("--follower-reads", "no", "d"), "--follower-reads must be redirect or serve"),
            (("--nonsense", "d"), "nonsense"),
        ],
    )
    def test_of(self, arguments: tuple[str, ...], expected: str) -> None:
        """One example per rule."""
        assert expected in complaint(*arguments)


class TestNesting:
    """What is inside one limit fits the next [R30]."""

    @pytest.mark.parametrize("segment_bytes", ["262144", "1048576", "16777216"])
    def test_a_full_append_fits_an_empty_segment(self, segment_bytes: str) -> None:
        """Else a follower with an empty disk would drop it for ever, and never catch up."""
        settings = parse("--segment-bytes", segment_bytes, "--body-bytes", "32768", "d")
        need = extent_for(settings.append_bytes_max + RECORD_BYTES_MAX)
        room = settings.segment_bytes - HEADER_BYTES - settings.storage_limits.reserve_bytes
        assert settings.append_bytes_max > 32768
        assert need <= room


class TestMakeService:
    """twistd forks between building and starting."""

    def test_it_makes_no_thread_file_or_socket_and_sets_the_clock(self, tmp_path: Path) -> None:
        """In a process of its own, for the reactor's clock is global."""
        script = (
            "import os, sys, threading, time\n"
            "from raftdb import tap\n"
            "from twisted.internet import reactor\n"
            "options = tap.Options({})\n"
            "options.parseOptions(['--id', 'a', '--join', 'b:1', 'data'])\n"
            "fds = lambda: os.path.isdir('/proc/self/fd') and sorted(os.listdir('/proc/self/fd'))\n"
            "before = fds()\n"
            "service = tap.makeService(options)\n"
            "boottime_s = lambda: time.clock_gettime(getattr(time, 'CLOCK_BOOTTIME', 1))\n"
            "assert abs(reactor.seconds() - boottime_s()) < 1\n"
            "assert not reactor.getDelayedCalls()\n"
            "assert abs(reactor.callLater(5, int).getTime() - boottime_s() - 5) < 1\n"
            "assert threading.active_count() == 1\n"
            "assert os.listdir('.') == []\n"
            "assert fds() == before\n"
            "from raftdb.node import Node\n"
            "print(isinstance(service, Node))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert done.stdout == "True\n", done.stderr


class TestTheReactorsClock:
    """It counts the time in which a machine was suspended; Python's monotonic clock does not."""

    def test_it_differs_from_the_monotonic_one_by_what_was_slept(self) -> None:
        """A time namespace gives a process the clocks of a machine that slept for 1,000,000 s."""
        script = (
            "import time\n"
            "from raftdb.node import running_seconds\n"
            "print(round(running_seconds()() - time.monotonic(), -3))\n"
        )
        unshare = ("unshare", "--user", "--map-root-user", "--time", "--boottime", "1000000")
        command = (*unshare, "--fork", sys.executable, "-c", script)
        try:
            subprocess.run((*unshare, "--fork", "true"), check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no time namespace can be made here: {error}")
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert float(done.stdout) >= 1_000_000, done.stderr


class TestWildcards:
    """What stands for every address is for listening, not for telling others."""

    @pytest.mark.parametrize("option", ["haddr", "raddr"])
    @pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "0", "[::ffff:0.0.0.0]", "[0:0::0]"])
    def test_are_no_advertised_address(self, option: str, host: str) -> None:
        """The message names the option that was looked for."""
        message = complaint(f"--{option}", f"{host}:8099", "data")
        assert f"--{option}" in message
        assert f"--{option[0]}listen :8099" in message

    def test_may_be_listened_on(self) -> None:
        """In every way of writing them."""
        for listen in ("0.0.0.0:8091", "[::]:8091", ":8091"):
            assert parse("--hlisten", listen, "data").http_listen == listen


class TestBehindTheDirectory:
    """twistd reads options up to the first word that is none."""

    def test_an_option_there_is_told_as_such(self) -> None:
        """Not counted as a second directory."""
        assert "options come before DATADIR: move --id" in complaint("data", "--id", "x")


class TestUnknownVariables:
    """A misspelt variable would leave its default in place, in silence."""

    def test_the_likely_one_is_named(self) -> None:
        """Those of the client, and of other programs, are left alone."""
        environ = {
            "RAFTDB_HADRR": "a:1",
            "RAFTDB_ENDPOINTS": "a:1",
            "RAFTDB_ID": "n",
            "PATH": "/",
            "RAFTDB_XYZZY_Q": "",
        }
        assert Options(environ).doubts() == [
            "RAFTDB_HADRR is no option and is ignored; RAFTDB_HADDR is meant?",
            "RAFTDB_XYZZY_Q is no option and is ignored",
        ]
