"""What a person reads: numbered chapters, lines under them, and progress while they wait.

On a terminal progress moves in place; elsewhere (a file, a pipe, a build's log) only its end is
written. Knows nothing of what is told.
"""

from __future__ import annotations

import os
import sys
from typing import TextIO

_BAR = 24
_BOLD, _GREEN, _RED, _PLAIN = "\033[1m", "\033[32m", "\033[31m", "\033[0m"


class Story:
    """Tells what happens, line by line.

    :param out: where to
    """

    def __init__(self, out: TextIO = sys.stdout) -> None:
        self._out = out
        self._moves = out.isatty() and os.environ.get("TERM") != "dumb"
        self._colours = self._moves and not os.environ.get("NO_COLOR")
        self._chapters = 0

    def chapter(self, title: str) -> None:
        """Begin the next chapter."""
        self._chapters += 1
        self.write(f"\n{self._paint(_BOLD, f'{self._chapters}  {title}')}\n")

    def line(self, text: str = "") -> None:
        """Tell one thing."""
        self.write(f"   {text}\n" if text else "\n")

    def good(self, text: str) -> None:
        """Tell that something holds which had to."""
        self.write(f" {self._paint(_GREEN, '✓')} {text}\n")

    def bad(self, text: str) -> None:
        """Tell that something does not hold."""
        self.write(f" {self._paint(_RED, '✗')} {text}\n")

    def progress(self, label: str, total: int) -> Progress:
        """Begin something that takes a while."""
        return Progress(self, label, total, moves=self._moves)

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{_PLAIN}" if self._colours else text

    def write(self, text: str) -> None:
        """Write ``text`` as it is, at once."""
        self._out.write(text)
        self._out.flush()


class Progress:
    """A bar that fills.

    :param moves: whether it may be drawn anew in place
    """

    def __init__(self, story: Story, label: str, total: int, *, moves: bool) -> None:
        self._story = story
        self._label = label
        self.total = total
        self._moves = moves
        self._drawn = -1
        self.done = 0

    def advance(self, count: int = 1) -> None:
        """Note that so much more is done."""
        self.done += count
        filled = self.done * _BAR // max(1, self.total)
        if self._moves and filled != self._drawn:
            self._drawn = filled
            bar = "█" * filled + "░" * (_BAR - filled)
            self._story.write(f"\r   {bar} {self._label} {self.done:,}/{self.total:,} ")

    def end(self, text: str) -> None:
        """Replace the bar by what came of it."""
        if self._moves:
            self._story.write("\r\033[K")
        self._story.good(text)
