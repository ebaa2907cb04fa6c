"""Pins: who still needs what could be read at a revision, and what they need of it.

Owns what each snapshot under way was promised, and knows nothing of how versions are kept. What is
written while a snapshot is read is no part of it and waits for no pin. So what a pin holds is never
more than what could be read when it began, whatever is written meanwhile, and no pin is ever broken.
"""

from __future__ import annotations

from raftdb.state.kv.containers import TABLE_MASK, ShardedDict

NOTHING = -1
"""In place of the newest revision that is pinned: nothing was written by then."""


class Pin:
    """A promise to keep all that could be read at ``revision``, until it is read or let go.

    :param floor: what is superseded after this revision is kept, ``floor <= revision``
    :ivar replaced: of the keys written since and not yet read, the version that each had at
        ``revision``: what was written since may be much, and is not walked past
    :ivar replaced_bytes: of these versions
    :ivar reached: all keys before this one were read, and nothing is kept of them
    """

    __slots__ = ("floor", "reached", "replaced", "replaced_bytes", "revision")

    def __init__(self, revision: int, floor: int) -> None:
        self.revision = revision
        self.floor = floor
        self.replaced: ShardedDict[bytes, bytes] = ShardedDict()
        self.replaced_bytes = 0
        self.reached = b""

    def needs(self, revision: int) -> bool:
        """Whether what this revision made history is part of what is kept."""
        return self.floor < revision <= self.revision

    def take(self, key: bytes) -> bytes | None:
        """Hand over, and keep no longer, the version of ``key`` that was written over since."""
        old = self.replaced.pieces[hash(key) & TABLE_MASK].pop(key, None)
        if old is not None:
            self.replaced_bytes -= len(old)
        return old


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
        """Let go of a pin; again is harmless.

        What it noted may be a million versions, whose memory :meth:`sweep` gives back.
        """
        self._held = [one for one in self._held if one is not pin]
        self.newest = max((one.revision for one in self._held), default=NOTHING)
        self._waste += filter(None, pin.replaced.pieces)
        pin.replaced = ShardedDict()
        pin.replaced_bytes = 0

    def note(self, key: bytes, old: bytes, modified: int) -> None:
        """Keep, for those who need it, the version of ``key`` that is written over now.

        :param modified: the revision that wrote it
        """
        for pin in self._held:
            if modified <= pin.revision and key >= pin.reached:
                pin.replaced[key] = old
                pin.replaced_bytes += len(old)

    @property
    def replaced_bytes(self) -> int:
        """Of the versions that were written over and are kept for pins alone."""
        return sum(pin.replaced_bytes for pin in self._held)

    def need(self, revision: int) -> bool:
        """Whether somebody needs what this revision made history."""
        return any(pin.needs(revision) for pin in self._held)

    def need_key(self, key: bytes) -> bool:
        """Whether somebody has yet to come by ``key``, which lived when they began."""
        return any(pin.replaced.get(key) is not None for pin in self._held)

    def sweep(self) -> None:
        """Give back some memory of those that are gone: a million versions at once take 40 ms."""
        if self._waste:
            self._waste.pop()
