"""A run drawn: everything that happened is in the picture, and the picture can be opened."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

from raftdb.raft.types import MemberID
from raftdb.simulation.run import command
from raftdb.simulation.run.picture import Event, Picture

A = MemberID("a", 1)
EVENTS: list[Event] = [
    (0.0, "starts", ("a", 1)),
    (0.0, "starts", ("b", 1)),
    (0.5, "is", ("a", "candidate", "of", "nobody", 2)),
    (0.6, "is", ("a", "leader", "of", A, 2)),
    (0.7, "answered", ("a/1", "_Put")),
    (0.8, "answered", ("b/1", "_Get")),
    (0.9, "fault:", ("kill <all> & sundry",)),
    (0.9, "dies", ("a",)),
    (1.0, "pauses", ("b", 0.25)),
    (1.5, "starts", ("a", 2)),
    (1.6, "liveness:", ("majority: a, b are well, c is dead",)),
    (2.0, "everything is healed", ()),
]


def titles(svg: str) -> list[str]:
    """Return what a browser shows where the mouse rests."""
    root = ET.fromstring(svg)
    return [found.text or "" for found in root.iter("{http://www.w3.org/2000/svg}title")]


class TestPicture:
    """One file of SVG."""

    def test_shows_every_role_from_when_to_when(self) -> None:
        """A node that is down has no bar, and one that is paused is hatched."""
        shown = titles(Picture(EVENTS, "seed 1").svg())
        assert "a: follower , 0.000 to 0.500 s" in shown
        assert "a: leader term 2, 0.600 to 0.900 s" in shown
        assert "a: follower , 1.500 to 2.000 s" in shown
        assert "b: follower , 0.000 to 2.000 s" in shown
        assert "b stands still, 1.000 to 1.250 s" in shown
        assert not [one for one in shown if "0.900 to 1.500" in one]

    def test_names_faults_and_phases(self) -> None:
        """Whatever their names contain."""
        svg = Picture(EVENTS, "seed 1").svg()
        texts = [element.text for element in ET.fromstring(svg).iter()]
        assert "kill <all> & sundry" in texts
        assert "then: majority: a, b are well, c is dead" in texts
        assert "healed" in texts

    def test_shows_the_broken_promise(self) -> None:
        """Its first line, in red."""
        svg = Picture(EVENTS, "seed 1", violation="a write was lost\nand more").svg()
        assert ">a write was lost</text>" in svg

    def test_counts_what_was_answered(self) -> None:
        """Writes and reads apart."""
        svg = Picture(EVENTS, "seed 1").svg()
        assert len(re.findall('<rect class="write"', svg)) == 1
        assert len(re.findall('<rect class="read"', svg)) == 1

    def test_of_nothing_is_empty(self) -> None:
        """A run that broke before it began can be drawn, too."""
        ET.fromstring(Picture([], "seed 1", violation="broken").svg())


class TestTheCommand:
    """``--picture``."""

    def test_draws_a_seed_the_same_each_time(self, tmp_path: Path) -> None:
        """As the run is the same each time."""
        paths = [tmp_path / "one.svg", tmp_path / "two.svg"]
        for path in paths:
            assert command.main(["--seed", "7", "--picture", str(path)]) == 0
        assert paths[0].read_bytes() == paths[1].read_bytes()
        assert len(titles(paths[0].read_text())) > 5
