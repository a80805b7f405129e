"""What the guest's tests share: targets, hosts, times; and nothing may be left."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.guest import kernel
from tests.lab.guest.backends import BACKENDS, Backend, Lab
from tests.lab.guest.hosts import IscsiHost, NvmeHost, wait_for
from tests.lab.guest.times import Times


@pytest.fixture(scope="session")
def tgtd() -> Iterator[None]:
    """A tgtd on a port of its own."""
    process = subprocess.Popen(
        ["tgtd", "--foreground", "-C", "1", "--iscsi", "portal=127.0.0.1:3261"],
        env={**os.environ, "TGT_IPC_SOCKET": "/run/tgtd"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for("tgtd", lambda: Path("/run/tgtd.1").exists())
    yield
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def times() -> Iterator[Times]:
    """How long the calls of every driver took, written down at the end."""
    times = Times()
    yield times
    times.write(Path("/lab/exchange/times.txt"))


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path, times: Times) -> Iterator[Lab]:
    """One backend, two hosts; afterwards nothing of the test may be left in the kernel.

    Which backend is told by the test class's ``backend``, or by a parameter.
    """
    name = getattr(request, "param", None) or request.cls.backend
    backend: Backend = BACKENDS[name]
    backend.require()
    if backend.target == "tgt":
        request.getfixturevalue("tgtd")
    hosts = [backend.host(IscsiHost, NvmeHost, which) for which in ("alice", "bob")]
    lab = Lab(backend, tmp_path, hosts, times)
    yield lab
    for host in hosts:
        host.close()
    left = kernel.tree() + kernel.volumes()
    lab.clean()
    assert left == [], "the test left something behind"


@pytest.fixture(autouse=True)
def nothing_is_in_the_way() -> None:
    """What a failed test left would fail the next ones, too: they say so at once."""
    assert kernel.tree() == []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    found = Path("/lab/exchange/times.txt")
    if found.exists():
        terminalreporter.section("milliseconds of each driver call")
        terminalreporter.write(found.read_text())
