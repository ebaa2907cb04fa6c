"""How many bytes all clients together may keep in this process: one count, one limit."""

from __future__ import annotations


class Budget:
    """Bodies that are arriving and answers that are not taken yet.

    :param bytes_max: above 0
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.held = 0

    def has_room(self, count: int) -> bool:
        """Whether ``count`` bytes more would fit."""
        return self.held + count <= self._bytes_max

    def take(self, count: int) -> None:
        """Count ``count`` bytes in, whether there is room or not."""
        self.held += count

    def give(self, count: int) -> None:
        """Count them out again; Invariant: never more than were taken."""
        self.held -= count
        assert self.held >= 0
