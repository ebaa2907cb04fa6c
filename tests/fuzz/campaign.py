"""One parser under attack in this process: atheris, guided by the branches not taken yet.

Importing this module instruments what is imported by it, so it is a process of its own; see ``__main__``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]  # of make fuzz alone

with atheris.instrument_imports(
    include=["raftdb", "twisted.protocols.amp", "twisted.protocols.basic", "twisted.web.http"]
):
    from tests.fuzz.targets import TARGETS

INPUT_BYTES_MAX = 2048


def attack(name: str, seconds: int, learnt: Path) -> None:
    """Fuzz one target for so long; ends the process.

    :param learnt: where inputs that led somewhere new are kept, and those that failed
    """
    corpus, found = learnt / name, learnt / "found" / name
    for directory in (corpus, found):
        directory.mkdir(parents=True, exist_ok=True)
    for number, example in enumerate(TARGETS[name].examples()):
        (corpus / f"example{number}").write_bytes(example)
    options = (
        f"-max_total_time={seconds}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-artifact_prefix={found}/",
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-print_final_stats=1",
        "-verbosity=0",
    )
    atheris.Setup([sys.argv[0], *options, str(corpus)], TARGETS[name].run)
    atheris.Fuzz()


if __name__ == "__main__":
    attack(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
