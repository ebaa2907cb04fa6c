"""The command: chooses, measures, writes down. Ctrl-C ends everything and keeps what was measured."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from pathlib import Path

from benchmarks import plots, report, results, rows
from benchmarks.processes import BenchFailed
from benchmarks.run import SYSTEMS, Run

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "build" / "benchmarks"
LATEST = ROOT / "build" / "benchmarks.json"
PUBLISHED = ROOT / "benchmarks" / "results" / "published.json"
PAGE = ROOT / "docs" / "benchmarks.md"
NOTES = ROOT / "notes" / "benchmarks.md"
IMAGES = ROOT / "docs" / "images"
INTERRUPTED = 130


def main() -> int:
    """Do what was asked; return the exit code."""
    options = _parser().parse_args()
    if options.read is not None:
        found, code = results.load(options.read), 0
    else:
        found, code = _measure(options)
    sys.stdout.write(report.markdown(found) + "\n")
    if options.publish and not code:
        results.save(found, PUBLISHED)
        report.publish(report.summary(found), PAGE)
        report.publish(report.tables(found), NOTES)
        for path in plots.draw(found, IMAGES):
            sys.stderr.write(f"wrote {path.relative_to(ROOT)}\n")
    return code


def _measure(options: argparse.Namespace) -> tuple[results.Results, int]:
    if shutil.which("wrk") is None:
        sys.exit(
            "wrk asks the questions and is not installed; on Debian and Ubuntu: apt install wrk"
        )
    names = []
    for name in options.systems:
        missing = SYSTEMS[name].missing()
        if missing is None:
            names.append(name)
        else:
            sys.stderr.write(missing + "\n")
    _refuse_memory(options.data)
    shutil.rmtree(options.data, ignore_errors=True)
    run = Run(
        names,
        options.only,
        rounds=options.rounds,
        seconds=options.seconds,
        directory=options.data,
        connections=tuple(options.connections),
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = 0
    try:
        run.measure()
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted: this is what was measured until then\n")
        code = INTERRUPTED
    except BenchFailed as failed:
        sys.stderr.write(f"\n{failed}\n")
        code = 1
    finally:
        shutil.rmtree(options.data, ignore_errors=True)
        results.save(run.results, LATEST)
    return run.results, code


def _refuse_memory(data: Path) -> None:
    """Say so where data would lie in memory: an fsync there costs nothing.

    :raises SystemExit: then
    """
    data = data.resolve()
    mounts = [
        line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    ]
    around = [mount for mount in mounts if data.is_relative_to(mount[1])]
    if around and max(around, key=lambda mount: len(mount[1]))[2] in {"tmpfs", "ramfs"}:
        sys.exit(f"{data} lies in memory, where an fsync costs nothing; choose a disk with --data")


def _names(known: tuple[str, ...]) -> type[argparse.Action]:
    """Return what reads names with commas between them, each one of those known."""

    class Names(argparse.Action):
        def __call__(
            self,
            parser: argparse.ArgumentParser,
            namespace: argparse.Namespace,
            values: object,
            _: object = None,
        ) -> None:
            names = str(values).split(",")
            unknown = [name for name in names if name not in known]
            if unknown:
                parser.error(f"{self.dest}: {unknown[0]!r} is none of {', '.join(known)}")
            setattr(namespace, self.dest, [name for name in known if name in names])

    return Names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, allow_abbrev=False
    )
    parser.add_argument(
        "--systems", action=_names(tuple(SYSTEMS)), default=list(SYSTEMS), help=",".join(SYSTEMS)
    )
    parser.add_argument(
        "--only", action=_names(rows.NAMES), default=list(rows.NAMES), help=",".join(rows.NAMES)
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often each load is measured (5)")
    parser.add_argument(
        "--seconds",
        type=int,
        default=1,
        help="of a load; twice that where a promise is about it (1)",
    )
    parser.add_argument(
        "--connections",
        type=lambda text: list(map(int, text.split(","))),
        default=list(rows.CONNECTIONS),
    )
    parser.add_argument(
        "--data", type=Path, default=DATA, help="where the nodes write; must be a disk"
    )
    parser.add_argument(
        "--read", type=Path, metavar="FILE", help="measure nothing, report this run"
    )
    parser.add_argument(
        "--publish", action="store_true", help="write tables and pictures into docs/"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
