"""Golden scenarios: short histories with everything that happens in them, as text.

RAFTDB_REWRITE_SCENARIOS=1 writes them anew; read the difference before believing it. What a
scenario is about stands in its ``expect`` lines, which no rewriting changes.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raftdb.simulation.cores.scenario import VOCABULARY, Scenario

HERE = Path(__file__).parent / "scenarios"
FILES = sorted(HERE.glob("*.txt"))
REWRITE = os.environ.get("RAFTDB_REWRITE_SCENARIOS") == "1"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
class TestScenarios:
    """What happened once happens again."""

    def test_it_happens_as_written(self, path: Path) -> None:
        """Every message, transition and applied entry, in order."""
        written = path.read_text(encoding="utf-8")
        happened = Scenario().play(written)
        if REWRITE:
            path.write_text(happened, encoding="utf-8")
        else:
            assert happened == written

    def test_it_says_what_it_shows(self, path: Path) -> None:
        """A header, and at least one expectation."""
        written = path.read_text(encoding="utf-8")
        assert written.startswith("# ")
        assert "\n> expect " in written


class TestTheVocabulary:
    """The language of scenarios."""

    def test_every_word_is_explained(self) -> None:
        """Its docstring begins with how it is written."""
        for name, word in VOCABULARY.items():
            assert word.__doc__ is not None
            assert word.__doc__.startswith(f"``{name}")

    def test_every_word_is_in_the_documents(self) -> None:
        """A stranger finds it in docs/testing.md."""
        text = (HERE.parents[2] / "docs" / "testing.md").read_text(encoding="utf-8")
        assert [word for word in VOCABULARY if f"`{word}" not in text] == []

    @pytest.mark.parametrize(
        "line", ["jump a", "elect", "expect leader b", "expect beauty", "elect z"]
    )
    def test_what_it_does_not_mean_fails_by_line(self, line: str) -> None:
        """A typing error never passes for a history."""
        with pytest.raises(AssertionError, match="line 2"):
            Scenario().play(f"> cluster abc\n> {line}\n")

    def test_old_outcomes_are_replaced_and_comments_stay(self) -> None:
        """So that rewriting is a fixed point."""
        text = "# one\n\n> cluster a\n  nonsense\n> expect leader\n# two\n"
        assert Scenario().play(text) == "# one\n\n> cluster a\n> expect leader\n# two\n"
