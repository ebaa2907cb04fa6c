"""What the documents say is held against the tree: rules, promises, words, columns."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "docs" / "rules.md"
PROMISES = ROOT / "docs" / "promises.md"
DOCS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if "newsfragments" not in path.parts and path.name != "CHANGELOG.md"
)
COLUMNS_MAX = 100

_TAG = re.compile(r"\[R(\d+)[a-g]?\]")
_OLD_TAG = re.compile(r"(?<![\w\])}])\[\d{1,2}[a-g]?\](?![\[(])")
_TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?(?:::(\w+))?`")
_MODULE = re.compile(r"`(raftdb/[\w/]+\.py)`")

GONE = (
    *(
        "caretaker",
        "vigil",
        "roster",
        "sightings",
        "patience",
        "gotext",
        "longtext",
        "waiting_room",
    ),
    *("ambush", "storm", "swarm", "cables", "carrier", "machinery", "workbench", "chronicle"),
    *("reshuffle", "newcomer", "ledger", "pulse", "intake", "manners", "telling"),
)
"""Modules whose names said nothing to a stranger; the field has words for what they do."""


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines outside tables, code, pictures and headings, with their numbers."""
    code = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.lstrip("> ").startswith(("```", "~~~")):
            code = not code
        elif not code and not re.match(r"\s*(\||#|!\[|<|`tests/)|\s{4}\S", line):
            yield number, line


@cache
def _classes(path: Path) -> dict[str, set[str]]:
    """Return the classes of a test file, each with its tests; its functions under ''."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {
        node.name: {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }
    found[""] = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    return found


def _texts() -> Iterator[Path]:
    for suffix in ("*.py", "*.txt", "*.tla"):
        for top in ("raftdb", "tests", "benchmarks", "docs"):
            yield from (ROOT / top).rglob(suffix)


class TestRules:
    """Every numbered rule is written down, and every rule written down is cited."""

    def test_each_tag_leads_to_a_rule(self) -> None:
        """In code, tests and documents."""
        rules = set(re.findall(r"^## R(\d+)\. ", RULES.read_text(), re.MULTILINE))
        cited = {
            (_name(path), number)
            for path in [*_texts(), *DOCS]
            for number in _TAG.findall(path.read_text(encoding="utf-8"))
        }
        assert [one for one in sorted(cited) if one[1] not in rules] == []

    def test_each_rule_is_cited(self) -> None:
        """A rule that no line of the code keeps is none."""
        rules = set(re.findall(r"^## R(\d+)\. ", RULES.read_text(), re.MULTILINE))
        cited = {
            number
            for path in (ROOT / "raftdb").rglob("*.py")
            for number in _TAG.findall(path.read_text(encoding="utf-8"))
        }
        assert sorted(rules - cited, key=int) == []

    def test_no_tag_has_its_old_form(self) -> None:
        """A number alone says nothing of where it is explained."""
        found = [
            f"{_name(path)}: {comment}"
            for path in (ROOT / "raftdb").rglob("*.py")
            for comment in re.findall(r"(?:#|\"\"\").*", path.read_text(encoding="utf-8"))
            if _OLD_TAG.search(comment)
        ]
        assert found == []

    @pytest.mark.parametrize("page", [RULES, PROMISES], ids=_name)
    def test_what_is_named_there_exists(self, page: Path) -> None:
        """Modules, and tests by file, class and name."""
        text = page.read_text(encoding="utf-8")
        missing = [name for name in _MODULE.findall(text) if not (ROOT / name).is_file()]
        for file, of, test in _TEST.findall(text):
            path = ROOT / file
            if not path.is_file():
                missing.append(file)
            elif of and of not in _classes(path) and of not in _classes(path)[""]:
                missing.append(f"{file}::{of}")
            elif test and test not in _classes(path).get(of, set()):
                missing.append(f"{file}::{of}::{test}")
        assert missing == []

    @pytest.mark.parametrize("page", [RULES, PROMISES], ids=_name)
    def test_each_section_names_a_test(self, page: Path) -> None:
        """A promise without a test is a wish."""
        sections = re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
        assert [one.splitlines()[0] for one in sections if not _TEST.search(one)] == []


@pytest.mark.parametrize("path", DOCS, ids=_name)
class TestEveryPage:
    """Documents can be read in a terminal and reviewed by line."""

    def test_stays_within_a_hundred_columns(self, path: Path) -> None:
        """Outside tables and code; a link that is longer stands alone."""
        long = [
            f"{number}: {line}"
            for number, line in _prose(path)
            if len(line) > COLUMNS_MAX and " " in line.strip(" >-*0123456789.")
        ]
        assert long == []

    def test_speaks_of_what_is_here(self, path: Path) -> None:
        """Links to files lead to files."""
        links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
        missing = [
            link
            for link in links
            if "://" not in link and not (path.parent / link).exists() and link != "mailto:"
        ]
        assert missing == []


class TestWords:
    """Modules are called as the field calls what they do."""

    def test_names_that_said_nothing_are_gone(self) -> None:
        """Nobody brings them back."""
        assert [_name(path) for path in (ROOT / "raftdb").rglob("*.py") if path.stem in GONE] == []


class TestImports:
    """Modules form no circle, also not where types alone are meant."""

    def test_no_module_leads_back_to_itself(self) -> None:
        """Whoever reads one need not have read the other before."""
        modules = {
            ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
            for path in (ROOT / "raftdb").rglob("*.py")
        }
        graph = {name: _imports(path, modules) - {name} for name, path in modules.items()}
        while free := [name for name, needed in graph.items() if not needed]:
            for name in free:
                del graph[name]
            for needed in graph.values():
                needed.difference_update(free)
        assert sorted(graph) == [], "these lie on circles, or stand on one"


def _imports(path: Path, modules: dict[str, Path]) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in modules else node.module)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found & modules.keys()
