"""Wrong usage of the command ``raftdb`` is told in one line, before anything is asked of anybody."""

from __future__ import annotations

import pytest

from raftdb.cli.main import main


class TestHelp:
    """What a script's author looks for."""

    def test_names_the_exit_codes(self, capsys: pytest.CaptureFixture[str]) -> None:
        """All five of them."""
        with pytest.raises(SystemExit):
            main(["--help"])
        told = " ".join(capsys.readouterr().out.split())
        assert "exit codes: 0 done; 1 refused or no such key; 2 wrong usage; 3 outcome unk" in told


class TestWrongUsage:
    """Exit code 2, what is wrong, and no traceback."""

    @pytest.mark.parametrize("text", ["nan", "inf", "0", "-1", "soon"])
    def test_a_time_that_cannot_be_waited(
        self, capsys: pytest.CaptureFixture[str], text: str
    ) -> None:
        """Twisted's timers would fail on it, long after it was typed."""
        with pytest.raises(SystemExit) as caught:
            main(["get", "key", f"--timeout={text}"])
        assert caught.value.code == 2
        assert f"{text!r} is no number of seconds above 0" in capsys.readouterr().err
