"""Every line of the log is one line: what does not print is escaped, whoever has said it.

Names, headers, paths and the words of other programs end up in the log. Each place that writes them
checks them; here is the one place that all of them pass, so that none can write a line in the
node's own name, or a terminal's control characters.
"""

from __future__ import annotations

from twisted.logger import ILogObserver, LogEvent, LogPublisher, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

_FORMAT = "{log_escaped}"


def escape_lines(publisher: LogPublisher) -> None:
    """Have all events of ``publisher`` escaped, for the observers that are added after this."""
    publisher.addObserver(_ESCAPING)  # it is in there once, however often it is added


def escaped(text: str) -> str:
    """Return ``text`` with line breaks, terminal controls and their like written out."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode("ascii")
        for each in text
    )


@implementer(ILogObserver)
class _Escaping:
    """Changes an event before others see it, but only one that needs it."""

    def __call__(self, event: LogEvent) -> None:
        text = formatEvent(event)
        if text and not text.isprintable():
            event["log_escaped"] = escaped(text)
            event["log_format"] = _FORMAT
            event.pop("log_flattened", None)
        failure = event.get("log_failure")
        if isinstance(failure, Failure) and not failure.getErrorMessage().isprintable():
            event["log_failure"] = _EscapedFailure(failure)


class _EscapedFailure:
    """A failure whose traceback has the lines that Python made, and no others."""

    def __init__(self, failure: Failure) -> None:
        self._failure = failure

    def __getattr__(self, name: str) -> object:
        return getattr(self._failure, name)

    def getTraceback(self, *_arguments: object, **_options: object) -> str:
        """Return the traceback; the exception's own words are one line of it."""
        words = self._failure.getErrorMessage()
        whole = self._failure.getTraceback().replace(words, escaped(words))
        return "\n".join(escaped(line) for line in whole.split("\n"))


_ESCAPING = _Escaping()
