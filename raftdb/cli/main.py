"""The command ``raftdb``: parses, calls, prints, and sets the exit code.

Exit codes: 0 done; 1 no such key; 2 wrong usage; 3 outcome unknown; 4 surely not done, which may be
tried again; 5 the output could not be written; 130 interrupted; 141 nobody reads the output.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Coroutine, Sequence
from io import StringIO
from random import Random
from typing import NoReturn, TypeVar, get_args

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react

from raftdb import __version__
from raftdb.cli.bench import PER_CLIENT, Bench, Plan, prefix, write_json, write_table
from raftdb.cli.cluster import Reactor
from raftdb.cli.demo import perform
from raftdb.cli.output import READER_GONE, OutputLost, complain, print_out
from raftdb.cli.steps import Story
from raftdb.client import Client
from raftdb.client.client import Level
from raftdb.errors import InvalidRequest, OutcomeUnknown, RaftDBError
from raftdb.outbound import http_origins
from raftdb.reactor.signals import stop_at_hangup, stop_more_than_once

T = TypeVar("T")

FAILED = 1
"""Of the demonstration."""
NO_KEY, USAGE, UNKNOWN, REFUSED, INTERRUPTED = 1, 2, 3, 4, 130
READS = ("get", "status")
"""Commands that change nothing: one without an answer leaves no doubt behind."""
COUNT_MAX = 1_000_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit."""
    options = _parser().parse_args(arguments)
    try:
        _read_value(options)
        _react(options)
    except KeyboardInterrupt:
        # It came before the reactor had its own way with signals.
        raise SystemExit(INTERRUPTED) from None


def _read_value(options: argparse.Namespace) -> None:
    """Read a value from the standard input, before the reactor runs, which could not be stopped."""
    if options.command == "put" and options.value == "-":
        options.value = sys.stdin.buffer.read()


def _react(options: argparse.Namespace) -> None:
    def run(reactor: Reactor) -> Deferred[None]:
        # All of Twisted's timers go by this clock, and they stop when a wall clock is set back.
        vars(reactor)["seconds"] = time.monotonic
        stop_more_than_once(reactor)
        stop_at_hangup(reactor)
        return _ended_by_signals(reactor, _command(reactor, options))

    react(run)


def _ended_by_signals(
    reactor: Reactor, command: Coroutine[Deferred[object], object, None]
) -> Deferred[None]:
    """Run ``command``; a signal cancels it, and the process waits until it has cleaned up."""
    ended: Deferred[None] = Deferred()
    running = Deferred.fromCoroutine(command)

    def end() -> Deferred[None]:
        running.cancel()
        return ended

    def finish(result: T) -> T:
        ended.callback(None)
        return result

    reactor.addSystemEventTrigger("before", "shutdown", end)
    return running.addBoth(finish)


async def _command(reactor: Reactor, options: argparse.Namespace) -> None:
    try:
        code = await _run(reactor, options)
    except CancelledError:
        code = INTERRUPTED
    if code:
        raise SystemExit(code)


