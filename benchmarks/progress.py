"""Tells a person what is being done and how long it will still take."""

from __future__ import annotations

import sys
import time


class Progress:
    """One line that is written anew on a terminal; elsewhere a line for each step.

    :param total_s: about how long everything takes, corrected as time goes by
    """

    def __init__(self, total_s: float) -> None:
        self._total_s = total_s
        self._done_s = 0.0
        self._began = time.monotonic()
        self._moves = sys.stderr.isatty()

    def did(self, seconds: float) -> None:
        """Note that something is done which was expected to take so long."""
        self._done_s = min(self._total_s, self._done_s + seconds)

    def tell(self, what: str) -> None:
        """Say what comes now."""
        spent_s = time.monotonic() - self._began
        pace = spent_s / self._done_s if self._done_s > 0.05 * self._total_s else 1.0
        left_s = max(0.0, (self._total_s - self._done_s) * pace)
        percent = 100 * self._done_s / self._total_s if self._total_s else 100
        minutes, seconds = divmod(int(left_s), 60)
        line = f"[{percent:3.0f} %, {minutes}:{seconds:02} left] {what}"
        sys.stderr.write(f"\r\033[K{line}" if self._moves else f"{line}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._moves:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
