"""``python -m tests.chaos``: real nodes in network namespaces, real faults, one verdict.

Everything runs in a mount and a pid namespace of its own. Its first process is the campaign; when
that ends, for whatever reason, the kernel ends every other process in there, and with them go the
mounts and the network namespaces. What remains is one temporary directory, removed here.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.chaos import campaign
from tests.chaos.netlab import ISOLATED, why_impossible

SKIPPED = 77
_SHORT_S = 20.0
_LONG_S = 300.0
_GRACE_S = 90.0
"""For what began just before the time was up, and for the machine being busy."""


def main() -> int:
    """Parse, isolate, run, clean up; return the exit code."""
    options = _parser().parse_args()
    if options.inside:
        return _inside(options)
    reason = why_impossible()
    if reason is not None:
        sys.stdout.write(f"chaos is skipped: {reason}\n")
        return SKIPPED
    base = Path(tempfile.mkdtemp(prefix="raftdb-chaos-"))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    kept = False
    try:
        code = _isolate(base, options)
        kept = bool(code) or options.keep
    finally:
        if kept:
            sys.stdout.write(f"logs and data directories are in {base}\n")
        else:
            _remove(base)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=None, help="about how long")
    parser.add_argument("--seed", default=None, help="of the order of the faults")
    parser.add_argument("--short", action="store_true", help="three nodes, half a minute")
    parser.add_argument("--only", default="", help="only faults with this in their name")
    parser.add_argument(
        "--level",
        default="consistent",
        help="of the reads; they are judged as linearizable, so stale must be found out",
    )
    parser.add_argument("--keep", action="store_true", help="leave logs and directories behind")
    parser.add_argument("--inside", default="", help=argparse.SUPPRESS)
    return parser


def _isolate(base: Path, options: argparse.Namespace) -> int:
    """Run the campaign where it can leave nothing behind."""
    seconds = options.seconds or (_SHORT_S if options.short else _LONG_S)
    seed = options.seed or str(random.randrange(10**6))
    command = [*ISOLATED, sys.executable, "-m", "tests.chaos", "--inside", str(base)]
    command += ["--seed", seed, "--seconds", str(seconds), *(["--short"] * options.short)]
    command += ["--only", options.only, "--level", options.level]
    with subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL) as process:
        try:
            return process.wait(seconds + _GRACE_S)
        except subprocess.TimeoutExpired:
            sys.stdout.write(f"FAILED: not at an end after {seconds + _GRACE_S} s\n")
            return 1
        finally:
            process.kill()


def _inside(options: argparse.Namespace) -> int:
    """Be the first process of the namespaces."""
    Path("/run/netns").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run/netns"], check=True)
    return campaign.run(
        Path(options.inside),
        seed=options.seed,
        seconds=options.seconds,
        sizes=(3,) if options.short else (3, 5),
        only=options.only,
        level=options.level,
    )


def _interrupted(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _remove(base: Path) -> None:
    """Remove the directory; processes that were just killed may still be writing into it."""
    for _ in range(100):
        shutil.rmtree(base, ignore_errors=True)
        if not base.exists():
            return
        time.sleep(0.05)
    sys.stdout.write(f"{base} could not be removed\n")


if __name__ == "__main__":
    sys.exit(main())