class _Parser(argparse.ArgumentParser):
    """Tells wrong usage in two lines, the last of which says where there are more."""

    def error(self, message: str) -> NoReturn:
        """Exit."""
        complain(message)
        complain(f"see {self.prog} --help")
        raise SystemExit(USAGE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="raftdb",
        description="Talk to a raftdb cluster. A node is started by: twistd raftdb --help",
        epilog="exit codes: 0 done; 1 no such key; 2 wrong usage; 3 outcome unknown; 4 surely not"
        " done: no node could be reached, or all refused; 5 the output could not be written;"
        " 130 interrupted; 141 nobody reads the output",
    )
    parser.add_argument("--version", action="version", version=f"raftdb {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    demo = commands.add_parser("demo", help="three real nodes on loopback do real work")
    demo.add_argument("--once", action="store_true", help="exit at the end with 0 or 1")

    talk = _Parser(add_help=False)
    talk.add_argument(
        "-e",
        "--endpoint",
        "--host",
        action="append",
        type=_endpoints,
        metavar="HOST:PORT",
        help="a node's HTTP address; may be repeated, or several with commas; the port is 8091"
        " where none is given (default: localhost:8091)",
    )
    talk.add_argument("--timeout", type=_seconds, default=10.0, metavar="SECONDS")

    get = commands.add_parser("get", parents=[talk], help="print the value of a key")
    get.add_argument("key")
    get.add_argument("--level", choices=["stale", "default", "consistent"], default="default")
    put = commands.add_parser("put", parents=[talk], help="write a key")
    put.add_argument("key")
    put.add_argument("value", help="the value; - reads it from standard input")
    delete = commands.add_parser("delete", parents=[talk], help="delete a key")
    delete.add_argument("key")
    commands.add_parser("status", parents=[talk], help="print what a node knows, as JSON")
    _add_bench(commands.add_parser("bench", parents=[talk], help="measure a running cluster"))
    return parser


def _add_bench(bench: argparse.ArgumentParser) -> None:
    bench.description = (
        "Write and read keys under a prefix of its own, tell how long that took, delete them again."
    )
    bench.add_argument("--connections", type=_count, default=16, help="operations at a time (16)")
    bench.add_argument("--seconds", type=_seconds, default=10.0, help="how long (10)")
    bench.add_argument("--keys", type=_count, default=1_000, help="different keys (1000)")
    bench.add_argument("--value-bytes", type=_count, default=100, help="of each value (100)")
    bench.add_argument("--reads", type=_share, default=0.5, help="the share of reads (0.5)")
    bench.add_argument("--level", choices=get_args(Level), default="default", help="of the reads")
    bench.add_argument("--json", action="store_true", help="print the result as JSON")


def _endpoints(text: str) -> tuple[str, ...]:
    try:
        return http_origins(text)
    except InvalidRequest as wrong:
        raise argparse.ArgumentTypeError(str(wrong)) from wrong


def _seconds(text: str) -> float:
    """Read a time to wait: argparse turns the error into wrong usage, with the words given here."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= COUNT_MAX):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {COUNT_MAX:,}")
    return int(text)


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 1")
    return share


async def _run(reactor: Reactor, options: argparse.Namespace) -> int:
    if options.command == "demo":
        return 0 if await perform(reactor, once=options.once) else FAILED
    try:
        if options.command == "bench":
            return await _bench(reactor, options)
        client = _client(reactor, options)
        try:
            return await _talk(client, options)
        finally:
            await client.close()
    except OutputLost as lost:
        if lost.code != READER_GONE:
            complain(str(lost))
        return lost.code
    except RaftDBError as error:
        return _told(error, is_read=options.command in READS)


def _told(error: RaftDBError, *, is_read: bool) -> int:
    """Say what went wrong; return the exit code that says it to a script."""
    if isinstance(error, OutcomeUnknown) and not is_read:
        complain(f"the outcome is unknown: {error}")
        return UNKNOWN
    complain(str(error))
    return USAGE if isinstance(error, InvalidRequest) else REFUSED


def _client(reactor: Reactor, options: argparse.Namespace) -> Client:
    several = options.endpoint or [("localhost:8091",)]
    return Client(reactor, [one for some in several for one in some], timeout_s=options.timeout)


async def _bench(reactor: Reactor, options: argparse.Namespace) -> int:
    """Measure; what was found until an interruption or an error is printed as well."""
    rng = Random()
    plan = Plan(
        connections=options.connections,
        seconds=options.seconds,
        keys=options.keys,
        value_bytes=options.value_bytes,
        reads=options.reads,
        level=options.level,
        prefix=prefix(rng),
    )
    clients = [_client(reactor, options) for _ in range(0, plan.connections, PER_CLIENT)]
    bench = Bench(reactor, clients, plan, story=Story(sys.stderr), rng=rng)
    try:
        await bench.run()
    finally:
        for client in clients:
            await client.close()
        if bench.has_measured:
            write = write_json if options.json else write_table
            table = StringIO()
            write(bench.result(), table)
            print_out(table.getvalue())
    return 0 if bench.reads.times_s or bench.writes.times_s else REFUSED


async def _talk(client: Client, options: argparse.Namespace) -> int:
    match options.command:
        case "get":
            value = await client.get(options.key, level=options.level)
            if value is None:
                complain(f"there is no key {options.key!r}")
                return NO_KEY
            print_out(value + b"\n" if sys.stdout.isatty() else value)
        case "put":
            await client.put(options.key, options.value)
        case "delete":
            if not await client.delete(options.key):
                complain(f"there was no key {options.key!r}")
                return NO_KEY
        case "status":
            print_out(json.dumps(await client.status(), indent=2) + "\n")
        case other:
            raise AssertionError(other)
    return 0
