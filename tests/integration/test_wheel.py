"""What users install: the wheel, in a clean environment, used from anywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(name="python", scope="module")
def python_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources and install it, and it alone, somewhere new.

    Its dependencies are those of this environment, by a path file: nothing is downloaded.
    """
    base = tmp_path_factory.mktemp("wheel")
    sources = base / "sources"
    sources.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    for name in ("raftdb", "twisted"):
        shutil.copytree(ROOT / name, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
    wheels = base / "wheels"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(sources)]
    subprocess.run(build, check=True, cwd="/")
    venv.create(base / "venv", symlinks=True)
    python = base / "venv" / "bin" / "python"
    target = next((base / "venv" / "lib").glob("python*/site-packages"))
    wheel = next(wheels.glob("*.whl"))
    install = [*pip, "install", "--no-deps", "--no-index", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, cwd="/")
    others = [path for path in sys.path if path.endswith("site-packages")]
    (target / "others.pth").write_text("\n".join(others))
    return python


@pytest.mark.slow
class TestTheWheel:
    """``pip install`` is all it takes."""

    def run(self, python: Path, *command: str) -> str:
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [str(python), *command],
            capture_output=True,
            text=True,
            check=True,
            cwd="/",
            env=environ,
        )
        return done.stdout

    def test_twistd_finds_it_from_any_directory(self, python: Path) -> None:
        """An editable install would hide that the plugin is missing."""
        script = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
        assert "raftdb " in self.run(python, "-c", script, "--help")
        assert "--join=" in self.run(python, "-c", script, "raftdb", "--help")

    def test_it_is_the_wheels_own_code(self, python: Path) -> None:
        """And it brings no Twisted of its own along."""
        script = "import raftdb, twisted, os; print(raftdb.__file__); print(twisted.__file__)"
        own, twisted = self.run(python, "-c", script).splitlines()
        assert Path(own).is_relative_to(python.parents[1])
        assert not Path(twisted).is_relative_to(python.parents[1])
