"""What the machine boots from, built once and kept in the cache under the hash of its recipe."""

from __future__ import annotations

import configparser
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
TREE = HERE.parent.parent

GUEST_PYTHON = "3.11"
"""Debian 12's."""

KEPT_SECONDS = 30 * 24 * 3600

_PLATFORMS = ("manylinux2014_x86_64", "manylinux_2_28_x86_64", "manylinux_2_34_x86_64")


class Missing(Exception):
    """The lab cannot be built or booted here; the message says why."""


def cache_directory() -> Path:
    """Where images and dependencies are kept, outside the tree."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "volflow-lab"


def guest_image() -> Path:
    """Return the directory with ``vmlinuz``, ``initrd`` and ``root.img``; build it if need be.

    :raises Missing: it cannot be built here.
    """
    recipe = [(HERE / name).read_bytes() for name in ("packages", "build.sh")]

    def build(directory: Path) -> None:
        if os.geteuid() != 0:
            raise Missing("only root can build the guest, with debootstrap")
        if shutil.which("debootstrap") is None:
            raise Missing("debootstrap is not installed (Debian: debootstrap)")
        _run("the guest", [HERE / "build.sh", HERE / "packages", directory])

    return _cached("guest", recipe, build)


def guest_dependencies() -> Path:
    """Return the directory with what volflow and its tests import in the guest."""
    wanted = requirements()

    def build(directory: Path) -> None:
        target = ["--python-version", GUEST_PYTHON, "--implementation", "cp"]
        for platform in _PLATFORMS:
            target += ["--platform", platform]
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        pip += ["--no-input", "--no-warn-script-location", "--only-binary=:all:"]
        _run("the guest's dependencies", [*pip, "--target", directory, *target, *wanted])

    return _cached("dependencies", [line.encode() for line in (GUEST_PYTHON, *wanted)], build)


def requirements() -> list[str]:
    """What setup.cfg says that volflow needs, and what the guest's tests need beside it."""
    config = configparser.ConfigParser()
    config.read(TREE / "setup.cfg")
    extras = config["options.extras_require"]
    tests = _lines(extras["test"])
    installed = [*_lines(config["options"]["install_requires"]), *_lines(extras["host"])]
    return installed + [line for line in tests if re.match(r"(hypothesis|pytest)\b(?!-)", line)]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip() and line[0] != "#"]


def _cached(name: str, recipe: list[bytes], build: Callable[[Path], None]) -> Path:
    digest = hashlib.sha256(b"\0".join(recipe)).hexdigest()[:16]
    cache = cache_directory()
    found = cache / f"{name}-{digest}"
    cache.mkdir(parents=True, exist_ok=True)
    with _locked(cache / f"{name}.lock"):
        if not found.exists():
            _forget(cache.glob(f"{name}-*"))
            draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=cache))
            try:
                build(draft)
                draft.rename(found)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
        os.utime(found)
    return found


def _forget(directories: Iterable[Path]) -> None:
    """Remove what no tree has used for long; another one may be using it now."""
    for directory in directories:
        if directory.stat().st_mtime < time.time() - KEPT_SECONDS:
            shutil.rmtree(directory)


def _run(what: str, argv: list[object]) -> None:
    print(f"volflow lab: building {what} (a few minutes, the first time)", flush=True)
    with tempfile.TemporaryFile() as log:
        done = subprocess.run(
            [str(word) for word in argv],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode:
            log.seek(0)
            tail = log.read().decode(errors="replace").splitlines()[-15:]
            raise Missing("\n  ".join([f"{what} cannot be built:", *tail]))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
