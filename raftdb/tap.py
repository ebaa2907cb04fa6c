"""``twistd raftdb``: reads options and environment, and puts a Node into twistd's hands.

Only this module and the command line touch the global reactor. :func:`makeService` parses and
builds; no thread, lock, file or socket is made before ``startService``, for twistd forks in between.
"""

from __future__ import annotations

import difflib
import gc
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, cast

from twisted.application.service import IService, IServiceCollection
from twisted.logger import Logger, globalLogPublisher
from twisted.python import usage
from twisted.python.failure import Failure

from raftdb import __version__
from raftdb.errors import InvalidRequest, RaftDBError

gc.disable()
try:
    from raftdb.node import Node, Reactor, Settings, running_seconds
    from raftdb.node.escaping import escape_lines
    from raftdb.node.twistd import Twistd, forget_default_pid_file
    from raftdb.reactor.signals import stop_at_hangup, stop_more_than_once
finally:
    # Of what 600 modules leave behind nothing is garbage: not to look for any while they come, nor
    # ever after, spares each start 50 ms.
    gc.freeze()
    gc.enable()

__all__ = ["Options", "makeService"]

ENVIRONMENT_PREFIX = "RAFTDB_"


class _Option(NamedTuple):
    """One option: its name, the setting behind it, how its text is read, what it means."""

    name: str
    field: str
    read: Callable[[str], object]
    doc: str


_OPTIONS = (
    _Option("id", "id", str, "the node's name; given once, then remembered in DATADIR"),
    _Option("haddr", "http_address", str, "host:port that clients are told"),
    _Option("raddr", "raft_address", str, "host:port that the other nodes are told"),
    _Option(
        "hlisten",
        "http_listen",
        str,
        "where to listen for clients, if not on haddr: host:port, :port or a Twisted endpoint",
    ),
    _Option("rlisten", "raft_listen", str, "where to listen for other nodes, if not on raddr"),
    _Option("rdial", "raft_dial", str, "the Twisted endpoint that reaches another node"),
    _Option(
        "peer-tls",
        "peer_tls",
        lambda text: Path(text) if text else None,
        "directory with ca.pem, node.pem, node.key: TLS between nodes, checked on both ends",
    ),
    _Option("join-timeout", "join_timeout_s", float, "seconds to go on asking to be taken in"),
    _Option("heartbeat", "heartbeat_ms", int, "milliseconds between two heartbeats"),
    _Option(
        "election-timeout",
        "election_timeout_ms",
        int,
        "milliseconds of silence before an election; 0 for four heartbeats",
    ),
    _Option("snapshot-entries", "snapshot_entries", int, "log entries between two snapshots"),
    _Option("snapshot-bytes", "snapshot_bytes", int, "bytes of entries between two snapshots"),
    _Option("segment-bytes", "segment_bytes", int, "bytes of one file of the log"),
    _Option("body-bytes", "body_bytes_max", int, "largest body of an HTTP request"),
    _Option("connections", "connections_max", int, "most HTTP connections at a time"),
    _Option("waiting", "waiting_max", int, "most requests waiting for the cluster at a time"),
    _Option("request-timeout", "request_timeout_s", float, "seconds until a request is given up"),
    _Option(
        "follower-reads",
        "follower_reads",
        str,
        "redirect, or serve: a follower answers default and consistent reads of /key itself",
    ),
    _Option(
        "http-lane", "http_lane", str, "stock: leave every HTTP request to twisted.web's parser"
    ),
    _Option("log-writer", "log_writer", str, "thread: never have the log written by io_uring"),
)

_CLIENTS_VARIABLES = ("ENDPOINTS", "ENDPOINT", "TIMEOUT")
"""Variables that the command ``raftdb`` reads, and a node does not."""

_DEFAULTS = Settings(data_dir=Path())


