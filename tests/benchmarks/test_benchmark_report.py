"""The tables are made of a run's figures and of nothing else; the hot paths still run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import report, results
from benchmarks.guard import Measured, line
from benchmarks.hot_paths import HOT_PATHS, HotPath
from benchmarks.results import Results
from benchmarks.systems.base import Sample
from benchmarks.targets import TARGETS, reached

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(name="run")
def run_fixture() -> Results:
    """Return a run of two rounds of which little was measured."""
    run = Results("a machine", "2026-01-01", 2, 1, {"raftdb": "1", "etcd": "3"}, load=[0.1, 0.2])
    for ours, theirs in ((300, 100), (500, 100)):
        run.add_sample("write", 64, "raftdb", Sample(ours, 1.0, 2.0, 9.0, 0, 150.0))
        run.add_sample("write", 64, "etcd", Sample(theirs, 1.0, 20.0, 90.0, 0, 300.0))
    run.add_values("failover_s", "raftdb", [0.4, 0.2, 0.3])
    run.add_values("memory_100k_mb", "raftdb", [130.0])
    return run


class TestPromises:
    """What must be reached stands beside what was measured."""

    def test_a_ratio_is_the_median_of_the_rounds(self, run: Results) -> None:
        """Three and five times as many make four; twice was the aim."""
        verdicts = {one.target.title: one for one in reached(run)}
        assert verdicts["writes, 64 connections"].measured == 4
        assert verdicts["writes, 64 connections"].verdict == "**aim reached**"

    def test_a_ratio_just_below_is_not_rounded_up_to_the_demand(self, run: Results) -> None:
        """Whoever reads "missed" sees by how much."""
        run.add_sample("write", 1, "raftdb", Sample(109, 1.0, 2.0, 9.0, 0, 150.0))
        run.add_sample("write", 1, "etcd", Sample(100, 1.0, 20.0, 90.0, 0, 300.0))
        assert "| 1.10 × | 1.50 × | 1.09 × | – | missed |" in report.markdown(run)

    def test_of_seconds_and_megabytes_less_is_better(self, run: Results) -> None:
        """Between the aim and what is demanded it is reached, beyond that missed."""
        verdicts = {one.target.where: one.verdict for one in reached(run)}
        assert verdicts["failover_s"] == "reached"
        assert verdicts["memory_100k_mb"] == "missed"

    def test_what_was_not_measured_is_not_judged(self, run: Results) -> None:
        """Every promise has its line all the same."""
        verdicts = [one.verdict for one in reached(run)]
        assert verdicts.count("not measured") == len(TARGETS) - 3


class TestThePage:
    """Only what stands between the marks is written anew."""

    def test_is_replaced_between_its_marks(self, run: Results, tmp_path: Path) -> None:
        """And can be replaced again."""
        page = tmp_path / "page.md"
        page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
        report.publish(report.tables(run), page)
        once = page.read_text()
        report.publish(report.tables(run), page)
        assert page.read_text() == once
        assert once.startswith("before\n")
        assert once.endswith("\nafter\n")
        assert "old" not in once
        row = "| 64 | raftdb | 400 (300–500) | 2.0 | 9.0 | 150 | 4.0 (3.0–5.0) | – |"
        assert row in once.splitlines()

    def test_without_marks_is_left_alone(self, tmp_path: Path) -> None:
        """Rather than overwritten."""
        page = tmp_path / "page.md"
        page.write_text("mine")
        with pytest.raises(ValueError, match="lacks the marks"):
            report.publish("", page)
        assert page.read_text() == "mine"

    @pytest.mark.parametrize(
        ("page", "write"), [("docs", report.summary), ("notes", report.tables)], ids=str
    )
    def test_the_real_pages_show_the_published_run(
        self, page: str, write: Callable[[Results], str]
    ) -> None:
        """To the letter: no figure there was written by hand."""
        text = (ROOT / page / "benchmarks.md").read_text(encoding="utf-8")
        shown = text[text.index(report.BEGIN) + len(report.BEGIN) : text.index(report.END)]
        published = results.load(ROOT / "benchmarks" / "results" / "published.json")
        assert shown.strip() == write(published).strip()

    def test_a_run_is_read_as_it_was_written(self, run: Results, tmp_path: Path) -> None:
        """So that a page can be made anew from a file."""
        results.save(run, tmp_path / "run.json")
        assert results.load(tmp_path / "run.json") == run

    def test_failures_are_told(self, run: Results) -> None:
        """A figure is not shown without the requests that failed, nor a run without its troubles."""
        run.add_sample("write", 64, "etcd", Sample(100, 1.0, 20.0, 90.0, 7, 300.0))
        run.notes.append("growth, etcd: a node ended")
        text = report.markdown(run)
        assert "7 failed" in text
        assert "- growth, etcd: a node ended" in text


class TestTheGuard:
    """It measures production code, and speaks up where a path became slower."""

    @pytest.mark.parametrize("path", HOT_PATHS, ids=lambda path: path.name)
    def test_every_hot_path_runs(self, path: HotPath, tmp_path: Path) -> None:
        """A change of a seam that breaks the measurement is found here."""
        path.prepare(tmp_path)(min(path.operations, 256))

    def test_noise_is_not_shouted(self) -> None:
        """Only what is beyond it."""
        before = Measured(10.0, 20.0)
        assert "**" not in line("x", Measured(10.0, 21.0), before)
        assert "**+50%** slower" in line("x", Measured(10.0, 30.0), before)
        assert "**-50%** faster" in line("x", Measured(10.0, 10.0), before)
