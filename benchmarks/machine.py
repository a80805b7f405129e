"""Where it was measured: the machine, and the versions of what took part."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks import peers


def facts(names: Iterable[str], postgresql: Path | None) -> dict[str, Any]:
    """All that a reader of the figures may want to know.

    :param postgresql: the directory of the server's programs.
    """
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "load_average": os.getloadavg(),
        "system": platform.platform(),
        "filesystem": _filesystem(Path(tempfile.gettempdir())),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "postgresql": _postgresql(postgresql),
        "versions": versions(names),
    }


def versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of the peers' distributions; one that is not installed is left out."""
    found: dict[str, str] = {}
    for name in names:
        try:
            packages = peers.load(name).packages
        except ImportError:
            continue
        found |= {package: metadata.version(package) for package in packages}
    return dict(sorted(found.items()))


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def _filesystem(path: Path) -> str:
    """The type of the file system that a path is on: ``ext4``, ``tmpfs``."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    above = [m for m in mounts if path.is_relative_to(m[1])]
    return max(above, key=lambda m: len(m[1]))[2] if above else "unknown"


def _postgresql(binaries: Path | None) -> str | None:
    if binaries is None:
        return None
    command = [str(binaries / "postgres"), "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[2]
