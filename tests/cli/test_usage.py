"""Wrong usage of the command ``raftdb`` is told in one line, before anything is asked of anybody."""

from __future__ import annotations

import pytest

from raftdb.cli.main import main


class TestHelp:
    """What a script's author looks for."""

    def test_names_the_exit_codes(self, capsys: pytest.CaptureFixture[str]) -> None:
        """All of them, each for one outcome."""
        with pytest.raises(SystemExit):
            main(["--help"])
        told = " ".join(capsys.readouterr().out.split())
        assert (
            "exit codes: 0 done; 1 no such key; 2 wrong usage; 3 outcome unknown; 4 surely" in told
        )
        assert "5 the output could not be written; 130 interrupted; 141 nobody reads" in told


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

    @pytest.mark.parametrize("text", ["", ",", "a b", "::1", "a:0", "a:99999", "ftp://a", "a:1/x"])
    def test_an_endpoint_that_is_none(self, capsys: pytest.CaptureFixture[str], text: str) -> None:
        """The last two lines say what would be right, and where the rest is told."""
        with pytest.raises(SystemExit) as caught:
            main(["get", "-e", text, "key"])
        assert caught.value.code == 2
        first, last = capsys.readouterr().err.splitlines()
        assert "is no endpoint; one is HOST:PORT, [IPV6]:PORT or http://HOST:PORT" in first
        assert last == "raftdb: see raftdb get --help"

    def test_of_any_kind_fits_on_a_screen(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The help is a screen of its own."""
        with pytest.raises(SystemExit) as caught:
            main(["pug", "key"])
        assert caught.value.code == 2
        assert len(capsys.readouterr().err.splitlines()) == 2
