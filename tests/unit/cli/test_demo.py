"""``volflow demo`` on the local driver, as a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import volflow


def demo(tmp_path: Path, *words: str, columns: str = "80") -> subprocess.CompletedProcess[str]:
    """Run the demo with its temporary directory in ours."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(volflow.__path__[0]).parent),
        "TMPDIR": str(tmp_path),
        "COLUMNS": columns,
    }
    return subprocess.run(
        [sys.executable, "-m", "volflow.cli", "demo", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_local_demo_tells_its_story_and_leaves_nothing(tmp_path: Path) -> None:
    done = demo(tmp_path, "--local")
    assert (0, "") == (done.returncode, done.stderr)
    assert "not shown: iSCSI" in done.stdout
    assert "(taken over)" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("ok: 10 steps")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert [] == list(tmp_path.iterdir())


def test_json_tells_the_same(tmp_path: Path) -> None:
    done = demo(tmp_path, "--local", "--json", "--keep")
    found = json.loads(done.stdout)
    assert (True, "local", None) == (found["ok"], found["mode"], found["error"])
    assert all(step["ok"] and step["seconds"] >= 0 for step in found["steps"])
    (timeline,) = [step["timeline"] for step in found["steps"] if step["timeline"]]
    assert ["interrupted", "succeeded"] == [call["result"] for call in timeline]
    assert [Path(found["kept"])] == list(tmp_path.iterdir())
    assert (Path(found["kept"]) / "volflow.conf").exists()


def test_a_deviation_is_a_clear_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When recovery does not resume what was left, the demo says so and ends with 1."""
    from click.testing import CliRunner

    from volflow import RecoveryReport, VolumeManager
    from volflow.cli import main

    monkeypatch.setattr(VolumeManager, "recover", lambda self: RecoveryReport())
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    for words in (["demo", "--local"], ["demo", "--local", "--json"]):
        done = CliRunner().invoke(main, words)
        assert 1 == done.exit_code
        assert "FAILED" in done.stdout or json.loads(done.stdout)["ok"] is False
        assert "recovery did RecoveryReport" in done.stdout
        assert [] == list(tmp_path.iterdir())
