"""How the guest's kernel runs: in an emulated computer, or as a process of this one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol

from tests.lab.image import TREE, Missing

QEMU = "qemu-system-x86_64"
MEMORY_MIB = 1024
CPUS = 2

_NEEDED = {"setpriv": "util-linux", "taskset": "util-linux", QEMU: "qemu-system-x86"}


class Paths(Protocol):
    """What a kernel is booted with."""

    image: Path
    dependencies: Path
    directory: Path
    exchange: Path
    console: Path


class Kernel(Protocol):
    """A way to run the guest."""

    def require(self) -> None:
        """Check that it works here.

        :raises Missing: it does not.
        """

    def argv(self, paths: Paths, disk: Path) -> list[str]:
        """The command that boots, with this file as the disk of the volume group."""


class Qemu:
    """A whole computer, whose processor is emulated.

    :param kvm: let this machine's processor run the guest, which is ten times faster where it
        works: a ``/dev/kvm`` that is there tells little.
    """

    def __init__(self, kvm: bool = False) -> None:
        self._kvm = kvm

    def require(self) -> None:
        _require("setpriv", QEMU)

    def argv(self, paths: Paths, disk: Path) -> list[str]:
        # The kernel ends it where this process is killed.
        argv = ["nice", "-n", "5", "setpriv", "--pdeathsig", "KILL", QEMU]
        argv += ["-machine", "q35", "-nodefaults", "-no-user-config"]
        argv += ["-display", "none", "-no-reboot", "-smp", str(CPUS), "-m", str(MEMORY_MIB)]
        argv += ["-accel", "kvm"] if self._kvm else ["-accel", "tcg,thread=multi"]
        argv += ["-cpu", "host" if self._kvm else "Nehalem"]
        argv += ["-kernel", str(paths.image / "vmlinuz"), "-initrd", str(paths.image / "initrd")]
        # On a busy host the kernel takes an emulated timer that is late for one that is broken.
        argv += ["-append", "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check"]
        argv += ["-serial", f"file:{paths.console}"]
        root = f"file={paths.image}/root.img,snapshot=on"
        volumes = f"file={disk},cache=unsafe,discard=unmap,detect-zeroes=unmap"
        for drive in (root, volumes):
            argv += ["-drive", f"{drive},format=raw,if=virtio"]
        for tag, path, options in (
            ("tree", TREE, ",readonly=on"),
            ("dependencies", paths.dependencies, ",readonly=on"),
            ("exchange", paths.exchange, ""),
        ):
            share = f"local,path={path},mount_tag={tag},id={tag},security_model=none{options}"
            argv += ["-virtfs", share]
        return argv


class UserMode:
    """Linux as a process: its programs run on the processor itself, at several times the speed.

    Debian's has no nvmet.
    """

    def require(self) -> None:
        _require("setpriv", "taskset")

    def argv(self, paths: Paths, disk: Path) -> list[str]:
        written = paths.directory / "root.cow"
        written.unlink(missing_ok=True)
        # Its processes wait for each other: on two processors each of them would fall asleep.
        last = max(os.sched_getaffinity(0))
        argv = ["setpriv", "--pdeathsig", "KILL", "taskset", "-c", str(last)]
        argv += ["env", "TMPDIR=/dev/shm", str(paths.image / "linux")]
        argv += [f"mem={MEMORY_MIB}M", f"ubd0={written},{paths.image}/root.img", f"ubd1={disk}"]
        argv += ["root=/dev/ubda", "rw", "quiet", "init=/lab/init"]
        argv += ["con=null", "con0=null,fd:2", f"lab.tree={TREE}"]
        argv += [f"lab.dependencies={paths.dependencies}", f"lab.exchange={paths.exchange}"]
        return argv


def _require(*programs: str) -> None:
    if os.uname().machine != "x86_64":
        raise Missing(f"the guest is an x86_64 machine, and this one is {os.uname().machine}")
    for program in programs:
        if shutil.which(program) is None:
            raise Missing(f"{program} is not installed (Debian: {_NEEDED[program]})")
