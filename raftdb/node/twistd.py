"""What raftdb settles with the twistd that runs it: pid file, log, signals, word to its parent.

Everything here goes by the options of twistd's that the plugin's own options have as ``parent``,
and does without where there are none.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.interfaces import IReactorFromThreads
from twisted.logger import ILogObserver, Logger
from twisted.python.components import Componentized
from twisted.python.usage import Options

from raftdb.node.logfile import LogLines, open_log_file
from raftdb.reactor.signals import on_signal

__all__ = ["Twistd", "forget_default_pid_file"]

_IN_THE_TERMINAL = b"1 raftdb has not started; the reason stands above"


def forget_default_pid_file(twistd: Options) -> None:
    """Have twistd keep no pid file in the foreground, unless one was asked for.

    The lock in the data directory says all that the file would; and a file that outlives a killed
    container names process 1, which is there in the next one as well.

    :param twistd: its options, read as far as the plugin's name
    """
    # An option that was not given holds the very string that is its default.
    is_default = twistd.get("pidfile") is getattr(twistd, "defaults", {}).get("pidfile")
    if is_default and (twistd.get("nodaemon") or twistd.get("debug")):
        twistd["pidfile"] = ""


class Twistd:
    """The twistd around a node.

    Without ``--nodaemon`` a parent waits for word on a pipe, to exit with 0 or 1. twistd sends it as
    soon as the reactor is about to run; here the pipe is taken over and word is sent when the node
    serves, or has refused to start.

    :param options: twistd's; empty or None where there is no twistd
    """

    _log = Logger()

    def __init__(self, options: MutableMapping[str, Any] | None) -> None:
        self._options: MutableMapping[str, Any] = {} if options is None else options
        self._pipe: int | None = None
        self._terminal: int | None = None
        self._lines: LogLines | None = None

    def prepare(self, application: object, reactor: IReactorFromThreads) -> None:
        """Do what has to be done before twistd opens its log and forks.

        :param application: gets the log's observer
        :param reactor: where the signal that opens the log anew is dealt with
        """
        if not isinstance(application, Componentized):
            return
        options = self._options
        if not options.get("syslog") and not options.get("logger"):
            self._lines = LogLines(open_log_file(self._log_name()))
            application.setComponent(ILogObserver, self._lines)
        on_signal(reactor, signal.SIGUSR1, self._reopen)
        if not options.get("nodaemon"):
            with suppress(OSError):  # closed: then nobody is there to read
                self._terminal = os.dup(2)

    def begin(self) -> None:
        """Take the pipe to the parent over; the process is a daemon by now, if it is to be one."""
        self._pipe = self._options.pop("statusPipe", None)

    def serves(self) -> None:
        """Let the parent exit with 0."""
        self._send(b"0")

    def refused(self, reason: str) -> None:
        """Let the parent exit with 1, and write the reason where twistd was called; and tidy up.

        The process ends right after this.

        :param reason: why the node has not started, or goes on no more
        """
        self._remove_pid_file()
        if self._pipe is not None and self._terminal is not None:
            with suppress(OSError):
                os.write(self._terminal, f"{reason}\n".encode(errors="backslashreplace"))
        self._send(_IN_THE_TERMINAL)

    def _log_name(self) -> str:
        name = self._options.get("logfile")
        if self._options.get("nodaemon"):
            return str(name or "-")
        if name == "-":
            sys.exit("a node in the background cannot log to standard output: add -n, or --logfile")
        return str(name or "twistd.log")

    def _reopen(self) -> None:
        if self._lines is None:
            self._log.info("SIGUSR1: the log is not raftdb's own, so it is not opened anew")
        else:
            self._lines.reopen()

    def _send(self, word: bytes) -> None:
        pipe, self._pipe = self._pipe, None
        terminal, self._terminal = self._terminal, None
        if pipe is not None:
            with suppress(OSError):  # the parent was interrupted
                os.write(pipe, word)
            os.close(pipe)
        if terminal is not None:
            os.close(terminal)

    def _remove_pid_file(self) -> None:
        """Do as twistd would, so that the next start does not find somebody else's pid in it."""
        name = self._options.get("pidfile")
        if not isinstance(name, str) or not name:
            return
        path = Path(name)
        try:
            if path.read_text(encoding="ascii").strip() == str(os.getpid()):
                path.unlink()
        except (OSError, UnicodeDecodeError) as error:
            self._log.info("the pid file stays: {error}", error=error)
