"""What the demonstration tells, and how."""

from __future__ import annotations

from io import StringIO

from raftdb.cli.demo import dictionary
from raftdb.cli.steps import Story


class TestStory:
    """Readable in a file as on a terminal."""

    def test_progress_in_a_file_is_its_end_only(self) -> None:
        """A build's log is not filled with bars."""
        out = StringIO()
        story = Story(out)
        story.chapter("Load")
        progress = story.progress("keys", 100)
        for _ in range(100):
            progress.advance()
        progress.end("100 keys")
        assert out.getvalue() == "\n1  Load\n ✓ 100 keys\n"

    def test_chapters_are_numbered(self) -> None:
        """So that a line can be spoken of."""
        out = StringIO()
        story = Story(out)
        story.chapter("one")
        story.chapter("two")
        assert "2  two" in out.getvalue()


class TestDictionary:
    """The example data that the demonstration loads."""

    def test_holds_a_few_thousand_entries_that_are_texts(self) -> None:
        """Comments are no entries, and the number sign is one."""
        words = dictionary()
        assert len(words) > 4_000
        assert words["☃"] == "snowman"
        assert words["#"] == "number sign"
        assert all(key and value and "\t" not in value for key, value in words.items())
