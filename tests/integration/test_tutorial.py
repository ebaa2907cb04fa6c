"""The tutorial and the README's three nodes, as a reader does it: each command in its order, each answer as it is shown."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from raftdb.cli.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
LAPTOP = README.split("\n## Three nodes on a laptop\n")[1].split("\n## ")[0]
_BLOCK = re.compile(r"^```(sh|python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PORT = re.compile(r"\b8([0-2])(89|91)\b")
_STARTED = "__END_OF_STEP_%d__"


def script(page: str, ports: dict[str, int]) -> tuple[str, dict[int, str]]:
    """Return the page's commands as one script, and the answers it shows by their step."""
    lines, answers, step = ["set -eu -o pipefail"], {}, 0
    for kind, text in _BLOCK.findall(page):
        if kind == "python":
            lines.append(f"cat > office.py <<'END_OF_FILE'\n{text}END_OF_FILE")
        elif kind == "text":
            answers[step] = text
        elif "pip install" not in text:
            step += 1
            lines += [text, "echo", f"echo {_STARTED % step}"]
    code = "\n".join(lines)
    for port, free in ports.items():
        code = code.replace(port, str(free))
    for digit in "012":  # the restart puts its ports together
        code = code.replace(
            f"port=8{digit}", f"http={ports[f'8{digit}91']} raft={ports[f'8{digit}89']}"
        )
    return code.replace("${port}91", "${http}").replace("${port}89", "${raft}"), answers


def end(pid: int, pidfile: str) -> None:
    """Kill the process, if it is still the node that wrote this file."""
    with suppress(OSError):
        if Path(pidfile).name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)


class TestWhatANewcomerDoes:
    """What a newcomer does first must work to the letter."""

    @pytest.mark.parametrize("page", [TUTORIAL, LAPTOP], ids=["tutorial", "README"])
    def test_each_command_and_each_answer(self, tmp_path: Path, page: str) -> None:
        """On free ports, in an empty directory; what it started is stopped by its own last step."""
        names = [f"8{digit}{kind}" for digit in "012" for kind in ("91", "89")]
        ports = dict(zip(names, free_ports(len(names)), strict=True))
        code, answers = script(page, ports)
        bin_ = str(Path(sys.executable).parent)
        try:
            done = subprocess.run(
                ["bash", "-c", code],
                cwd=tmp_path,
                env={"PATH": f"{bin_}:/usr/local/bin:/usr/bin:/bin", "HOME": str(tmp_path)},
                capture_output=True,
                text=True,
                timeout=180,
                check=False,
            )
        finally:
            for node in tmp_path.glob("*.pid"):
                end(int(node.read_text()), str(node))
        assert done.returncode == 0, done.stderr
        steps = re.split(r"\n?__END_OF_STEP_\d+__\n", done.stdout)
        shown = {step: steps[step - 1].strip() for step in answers}
        assert answers
        assert shown == {step: text.strip() for step, text in answers.items()}
