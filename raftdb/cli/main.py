"""The command ``raftdb``: parses, calls, prints, and sets the exit code.

Exit codes: 0 done; 1 refused or not there; 2 wrong usage; 3 outcome unknown; 130
interrupted.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Coroutine, Sequence
from random import Random
from typing import TypeVar, get_args

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import react

from raftdb import __version__
from raftdb.cli.bench import PER_CLIENT, Bench, Plan, prefix, write_json, write_table
from raftdb.cli.cluster import Reactor
from raftdb.cli.demo import perform
from raftdb.cli.story import Story
from raftdb.client import Client
from raftdb.client.client import Level
from raftdb.errors import OutcomeUnknown, RaftDBError

T = TypeVar("T")

REFUSED, UNKNOWN, INTERRUPTED = 1, 3, 130
READS = ("get", "status")
"""Commands that change nothing: one without an answer leaves no doubt behind."""
COUNT_MAX = 1_000_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit."""
    options = _parser().parse_args(arguments)

    def run(reactor: Reactor) -> Deferred[None]:
        # All of Twisted's timers go by this clock, and they stop when a wall clock is set back.
        vars(reactor)["seconds"] = time.monotonic
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="raftdb",
        description="Talk to a raftdb cluster. A node is started by: twistd raftdb --help",
        epilog="exit codes: 0 done; 1 refused or no such key; 2 wrong usage; 3 outcome unknown;"
        " 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"raftdb {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)

    demo = commands.add_parser("demo", help="three real nodes on loopback do real work")
    demo.add_argument("--once", action="store_true", help="exit at the end with 0 or 1")

    talk = argparse.ArgumentParser(add_help=False)
    talk.add_argument(
        "-e",
        "--endpoint",
        "--host",
        action="append",
        metavar="HOST:PORT",
        help="a node's HTTP address; may be repeated (default: localhost:8091)",
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
        return 0 if await perform(reactor, once=options.once) else REFUSED
    try:
        if options.command == "bench":
            return await _bench(reactor, options)
        client = _client(reactor, options)
        try:
            return await _talk(client, options)
        finally:
            await client.close()
    except RaftDBError as error:
        if isinstance(error, OutcomeUnknown) and options.command not in READS:
            sys.stderr.write(f"raftdb: the outcome is unknown: {error}\n")
            return UNKNOWN
        sys.stderr.write(f"raftdb: {error}\n")
        return REFUSED


def _client(reactor: Reactor, options: argparse.Namespace) -> Client:
    return Client(reactor, options.endpoint or ["localhost:8091"], timeout_s=options.timeout)


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
        if bench.has_measured:
            write = write_json if options.json else write_table
            write(bench.result(), sys.stdout)
        for client in clients:
            await client.close()
    return 0 if bench.reads.times_s or bench.writes.times_s else REFUSED


async def _talk(client: Client, options: argparse.Namespace) -> int:
    match options.command:
        case "get":
            value = await client.get(options.key, level=options.level)
            if value is None:
                sys.stderr.write(f"raftdb: there is no key {options.key!r}\n")
                return REFUSED
            sys.stdout.buffer.write(value)
            if sys.stdout.isatty():
                sys.stdout.write("\n")
        case "put":
            value = sys.stdin.buffer.read() if options.value == "-" else options.value
            await client.put(options.key, value)
        case "delete":
            if not await client.delete(options.key):
                sys.stderr.write(f"raftdb: there was no key {options.key!r}\n")
                return REFUSED
        case "status":
            status = await client.status()
            sys.stdout.write(json.dumps(status, indent=2) + "\n")
        case other:
            raise AssertionError(other)
    return 0
