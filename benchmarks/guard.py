"""How much CPU the hot paths take, compared with what they took: ``make guard``.

Microseconds differ between machines and hours, so each is divided by the time of a fixed loop that
is measured in the same moment; what is kept in ``guard.json`` and compared are these multiples. The
best of many short measurements counts: other work on the machine can only make one slower. It
reports and decides nothing.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benchmarks.hot_paths import HOT_PATHS, HotPath

BASELINE = Path(__file__).parent / "guard.json"
REPEATS = 25
LOOPS = 1_000
NOTEWORTHY = 0.08
"""A change by less than this is taken for noise."""


class Measured(msgspec.Struct, frozen=True):
    """What an operation takes.

    :param us: CPU time, in microseconds
    :param loops: the same, in turns of the calibration loop
    """

    us: float
    loops: float


def main() -> int:
    """Measure, compare, print; write the baseline anew where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__)
    parser.add_argument("--write", action="store_true", help="make this the baseline")
    parser.add_argument("--only", default="", help="paths whose name has this in it")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args()
    known = read(BASELINE)
    measured: dict[str, Measured] = {}
    print("| CPU by operation | µs | loops | before | change |\n|---|--:|--:|--:|--:|")
    for path in HOT_PATHS:
        if options.only in path.name:
            measured[path.name] = now = measure(path, options.repeats)
            print(line(path.name, now, known.get(path.name)), flush=True)
    if options.write:
        text = msgspec.json.format(msgspec.json.encode(known | measured), indent=1)
        BASELINE.write_bytes(text + b"\n")
    return 0


def read(path: Path) -> dict[str, Measured]:
    """Return a baseline; an empty one where there is none."""
    if not path.exists():
        return {}
    return msgspec.json.decode(path.read_bytes(), type=dict[str, Measured])


def line(name: str, now: Measured, before: Measured | None) -> str:
    """Return one row of the table."""
    if before is None:
        return f"| {name} | {now.us:.2f} | {now.loops:.1f} | – | new |"
    change = now.loops / before.loops - 1
    text = f"{change:+.0%}"
    if abs(change) >= NOTEWORTHY:
        text = f"**{text}** {'slower' if change > 0 else 'faster'}"
    return f"| {name} | {now.us:.2f} | {now.loops:.1f} | {before.loops:.1f} | {text} |"


def measure(path: HotPath, repeats: int) -> Measured:
    """Return the best of so many measurements of a path, and of the loop between them."""
    with tempfile.TemporaryDirectory(prefix="raftdb-guard-") as directory:
        run = path.prepare(Path(directory))
        run(path.operations)  # caches are warm and lazy things made
        best_s, best_loop_s = float("inf"), float("inf")
        gc.collect()
        gc.disable()
        try:
            for _ in range(repeats):
                best_loop_s = min(best_loop_s, _timed_s(calibration_loop, LOOPS))
                best_s = min(best_s, _timed_s(run, path.operations))
                gc.collect()
        finally:
            gc.enable()
    us = best_s / path.operations * 1e6
    return Measured(round(us, 3), round(us / (best_loop_s * 1e6 / LOOPS), 3))


def _timed_s(run: object, times: int) -> float:
    assert callable(run)
    began = time.process_time_ns()
    run(times)
    return (time.process_time_ns() - began) / 1e9


class _Value:
    __slots__ = ("name", "number")

    def __init__(self, name: bytes, number: int) -> None:
        self.name = name
        self.number = number


def calibration_loop(times: int) -> None:
    """Do so many times a little of what our code mostly does: calls, objects, dictionaries, bytes."""
    found: dict[bytes, _Value] = {}
    for number in range(times):
        name = b"key-%08d" % (number % 97)
        found[name] = _Value(name[4:], number)
    assert sum(value.number for value in found.values()) > 0
    assert b",".join(sorted(found))


if __name__ == "__main__":
    sys.exit(main())
