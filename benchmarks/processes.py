"""One process that was started here: its CPU time, its memory, its stops and its end.

Nothing outlives the run: each process is ended by its id, and the kernel ends what is left if the
run itself is killed.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
STOP_S = 5.0
_PR_SET_PDEATHSIG = 1


class BenchFailed(Exception):
    """Something did not do what was waited for; the message says what."""


class Process:
    """A program that runs.

    :param command: the program and its arguments
    :param log: a file that takes what it says
    :param talks: whether standard input and output are pipes of ours, for lines of text
    :param environment: added to ours
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        talks: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = log
        self._paused = False
        with log.open("ab") as out:
            self._process = subprocess.Popen(  # noqa: S603  # commands of our own making
                command,
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else out,
                stderr=out,
                env={**os.environ, **(environment or {})},
                # Ctrl-C is ours; we end the others in our order. No session of its own: Linux shares
                # the CPU out by session (autogroup), and where there are more of them than cores, one
                # that has had its share waits 100 ms at a time for the others, whatever it does.
                process_group=0,
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # there are no threads yet when we start
                text=True,
            )

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def cpu_s(self) -> float:
        """The CPU time so far in seconds, user and system, all threads; 0 once it has ended."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii")
        except OSError:
            return 0.0
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    @property
    def resident_mb(self) -> float:
        """The resident memory in MB; 0 once it has ended."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        except OSError:
            return 0.0
        return pages * PAGE_BYTES / 1e6

    @property
    def pipes(self) -> tuple[IO[str], IO[str]]:
        """Its standard input and output."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def pause(self) -> None:
        """Stop it, so that it uses no CPU."""
        if self.is_running:
            self._process.send_signal(signal.SIGSTOP)
            self._paused = True

    def resume(self) -> None:
        """Let it go on."""
        if self._paused and self.is_running:
            self._process.send_signal(signal.SIGCONT)
        self._paused = False

    def kill(self) -> None:
        """End it as ``kill -9`` does, and wait for its end."""
        self._process.kill()
        self._process.wait()
        self._close()

    def stop(self) -> None:
        """Ask it to end; kill it if it does not."""
        self.resume()
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._close()

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def tail(self, lines: int = 8) -> str:
        """Return the end of what it said."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it is gone (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
