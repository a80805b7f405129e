"""The examples that are no doctests: programs with what they print, and a shell's."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.docs.conftest import DOCS

PROGRAM = re.compile(r"^```python\n(.*?)^```\n\n```text\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    "page", [DOCS.parent / "README.md", DOCS / "testing.md"], ids=lambda path: path.name
)
def test_a_program_prints_what_the_page_shows(
    page: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    found = PROGRAM.search(page.read_text("utf-8"))
    assert found is not None
    exec(compile(found[1], page.name, "exec"), {})
    assert found[2] == capsys.readouterr().out


@pytest.mark.slow
def test_the_quickstart_runs_as_it_is_written(tmp_path: Path) -> None:
    found = SHELL.search((DOCS / "quickstart.md").read_text("utf-8"))
    assert found is not None
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euc", found[1]],
        cwd=tmp_path,
        env={**os.environ, "PATH": programs},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    assert "Nothing needs you." in done.stdout
    assert [] == list((tmp_path / "images").glob("*.raw"))
