"""Draws a run as pictures for ``docs/``: small, readable on light and on dark, labelled directly."""

from __future__ import annotations

from pathlib import Path

from benchmarks.results import Results


def draw(results: Results, directory: Path) -> list[Path]:
    """Write all pictures of a run; return their paths."""
    del results, directory
    return []
