"""Real nodes under real faults, briefly; ``make chaos`` does the same for five minutes.

Needs root and network namespaces, and says so where it is skipped.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SKIPPED = 77
_COMMAND = [sys.executable, "-m", "tests.chaos", "--short"]

pytestmark = pytest.mark.slow


def run(base: Path, *more: str) -> tuple[int, str]:
    done = subprocess.run(
        [*_COMMAND, *more],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(base)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.strip())
    return done.returncode, done.stdout + done.stderr


def processes_of(base: Path) -> list[str]:
    """Return the command lines in which a directory is named."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(base) in line:
            found.append(line)
    return found


def wait_until(look: Callable[[], bool]) -> bool:
    ends_s = time.monotonic() + 30
    while not look() and time.monotonic() < ends_s:
        time.sleep(0.05)
    return look()


class TestChaos:
    """A few faults on three nodes."""

    def test_breaks_no_promise(self, tmp_path: Path) -> None:
        """Linearizable, alive again, and all replicas alike; and nothing stays behind."""
        code, said = run(tmp_path, "--seconds", "14")
        sys.stdout.write(said)
        assert code == 0, said
        assert "operations are linearizable" in said
        assert processes_of(tmp_path) == []
        assert list(tmp_path.iterdir()) == []

    def test_can_fail(self, tmp_path: Path) -> None:
        """Readers that are content with stale answers are found out."""
        code, said = run(tmp_path, "--seconds", "9", "--only", "leader cut off", "--level", "stale")
        assert code == 1, said
        assert "no order of the operations explains" in said
        assert processes_of(tmp_path) == []


class TestAnInterruption:
    """Ctrl-C, a supervisor that has waited enough, and the worst."""

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_leaves_nothing_behind(self, number: signal.Signals, tmp_path: Path) -> None:
        """No process, and so no mount and no namespace; no directory, where it could be removed."""
        before = sorted(path.name for path in Path("/run/netns").glob("*"))
        process = subprocess.Popen(
            _COMMAND,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(tmp_path)},
            stdout=subprocess.DEVNULL,
        )
        try:
            up = wait_until(
                lambda: process.poll() is not None or bool(list(tmp_path.glob("*/of3/node03.log")))
            )
            if process.poll() == SKIPPED:
                pytest.skip("needs root and network namespaces")
            assert up
            assert processes_of(tmp_path)
        finally:
            process.send_signal(number)
            process.wait(30)
        assert wait_until(lambda: processes_of(tmp_path) == [])
        assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
        assert sorted(path.name for path in Path("/run/netns").glob("*")) == before
        if number is not signal.SIGKILL:
            assert list(tmp_path.iterdir()) == []
