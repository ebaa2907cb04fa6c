"""What applying changed, handed to subscribers: in order, once per page of applied entries.

Where nobody subscribed, nothing is kept and nothing is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from raftdb.state.part import Changes

__all__ = ["AppliedChanges", "ChangeFeed", "Subscriber"]


class AppliedChanges(msgspec.Struct, frozen=True, gc=False):
    """What one entry changed in one part.

    :param part: the name of the part, as in :mod:`raftdb.state.registry`
    :param index: of the entry
    :param changes: in order, in the part's own bytes
    """

    part: str
    index: int
    changes: Changes


class Subscriber(Protocol):
    """Takes changes; it must not raise, and must not apply anything meanwhile."""

    def changed(self, page: Sequence[AppliedChanges]) -> None:
        """Take the changes of a page: all of them, in order, none twice."""

    def restarted(self, index: int) -> None:
        """Take note that a snapshot replaced the state: the changes up to ``index`` are skipped."""


class ChangeFeed:
    """The subscribers, and the changes of the page being applied."""

    def __init__(self) -> None:
        self._subscribers: tuple[Subscriber, ...] = ()
        self._page: list[AppliedChanges] = []

    @property
    def is_followed(self) -> bool:
        """Whether anybody subscribed."""
        return bool(self._subscribers)

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Hand all further changes to ``subscriber``, until the returned function is called."""
        self._subscribers += (subscriber,)

        def unsubscribe() -> None:
            self._subscribers = tuple(one for one in self._subscribers if one is not subscriber)

        return unsubscribe

    def add(self, part: str, index: int, changes: Changes) -> None:
        """Note what the entry at ``index`` changed."""
        self._page.append(AppliedChanges(part, index, changes))

    def publish(self) -> None:
        """Hand on what was noted since the last time."""
        if self._page:
            page, self._page = self._page, []
            for subscriber in self._subscribers:
                subscriber.changed(page)

    def restart(self, index: int) -> None:
        """Hand on that a snapshot that ends at ``index`` replaced the state."""
        self.publish()
        for subscriber in self._subscribers:
            subscriber.restarted(index)
