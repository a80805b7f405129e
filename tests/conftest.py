"""What all tests share: seeds, programs that may be missing, and nothing left behind."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

pytest_plugins = [
    "tests.servers.databases",
    "tests.servers.etcd",
    "tests.servers.mariadb",
    "tests.servers.postgresql",
    "tests.servers.redis",
    "tests.servers.zake",
    "tests.servers.zookeeper",
]

CI = os.environ.get("CI", "").lower() not in ("", "0", "false")
SESSION_VARIABLE = "VOLFLOW_TEST_SESSION"

hypothesis.settings.register_profile("volflow", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("volflow")

RequireBinary = Callable[..., Path]
RequireFile = Callable[[Path, str], Path]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("volflow")
    group.addoption("--seed", type=int, default=1, help="seed of the tests' random choices")
    group.addoption(
        "--database",
        choices=("sqlite", "postgresql", "mariadb"),
        default="sqlite",
        help="where the contract tests keep their rows",
    )
    group.addoption(
        "--operations", type=int, default=24, help="how many operations each board's chaos has"
    )
    group.addoption(
        "--trouble-seconds", type=float, default=5.0, help="how often something is killed there"
    )
    group.addoption(
        "--no-fsync", action="store_true", help="database servers do not wait for the disk"
    )


def pytest_configure() -> None:
    # Each worker of pytest-xdist marks the processes that it starts for itself.
    os.environ[SESSION_VARIABLE] = str(uuid.uuid4())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--database") == "sqlite":
        return
    others = [
        item
        for item in items
        if item.get_closest_marker("sqlite") or "hand" in getattr(item, "fixturenames", ())
    ]
    config.hook.pytest_deselected(items=others)
    items[:] = [item for item in items if item not in others]


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.getoption('--seed')} (repeat with --seed)"


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """Random choices of one test: the same in each run with the same ``--seed``."""
    return random.Random(f"{request.config.getoption('--seed')} {request.node.nodeid}")


def find_binary(name: str, *directories: str | Path) -> Path | None:
    """Find a program on the PATH, where Debian keeps servers, or in ``directories``."""
    places = [*map(str, directories), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    return Path(found) if found else None


@pytest.fixture(scope="session")
def require_binary() -> RequireBinary:
    """Find a program or skip the test; where CI is set, fail it.

    ``require_binary(name, package, *directories)``: the package is named to who has to
    install it.
    """

    def require(name: str, package: str, *directories: str | Path) -> Path:
        return find_binary(name, *directories) or lacking(name, package)

    return require


@pytest.fixture(scope="session")
def require_file() -> RequireFile:
    """Find a file that is no program: ``require_file(path, package)``; else as require_binary."""

    def require(path: Path, package: str) -> Path:
        return path if path.exists() else lacking(str(path), package)

    return require


def lacking(what: str, package: str) -> NoReturn:
    """Skip the test, or where CI is set fail it."""
    missing = f"{what} is not installed (Debian: {package})"
    if CI:
        pytest.fail(f"{missing}, and CI is set", pytrace=False)
    pytest.skip(missing)


def started_processes(token: str) -> dict[int, str]:
    """Find the living processes that carry ``token`` in their environment: pid to command.

    A daemon that left its parent carries it still. This process does not: what it was started
    with is what the kernel shows.
    """
    mark = f"{SESSION_VARIABLE}={token}".encode()
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark not in (entry / "environ").read_bytes().split(b"\0"):
                continue
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:
            continue  # gone meanwhile, or not ours
        if command and "multiprocessing.resource_tracker" not in command:
            found[int(entry.name)] = command
    return found


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Fail the session for a process that a test started and left; end the process."""
    yield
    token = os.environ[SESSION_VARIABLE]
    until = time.monotonic() + 5
    while (left := started_processes(token)) and time.monotonic() < until:
        time.sleep(0.05)
    for pid in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    if left:
        lines = "\n".join(f"  {pid}: {command}" for pid, command in left.items())
        pytest.fail(f"processes were left behind:\n{lines}", pytrace=False)
