"""What volflow made in the kernel, seen without volflow."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from tests.lab.guest.hosts import Refused, run

TARGET = Path("/sys/kernel/config/target")
NVMET = Path("/sys/kernel/config/nvmet")
DISK = next((name for name in ("/dev/vdb", "/dev/ubdb") if Path(name).exists()), "")
"""The disk of the volume group, as the emulated computer calls it, or the kernel in user mode."""

_OWN = {"alua", "discovery_auth"}
"""What the kernel has itself there."""


def tree() -> list[str]:
    """Every object and link that somebody made for LIO and nvmet, sorted."""
    found: list[str] = []
    for name in _names(TARGET / "core"):
        found += [f"core/{name}", *(f"core/{name}/{d}" for d in _names(TARGET / "core" / name))]
    for name in _names(TARGET / "iscsi"):
        found.append(f"iscsi/{name}")
        for group in (TARGET / "iscsi" / name).glob("tpgt_*"):
            found += _below(group, ("lun", "np", "acls"))
    for kind in ("hosts", "ports", "subsystems"):
        for name in _names(NVMET / kind):
            found.append(f"nvmet/{kind}/{name}")
            found += _below(NVMET / kind / name, ("namespaces", "allowed_hosts", "subsystems"))
    return sorted(found)


def wipe() -> None:
    """Take away everything at once, as a reboot does, without asking volflow."""
    for enable in TARGET.glob("iscsi/*/tpgt_*/enable"):
        enable.write_text("0")
    for port in NVMET.glob("ports/*/subsystems/*"):
        port.unlink()
    for enable in NVMET.glob("subsystems/*/namespaces/*/enable"):
        enable.write_text("0")
    for pattern in (
        "iscsi/*/tpgt_*/acls/*/lun_*",
        "iscsi/*/tpgt_*/acls/*",
        "iscsi/*/tpgt_*/lun/*",
        "iscsi/*/tpgt_*/np/*",
        "iscsi/*/tpgt_*",
        "iscsi/*",
        "core/*/*",
        "core/*",
    ):
        _remove(TARGET, pattern)
    for pattern in ("subsystems/*/allowed_hosts/*", "subsystems/*/namespaces/*", "subsystems/*",
                    "hosts/*", "ports/*"):  # fmt: skip
        _remove(NVMET, pattern)


def volumes(group: str = "lab") -> list[str]:
    """The logical volumes that carry volflow's tag."""
    try:
        found = run("lvs", "--devices", DISK, "--noheadings", "-o", "lv_name", "-S",
                    "lv_tags=volflow", group)  # fmt: skip
    except Refused:
        return []
    return found.split()


def _remove(root: Path, pattern: str) -> None:
    for path in root.glob(pattern):
        if path.is_symlink():
            path.unlink()
        elif path.is_dir() and path.name not in _OWN:
            for link in path.iterdir():
                if link.is_symlink():
                    link.unlink()
            with contextlib.suppress(OSError):
                path.rmdir()


def _names(path: Path) -> list[str]:
    if not path.is_dir():  # nobody has used it since the machine booted
        return []
    return [p.name for p in path.iterdir() if p.is_dir() and p.name not in _OWN]


def _below(top: Path, kinds: tuple[str, ...]) -> list[str]:
    found = [str(top)]
    for kind in kinds:
        for directory, names, _ in os.walk(top / kind):
            made = [n for n in names if n != "statistics" and n not in ("attrib", "auth", "param")]
            found += [f"{directory}/{name}" for name in made]
            names[:] = [n for n in made if not (Path(directory) / n).is_symlink()]
    return found
