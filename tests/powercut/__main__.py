"""``python -m tests.powercut``: cuts the power under real file systems, and looks what is left.

Entries are saved, as a node saves them, to a file system on a disk that remembers all it is told.
From what it was told up to some moment, images are made of what such a disk may hold when the power
is gone: everything before the last order to empty its cache, and any of the sectors written since.
Each is mounted, and recovered: all that was acknowledged has to be there, and nothing that was never
saved. Everything runs in a mount and a pid namespace of its own.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos.netlab import ISOLATED
from tests.powercut.cutting import Bench, Kind, attached, draw, empty, has, mounted, run, unmount
from tests.powercut.journal import DISK_NAME, read_journal
from tests.powercut.saving import Saved

SKIPPED = 77
EXT4, XFS = ("mkfs.ext4", "-q", "-F"), ("mkfs.xfs", "-q", "-f")
KINDS = (
    Kind("ext4", EXT4),
    Kind("ext4, blocks of 1 KiB", (*EXT4, "-b", "1024")),
    Kind("ext4, data in the journal", EXT4, "rw,data=journal"),
    Kind("ext4, sectors of 4 KiB", EXT4, sector_bytes=4096),
    Kind("xfs", XFS, "rw,nouuid"),
    Kind("xfs, sectors of 4 KiB", XFS, "rw,nouuid", sector_bytes=4096),
)
WRITERS = {"auto": "io_uring and thread", "thread": "thread alone"}


def main() -> int:
    """Parse, isolate, run, clean up; return the exit code."""
    options = _parser().parse_args()
    if options.inside:
        return _campaign(options, Path(options.inside))
    reason = why_impossible()
    if reason:
        sys.stdout.write(f"powercut is skipped: {reason}\n")
        return SKIPPED
    base = Path(tempfile.mkdtemp(prefix="raftdb-powercut-", dir=options.directory))
    command = [*ISOLATED, sys.executable, "-m", "tests.powercut", *sys.argv[1:]]
    try:
        code = subprocess.run([*command, "--inside", str(base)], check=False).returncode
    finally:
        kept = base / "kept"
        if kept.exists():
            sys.stdout.write(f"what was found is in {kept}\n")
        else:
            shutil.rmtree(base, ignore_errors=True)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.powercut", description=__doc__)
    parser.add_argument("--cuts", type=int, default=200, help="of the power, in each setting")
    parser.add_argument("--entries", type=int, default=300, help="saved in each setting")
    parser.add_argument("--seed", default=None, help="of what is saved, and of the cuts")
    parser.add_argument("--only", default="", help="only file systems with this in their name")
    parser.add_argument(
        "--forgetful",
        action="store_true",
        help="save without any sync: that must be found out, with an exit code of 1",
    )
    parser.add_argument(
        "--directory",
        default="/dev/shm" if Path("/dev/shm").is_dir() else None,
        help="where the disks are kept; in memory where there is such a place",
    )
    parser.add_argument("--inside", default="", help=argparse.SUPPRESS)
    return parser


def why_impossible() -> str:
    """Return what is missing on this machine, or nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "it needs root on Linux"
    if not Path("/dev/fuse").exists():
        return "there is no /dev/fuse"
    if importlib.util.find_spec("mfusepy") is None:
        return "mfusepy is not installed (pip install mfusepy)"
    found = subprocess.run(
        [sys.executable, "-c", "import mfusepy"], capture_output=True, check=False
    )
    if found.returncode:
        return "there is no libfuse (apt install fuse3)"
    missing = [name for name in ("losetup", "unshare", "setpriv", "mkfs.ext4") if not has(name)]
    return f"{' and '.join(missing)} missing" if missing else ""


def _campaign(options: argparse.Namespace, base: Path) -> int:
    """Go through all settings; return the exit code."""
    seed = options.seed or str(random.randrange(10**6))
    sys.stdout.write(f"seed {seed}: {options.cuts} cuts in each setting\n")
    failed = cuts = 0
    for kind in KINDS:
        if options.only not in kind.name:
            continue
        if not has(kind.make[0]):
            sys.stdout.write(f"{kind.name}: left out, there is no {kind.make[0]}\n")
            continue
        for writer in WRITERS:
            where = base / f"{kind.name} {writer}".replace(",", "").replace(" ", "-")
            where.mkdir()
            failed += _setting(where, kind, writer, seed, options)
            cuts += options.cuts
    sys.stdout.write(f"{cuts} cuts, {failed} of them lost or refused something\n")
    return 1 if failed or not cuts else 0


def _setting(base: Path, kind: Kind, writer: str, seed: str, options: argparse.Namespace) -> int:
    """Save once, and cut often; return how many of the cuts did harm."""
    began = time.monotonic()
    saves, told = _save(base, kind, writer, seed, options)
    bench = Bench(base, kind, read_journal(base / "journal"), saves, seed)
    rng = random.Random(f"{seed}/{kind.name}/{writer}")
    failed = more = 0
    for done, cut in enumerate(draw(saves, options.cuts, rng), 1):
        verdict = bench.cut(cut, rng)
        more += verdict.more
        if verdict.complaint:
            failed += 1
            if failed == 1:
                sys.stdout.write(f"\r{kind.name}, {writer}, cut {done}: {verdict.complaint}\n")
                _keep(base.parent / "kept", bench.image, base / "journal")
        _progress(f"{kind.name}, {WRITERS[writer]}: {done} of {options.cuts} cuts")
    _progress("")
    sys.stdout.write(
        f"{kind.name}, {WRITERS[writer]} ({told}): {len(saves) - 1} saves, {options.cuts} cuts,"
        f" {failed} failed; {more} found more than was acknowledged;"
        f" {time.monotonic() - began:.0f} s\n"
    )
    return failed


def _save(
    base: Path, kind: Kind, writer: str, seed: str, options: argparse.Namespace
) -> tuple[list[Saved], str]:
    """Save entries on a disk that remembers; return what was acknowledged when, and how."""
    at = base / "before"
    at.mkdir()
    command = [sys.executable, "-m", "tests.powercut.saving", str(at / "data")]
    command += [str(base / "journal"), "--writer", writer, "--seed", seed]
    command += ["--entries", str(options.entries), *["--forgetful"] * options.forgetful]
    with _plugged_in(base) as disk:
        with attached(disk, kind) as device:
            run(*kind.make, device)
        with mounted(disk, kind, at):
            told = run(*command).splitlines()
    return [Saved(*json.loads(line)) for line in told[:-1]], told[-1]


@contextmanager
def _plugged_in(base: Path) -> Iterator[Path]:
    """Have an empty disk that remembers."""
    at, backing = base / "plugged", base / "backing"
    at.mkdir()
    empty(backing)
    command = [sys.executable, "-m", "tests.powercut.disk", str(at), str(backing)]
    with subprocess.Popen([*command, str(base / "journal")]) as disk:
        try:
            while not (at / DISK_NAME).exists():
                if disk.poll() is not None:
                    raise SystemExit("the disk could not be plugged in")
                time.sleep(0.05)
            yield at / DISK_NAME
        finally:
            if disk.poll() is None:
                unmount(at)


def _keep(kept: Path, *paths: Path) -> None:
    kept.mkdir(exist_ok=True)
    for path in paths:
        shutil.copy(path, kept)


def _progress(line: str) -> None:
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\x1b[K{line}")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
