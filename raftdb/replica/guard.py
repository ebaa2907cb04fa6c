"""The one guard around every entry into a Replica: what must not happen ends the node.

An exception in a reactor call is otherwise logged and swallowed, and the node would go on with a
core that stopped half-way through a transition. A failed save, a broken invariant and a bug all
take the same way out: the injected ``crash``, which in production ends the process.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from twisted.python.failure import Failure


class Guard:
    """A context in which every exception is fatal.

    Errors that are answers (refusals, a stranger's bad message) are caught inside of it.

    :param crash: is called with the failure, which goes no further
    """

    __slots__ = ("_crash",)

    def __init__(self, crash: Callable[[Failure], None]) -> None:
        self._crash = crash

    def __enter__(self) -> None:
        """Enter; nothing to prepare."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """Hand an exception to ``crash``; those that are none of ours (Ctrl-C) pass."""
        if not isinstance(error, Exception):
            return False
        failure = Failure(error, kind, traceback)  # type: ignore[no-untyped-call]  # Twisted's
        self._crash(failure)
        return True