class Options(usage.Options):
    """What may be said on the command line; each option may come from the environment instead.

    ``--election-timeout`` is ``RAFTDB_ELECTION_TIMEOUT`` there, and so on; the directory is
    ``RAFTDB_DATADIR``. The command line wins, and an empty variable counts as unset.

    :param environ: where to look
    """

    synopsis = "[options] DATADIR"
    longdesc = (
        "Runs one node. The first is started without --join and founds a cluster; every other one"
        " names members with --join and is taken in. A restart with the same flags is always right."
        " Every option may come from the environment instead: RAFTDB_ID, RAFTDB_HADDR, and so on,"
        " and RAFTDB_DATADIR."
    )
    optParameters = tuple(
        (option.name, None, getattr(_DEFAULTS, option.field), option.doc) for option in _OPTIONS
    )

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        super().__init__()
        self._environ = environ
        self._joins: list[str] = []
        self.data_dir = ""
        self.settings = _DEFAULTS

    def opt_join(self, addresses: str) -> None:
        """HTTP address of a member that takes this node in; repeat it, or use commas, for more."""
        self._joins.append(addresses)
        if not addresses.strip(" ,"):
            # A script's variable that is not set must not make the node found a second cluster.
            raise usage.UsageError("--join: the address is missing; leave --join away to found")

    def opt_version(self) -> NoReturn:
        """Print the version and exit."""
        sys.stdout.write(f"raftdb {__version__}\n")
        raise SystemExit(0)

    def parseOptions(self, options: list[str] | None = None) -> None:
        """Read the environment first, so that what the command line says comes later and wins.

        :raises SystemExit: under twistd, with code 1, after a line that says what is wrong: twistd
            would write its help in front of that, and the line would be overlooked
        :raises twisted.python.usage.UsageError: elsewhere
        """
        for option in _OPTIONS:
            if value := self._variable(option.name):
                self[option.name] = value
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            if self.parent is None:
                raise
            sys.stderr.write(f"raftdb: {error}\nAll options: twistd raftdb --help\n")
            raise SystemExit(1) from None

    def parseArgs(self, *arguments: str) -> None:
        """Take the one positional argument.

        :raises twisted.python.usage.UsageError: where there are more
        """
        late = [argument for argument in arguments[1:] if argument.startswith("-")]
        if late:
            raise usage.UsageError(
                f"options come before DATADIR: move {late[0]} in front of {arguments[0]}"
            )
        if len(arguments) > 1:
            raise usage.UsageError(f"one DATADIR is expected, not {', '.join(arguments)}")
        self.data_dir = "".join(arguments)

    def postOptions(self) -> None:
        """Check the whole and keep it as ``settings``.

        :raises twisted.python.usage.UsageError: naming the option that is wrong
        """
        data_dir = self.data_dir or self._variable("datadir")
        if not data_dir:
            raise usage.UsageError(
                "a DATADIR is needed: where this node keeps what it acknowledged"
            )
        joins = ",".join(self._joins) or self._variable("join")
        values: dict[str, Any] = {option.field: self._value(option) for option in _OPTIONS}
        try:
            self.settings = Settings(
                **values,
                data_dir=Path(data_dir),
                join=tuple(join.strip() for join in joins.split(",") if join.strip()),
            )
        except InvalidRequest as error:
            raise usage.UsageError(str(error)) from error
        if self.parent is not None:
            forget_default_pid_file(self.parent)

    def doubts(self) -> list[str]:
        """Return a sentence for each variable that looks like an option and is none."""
        options = [option.name for option in _OPTIONS]
        options += ["datadir", "join", *_CLIENTS_VARIABLES]
        known = [_variable_name(name).removeprefix(ENVIRONMENT_PREFIX) for name in options]
        said = (
            name.removeprefix(ENVIRONMENT_PREFIX)
            for name in sorted(self._environ)
            if name.startswith(ENVIRONMENT_PREFIX)
        )
        return [_doubt(name, known) for name in said if name not in known]

    def _variable(self, name: str) -> str:
        return self._environ.get(_variable_name(name), "").strip()

    def _value(self, option: _Option) -> object:
        text = self[option.name]
        if text is None:
            return None
        try:
            return option.read(text)
        except ValueError as error:
            raise usage.UsageError(
                f"--{option.name} must be a number, not {text!r} ({option.doc})"
            ) from error


def _variable_name(option: str) -> str:
    return ENVIRONMENT_PREFIX + option.upper().replace("-", "_")


def _doubt(name: str, known: list[str]) -> str:
    likely = difflib.get_close_matches(name, known, 1)
    meant = f"; {ENVIRONMENT_PREFIX}{likely[0]} is meant?" if likely else ""
    return f"{ENVIRONMENT_PREFIX}{name} is no option and is ignored{meant}"


def makeService(options: Options) -> IService:
    """Build the node that the options describe; it does nothing before it is started."""
    from twisted.internet import reactor

    # All of Twisted's timers go by this clock, and they stop when a wall clock is set back; so it
    # has to be a monotonic one, before the first timer is set.
    vars(reactor)["seconds"] = running_seconds()
    escape_lines(globalLogPublisher)  # before twistd adds who writes them
    return _Service(cast("Reactor", reactor), options)


class _Service(Node):
    """The node as twistd has it.

    :param reactor: Twisted's own
    :param options: read
    """

    _log = Logger()

    def __init__(self, reactor: Reactor, options: Options) -> None:
        self._own = reactor
        self._doubts = options.doubts()
        self._twistd = Twistd(options.parent)
        super().__init__(
            reactor,
            options.settings,
            die=_Death(self._twistd),
            on_serving=self._twistd.serves,
        )

    def setServiceParent(self, parent: IServiceCollection) -> None:
        """Take the place in twistd's application, before its log is opened and before it forks."""
        stop_more_than_once(self._own)
        self._twistd.prepare(parent, self._own)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Begin, in the process that stays."""
        self._twistd.begin()
        stop_at_hangup(self._own)
        for doubt in self._doubts:
            self._log.warn("{doubt}", doubt=doubt)
        super().startService()


class _Death:
    """Ends the process with exit code 1: at once, whatever else still runs or hangs.

    :param twistd: is told why
    """

    _log = Logger()

    def __init__(self, twistd: Twistd) -> None:
        self._twistd = twistd

    def __call__(self, failure: Failure) -> NoReturn:
        """Say why, flush, end. Nothing is acknowledged after this."""
        reason = f"raftdb stops: {failure.getErrorMessage()}"
        if failure.check(RaftDBError, OSError):
            self._log.critical("{reason}", reason=reason)
        else:
            self._log.failure("raftdb stops: this is a bug, please report it", failure=failure)
        sys.stdout.flush()
        sys.stderr.flush()
        self._twistd.refused(reason)
        os._exit(1)
