"""What of an event a line of the log says."""

from __future__ import annotations

from io import StringIO

import pytest
from twisted.logger import LogLevel

from raftdb.node.logfile import LogLines


class TestMarks:
    """A mark behind the source says that something is wrong; where nothing is, there is none."""

    @pytest.mark.parametrize(
        ("text", "source"),
        [
            ("Removing stale pidfile /run/node01.pid", "[log_legacy]"),
            ("Unhandled Error", "[log_legacy#critical]"),
        ],
    )
    def test_what_a_kill_leaves_is_no_alarm(self, text: str, source: str) -> None:
        """Twisted says both as critical; ``kill -9`` before a start is no trouble of this one."""
        out = StringIO()
        lines = LogLines(out)
        lines(
            {
                "log_namespace": "log_legacy",
                "log_level": LogLevel.critical,
                "log_format": "{text}",
                "log_time": 0.0,
                "text": text,
            }
        )
        assert f"{source} {text}" in out.getvalue().splitlines()[-1]
