"""``volflow demo`` with a real tgtd and a real initiator."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import volflow
from tests.servers.tgtd import NEEDED, RequireBinary


@pytest.fixture(autouse=True)
def programs(require_binary: RequireBinary) -> None:
    for name, package in NEEDED.items():
        require_binary(name, package)


def demo(tmp_path: Path, *words: str) -> subprocess.Popen[str]:
    """Start the demo with its temporary directory in ours."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(volflow.__path__[0]).parent),
        "TMPDIR": str(tmp_path),
        "COLUMNS": "80",
        "PYTHONUNBUFFERED": "1",
    }
    return subprocess.Popen(
        # A shell's background job, as the tests may be, has SIGINT ignored, and so would the demo.
        ["env", "--default-signal=INT", sys.executable, "-m", "volflow.cli", "demo", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def tgtds(tmp_path: Path) -> list[str]:
    """Find the running tgtds whose socket is in our directory."""
    mark = f"TGT_IPC_SOCKET={tmp_path}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text() == "tgtd\n" and mark in (
                entry / "environ"
            ).read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found


@pytest.fixture
def tmp_path() -> Path:
    """A directory whose path is short enough for a socket in it."""
    import shutil
    import tempfile

    made = Path(tempfile.mkdtemp(prefix="vd-", dir="/tmp"))
    yield made
    shutil.rmtree(made)


def test_the_demo_tells_the_whole_story(tmp_path: Path) -> None:
    process = demo(tmp_path)
    stdout, stderr = process.communicate(timeout=120)
    assert (0, "") == (process.returncode, stderr), stdout
    for shown in (
        "write 8 MiB",
        "refused: Authentication failure(513)",
        "refused: Target not found(515)",
        "killed by signal 9",
        "the volume is attaching",
        "(taken over)",
        "tgtd has 0 targets and 0 accounts",
        "of 5 operations 0 are unsettled",
    ):
        assert shown in stdout
    assert stdout.splitlines()[-1].startswith("ok: 13 steps")
    assert max(map(len, stdout.splitlines())) <= 80
    assert [] == list(tmp_path.iterdir())
    assert [] == tgtds(tmp_path)


def test_json_tells_it_without_secrets(tmp_path: Path) -> None:
    process = demo(tmp_path, "--json", "--keep")
    stdout, _ = process.communicate(timeout=120)
    found = json.loads(stdout)
    assert (0, True, "tgt") == (process.returncode, found["ok"], found["mode"])
    assert [] == found["not_shown"]
    kept = Path(found["kept"])
    assert "chap-secret" not in {p.name for p in kept.iterdir()}
    assert [] == tgtds(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_demo_stops_its_tgtd(tmp_path: Path, number: signal.Signals) -> None:
    """When it is interrupted in the middle; after SIGKILL only the directory is left."""
    process = demo(tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if "attach it over iSCSI" in line:
            break
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    codes = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
    assert codes[number] == process.returncode, stderr
    assert "Traceback" not in stderr
    until = time.monotonic() + 10
    while tgtds(tmp_path) and time.monotonic() < until:
        time.sleep(0.02)
    assert [] == tgtds(tmp_path)
    if number is not signal.SIGKILL:
        assert [] == list(tmp_path.iterdir())
