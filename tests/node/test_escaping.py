"""One event is one line in the log, whatever it holds."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import FilteringLogObserver, Logger, LogPublisher, textFileLogObserver
from twisted.python.failure import Failure

from raftdb.node.escaping import escape_lines, escaped


class Log:
    """What a node writes, and the text that comes of it."""

    def __init__(self) -> None:
        publisher = LogPublisher()
        self._file = io.StringIO()
        escape_lines(publisher)
        escape_lines(publisher)
        publisher.addObserver(FilteringLogObserver(textFileLogObserver(self._file), ()))
        self.logger = Logger("test", observer=publisher)

    @property
    def text(self) -> str:
        return self._file.getvalue()


class TestEveryLine:
    """The property of the one place that all of them pass."""

    @given(st.text(max_size=60))
    def test_is_one(self, said: str) -> None:
        """Whatever somebody said: one line break, at the end, and nothing else that is no text."""
        log = Log()
        log.logger.info("{peer}: {what}", peer=said, what=ValueError(said))
        assert log.text.endswith("\n")
        assert log.text[:-1].isprintable()

    def test_says_what_was_there(self) -> None:
        """Escaped, not dropped: who looks for the stranger finds its words."""
        log = Log()
        log.logger.info("{peer}", peer="n1\nraftdb stops: all data lost\x1b[2J\u2028\udc80")
        assert "n1\\nraftdb stops: all data lost\\x1b[2J\\u2028\\udc80\n" in log.text

    @pytest.mark.parametrize("plain", ["", "node01: connected", "Bäume, 木, 🌳"])
    def test_of_text_stays_as_it_is(self, plain: str) -> None:
        """Also text of other tongues."""
        assert escaped(plain) == plain


class TestATraceback:
    """Python makes its lines; the exception's words make none."""

    def test_holds_the_words_in_one_line(self) -> None:
        """The last one, as always."""
        log = Log()
        words = "evil\n2026-01-01T00:00:00 raftdb stops\r\x1b[2J"
        log.logger.failure("a bug", Failure(ValueError(words)))
        last = log.text.strip().splitlines()[-1]
        assert "evil\\n2026-01-01T00:00:00 raftdb stops\\r\\x1b[2J" in last
        assert "Traceback" in log.text
