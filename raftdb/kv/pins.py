"""Pins: who still needs what could be read at a revision, and what they need of it.

Owns what each snapshot under way was promised, and knows nothing of how versions are kept. Breaking
a promise is its caller's decision.
"""

from __future__ import annotations

from raftdb.kv.containers import Table

NOTHING = -1
"""In place of the newest revision that is pinned: nothing was written by then."""


class Pin:
    """A promise to keep all that could be read at ``revision``, until it is let go or broken.

    :param floor: what is superseded after this revision is kept, ``floor <= revision``
    :ivar replaced: of the keys written since, the version that each had at ``revision``: what was
        written since may be much, and is not walked past
    :ivar broken: whether the promise had to be given up; what is read after that may have holes
    """

    __slots__ = ("broken", "floor", "replaced", "revision")

    def __init__(self, revision: int, floor: int) -> None:
        self.revision = revision
        self.floor = floor
        self.replaced: Table[bytes, bytes] = Table()
        self.broken = False


class Pins:
    """The pins that hold now.

    :ivar newest: the newest revision that one of them stands at: who writes over a version that is
        not newer than that has to :meth:`note` it
    """

    def __init__(self) -> None:
        self.newest = NOTHING
        self._held: list[Pin] = []
        self._waste: list[dict[bytes, bytes]] = []

    def __len__(self) -> int:
        return len(self._held)

    def add(self, revision: int, floor: int) -> Pin:
        """Pin what can be read now."""
        pin = Pin(revision, floor)
        self._held.append(pin)
        self.newest = max(self.newest, revision)
        return pin

    def remove(self, pin: Pin) -> None:
        """Let go of a pin; harmless when it is broken already.

        What it noted may be a million versions, whose memory :meth:`sweep` gives back.
        """
        self._held = [one for one in self._held if one is not pin]
        self.newest = max((one.revision for one in self._held), default=NOTHING)
        self._waste += filter(None, pin.replaced.pieces)
        pin.replaced = Table()

    def note(self, key: bytes, old: bytes, modified: int) -> None:
        """Keep, for those who need it, the version of ``key`` that is written over now.

        :param modified: the revision that wrote it
        """
        for pin in self._held:
            if modified <= pin.revision:
                pin.replaced[key] = old

    def floor(self, compact_revision: int) -> int:
        """Return up to which revision nobody needs what was superseded."""
        if not self._held:
            return compact_revision  # as nearly always, and every commit asks
        return min([compact_revision, *(pin.floor for pin in self._held)])

    def break_at(self, floor: int) -> None:
        """Break the pins that stand at ``floor``."""
        for pin in [one for one in self._held if one.floor == floor]:
            pin.broken = True
            self.remove(pin)

    def sweep(self) -> None:
        """Give back some memory of those that are gone: a million versions at once take 40 ms."""
        if self._waste:
            self._waste.pop()
