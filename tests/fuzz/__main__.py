"""``python -m tests.fuzz [--seconds 60] [--only NAME]``: atheris attacks one parser after the other.

Each target runs in a process of its own. What is learnt stays in ``.fuzz/`` and is where the next
run begins; bytes that end in an exception are kept there, too, and shown with the command that
repeats them.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from tests.fuzz.targets import TARGETS

LEARNT = Path(".fuzz")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default 60)")
    parser.add_argument("--only", choices=TARGETS, help="one target")
    parser.add_argument("--repeat", metavar="FILE", help="run the target of --only on this file")
    return parser.parse_args()


def _attacked(name: str, seconds: int) -> bool:
    """Attack one target; return whether it held."""
    sys.stdout.write(f"{name} for {seconds} s ... ")
    sys.stdout.flush()
    command = [sys.executable, "-m", "tests.fuzz.campaign", name, str(seconds), str(LEARNT)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    if ended.returncode == 0:
        figures = dict(re.findall(r"stat::(\w+):\s+(\d+)", ended.stderr))
        sys.stdout.write(
            f"held, {figures.get('number_of_executed_units')} inputs,"
            f" {figures.get('new_units_added')} of them led somewhere new\n"
        )
        return True
    sys.stdout.write(f"\n{ended.stdout}{ended.stderr}")
    sys.stdout.write(
        f"{name} FAILED (above). Repeat it with: python -m tests.fuzz --only {name} --repeat"
        f" {LEARNT}/found/{name}/…; once mended, keep the file in tests/fuzz/kept/{name}/\n"
    )
    return False


def main() -> int:
    """Attack every target in turn; return 1 where something was found."""
    arguments = _parse()
    names = [arguments.only] if arguments.only else list(TARGETS)
    if arguments.repeat:
        TARGETS[names[0]].run(Path(arguments.repeat).read_bytes())
        return 0
    failed = [name for name in names if not _attacked(name, arguments.seconds)]
    sys.stdout.write(f"{len(names)} targets, {len(failed)} failed {' '.join(failed)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
