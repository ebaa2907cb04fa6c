"""The house style that no linter knows, as tests: what is written here stays true by itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "raftdb").rglob("*.py"))
MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60
PURE = ("raft", "codec", "kv", "members", "machine")


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _is_pure(path: Path) -> bool:
    first = path.relative_to(ROOT / "raftdb").parts[0].removesuffix(".py")
    return first in PURE


@pytest.mark.parametrize("path", MODULES, ids=_name)
class TestEveryModule:
    """Each file of the package can be read in one sitting and answers one question."""

    def test_opens_with_a_charter(self, path: Path) -> None:
        """The docstring's first line says what the module owns."""
        charter = ast.get_docstring(ast.parse(path.read_text()))
        assert charter
        assert len(charter.splitlines()[0]) > 20

    def test_stays_a_module_and_not_a_heap(self, path: Path) -> None:
        """A file that outgrew its question is split."""
        assert len(path.read_text().splitlines()) <= MODULE_LINES_MAX

    def test_functions_fit_a_screen(self, path: Path) -> None:
        """A function that does not fit a screen does more than one thing."""
        long = [
            f"{node.name}: {node.end_lineno - node.lineno + 1} lines"
            for node in _functions(ast.parse(path.read_text()))
            if node.end_lineno is not None and node.end_lineno - node.lineno >= FUNCTION_LINES_MAX
        ]
        assert not long

    def test_imports_stand_at_the_top(self, path: Path) -> None:
        """An import inside a function hides a dependency; only the reactor has to wait."""
        hidden = [
            f"{function.name} imports {ast.unparse(node)}"
            for function in _functions(ast.parse(path.read_text()))
            for node in ast.walk(function)
            if isinstance(node, ast.Import | ast.ImportFrom)
            and ast.unparse(node) != "from twisted.internet import reactor"
        ]
        assert not hidden

    def test_type_ignores_say_what_and_why(self, path: Path) -> None:
        """A silenced checker names the rule it silences and the reason."""
        bare = [
            line.strip()
            for line in path.read_text().splitlines()
            if "type: ignore" in line and not re.search(r"type: ignore\[[\w, -]+\]  # \w", line)
        ]
        assert not bare

    def test_pure_modules_never_walk_a_set(self, path: Path) -> None:
        """String hashes differ per process, so an order drawn from a set breaks a replay [R26]."""
        if not _is_pure(path):
            return
        loops = [
            ast.unparse(node.iter)
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.For | ast.comprehension)
            and (
                isinstance(node.iter, ast.Set | ast.SetComp)
                or (isinstance(node.iter, ast.Call) and ast.unparse(node.iter.func) == "set")
            )
        ]
        assert not loops


class TestTheRepository:
    """What lies beside the code keeps the same manners."""

    def test_no_machine_paths(self) -> None:
        """Nothing here depends on, or tells of, the machine it was written on."""
        texts = [
            path
            for suffix in ("*.py", "*.md", "*.toml", "*.txt", "Makefile")
            for path in ROOT.rglob(suffix)
            if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
            and "build" not in path.relative_to(ROOT).parts
        ]
        pattern = re.compile(r"(?<![\w.])/(?:work|root|home/\w+)/")
        found = [_name(path) for path in texts if pattern.search(path.read_text())]
        assert found == []

    def test_the_plugin_directory_is_no_package(self) -> None:
        """``twisted`` is a namespace shared with Twisted itself; an __init__ would hide it."""
        assert not list((ROOT / "twisted").rglob("__init__.py"))
