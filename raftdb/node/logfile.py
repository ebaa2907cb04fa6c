"""The log as people read it: one line an event, and the file that a rotation can take away.

A line is ``2026-12-01T01:28:18.123+00:00 [raft] election won: …``: the time to the millisecond, the
part of the node that speaks, and ``#warn`` or worse behind it where it is no mere information. Lines
that say nothing of the node, such as Twisted's of its factories, are left out.
"""

from __future__ import annotations

import os
import platform
import stat
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO, cast

from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, eventAsText
from twisted.python.logfile import LogFile
from zope.interface import implementer

import twisted
from raftdb import __version__

__all__ = ["LogLines", "open_log_file", "source"]

_SOURCES = (
    ("raftdb.node.journal", "raft"),
    ("raftdb.disk.writer", "storage"),
    ("raftdb.node.admission", "members"),
    ("raftdb.membership", "members"),
    ("raftdb.state.members", "members"),
    ("raftdb.raft", "raft"),
    ("raftdb.replica", "raft"),
    ("raftdb.peer", "peer"),
    ("raftdb.node.peer_tls", "peer"),
    ("raftdb.storage", "storage"),
    ("raftdb.disk.io_uring", "storage"),
    ("raftdb.http", "http"),
    ("raftdb.node.starting_site", "http"),
    ("raftdb.duties.hash_check", "state"),
    ("raftdb.state", "state"),
    ("raftdb.database", "state"),
    ("raftdb.state.kv", "state"),
    ("raftdb", "node"),
    ("twisted.internet.base", "node"),  # which signal has arrived
)
"""The first that a namespace begins with names the part that speaks."""

_NOISE = ("Starting factory ", "Stopping factory ", "(TCP Port ", "Main loop terminated")
_LEFT_BY_A_KILL = "Removing stale pidfile "
"""Twisted takes this for critical; after ``kill -9`` it is what has to be."""

_TWISTD = "twisted.scripts._twistd_unix.UnixAppLogger"


def source(namespace: str) -> str:
    """Return the short name of who speaks: ``raft``, ``peer``, ``storage``, ``http``, ``node``, …

    :param namespace: of the event: a module's name, and perhaps a class's behind it
    """
    for prefix, name in _SOURCES:
        if namespace == prefix or namespace.startswith(prefix + "."):
            return name
    return namespace.partition(".")[0] or "-"


@implementer(ILogObserver)
class LogLines:
    """Writes events to a file as lines.

    :param out: where to; one that is a :class:`~twisted.python.logfile.LogFile` can be opened anew
    """

    _log = Logger()

    def __init__(self, out: TextIO | LogFile) -> None:
        self._out = out
        now = datetime.now(UTC).timestamp()
        self._write(
            now,
            "node",
            f"raftdb {__version__} starts: Python {platform.python_version()},"
            f" Twisted {twisted.__version__}",
        )

    def __call__(self, event: LogEvent) -> None:
        """Write one event, unless it says nothing of the node."""
        namespace = str(event.get("log_namespace") or "-")
        if namespace == _TWISTD:
            return  # twistd's own greeting and farewell; the node has said more
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        if not text or (namespace.startswith(("twisted", "log_legacy")) and _is_noise(text)):
            return
        level = event.get("log_level")
        mark = ""
        if level is not None and level > LogLevel.info and not text.startswith(_LEFT_BY_A_KILL):
            mark = f"#{level.name}"
        self._write(float(event.get("log_time") or 0.0), source(namespace) + mark, text)

    def reopen(self) -> None:
        """Go on in a new file under the log's name, once somebody has moved the old one away.

        Where that cannot be, the old file is gone on with, and says why.
        """
        if not isinstance(self._out, LogFile):
            self._log.info("SIGUSR1: the log is no file of its own, so it is not opened anew")
            return
        try:
            os.close(os.open(self._out.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
            self._out.reopen()
        except OSError as error:
            self._log.error("SIGUSR1: the log cannot be opened anew: {error}", error=error)
        else:
            self._log.info("SIGUSR1: the log was opened anew")

    def _write(self, when_s: float, who: str, text: str) -> None:
        time = datetime.fromtimestamp(when_s, UTC).astimezone().isoformat(timespec="milliseconds")
        told = text.replace("\n", "\n\t")
        with suppress(OSError):  # a full disk, a closed pipe: no reason to serve nobody
            self._out.write(f"{time} [{who}] {told}\n")
            self._out.flush()


def open_log_file(name: str) -> TextIO | LogFile:
    """Return what ``--logfile`` names; ``-`` is standard output.

    Each later file under that name gets the mode that the first one has, whatever the umask by then.
    """
    if name == "-":
        return sys.stdout
    path = Path(name).absolute()
    file = LogFile.fromFullPath(str(path))
    file.defaultMode = stat.S_IMODE(path.stat().st_mode)
    return cast("LogFile", file)


def _is_noise(text: str) -> bool:
    return text.startswith(_NOISE) or " starting on " in text
