"""A real tgtd for tests, and real initiators to log in to it.

Each tgtd has a management socket in a directory of its own, so that tests that run in parallel
share neither a control port nor a target.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pytest

from volflow.drivers.targets.tgt import TgtTarget

T = TypeVar("T")

SECONDS = 15.0
"""How long anything here may take."""

NEEDED = {
    "setpriv": "util-linux",
    "tgtd": "tgt",
    "tgtadm": "tgt",
    "iscsi-inq": "libiscsi-bin",
    "iscsi-ls": "libiscsi-bin",
    "qemu-io": "qemu-utils",
}
"""Programs and Debian's packages of them; qemu-io's iSCSI is in qemu-block-extra."""

RequireBinary = Callable[..., Path]


def wait_for(what: Callable[[], T], promise: str) -> T:
    """Poll until ``what`` returns something true, and return that."""
    end = time.monotonic() + SECONDS
    while True:
        found = what()
        if found:
            return found
        if time.monotonic() > end:
            pytest.fail(f"waited {SECONDS:g} seconds for: {promise}")
        time.sleep(0.01)


class Tgtd:
    """One tgtd on a free port of the loopback interface."""

    control_port = 7

    def __init__(self) -> None:
        # In /tmp, since a socket's path has at most 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="tgtd-", dir="/tmp"))
        self.socket = str(self.directory / "socket")
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def portal(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def target(self, **options: object) -> TgtTarget:
        """Build the class under test for this tgtd."""
        values = {
            "portal": self.portal,
            "control_port": self.control_port,
            "ping_seconds": 1,
            **options,
        }
        return TgtTarget(socket=self.socket, **values)  # type: ignore[arg-type]

    def adm(self, *options: object) -> str:
        """Run tgtadm beside the class under test."""
        done = self.try_adm(*options)
        assert done.returncode == 0, done.stderr
        assert not done.stderr
        return done.stdout

    def try_adm(self, *options: object) -> subprocess.CompletedProcess[str]:
        """Run tgtadm, which may fail."""
        return subprocess.run(
            ["tgtadm", "-C", str(self.control_port), "--lld", "iscsi", *map(str, options)],
            env={**os.environ, "TGT_IPC_SOCKET": self.socket},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def start(self) -> None:
        """Start it; on the former port after a stop."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            port = self.port or _free_port()
            with (self.directory / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    # It ends with whoever started it, also by SIGKILL.
                    [
                        *("setpriv", "--pdeathsig", "KILL", "tgtd", "-f"),
                        *("-C", str(self.control_port), "--iscsi", f"portal=127.0.0.1:{port}"),
                    ],
                    env={**os.environ, "TGT_IPC_SOCKET": self.socket},
                    stdout=log,
                    stderr=log,
                )
            # Where the port was taken meanwhile, tgtd runs on without a portal.
            shown = wait_for(self._answer, "tgtd answers")
            if f"Portal: 127.0.0.1:{port}," in shown:
                self.port = port
                return
            self.kill()
        pytest.fail(f"tgtd found no port; see {self.directory / 'log'}")

    def kill(self) -> None:
        """End it at once, as a crash does; SIGTERM is ignored while it has targets."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(SECONDS)
            self._process = None

    def pause(self) -> None:
        """Let it hang."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        """End it and remove what it left."""
        self.kill()
        shutil.rmtree(self.directory)

    def wipe(self) -> None:
        """Remove every target and account."""
        for target in self.target().tgt.targets():
            self.try_adm("--op", "delete", "--mode", "target", "--force", "--tid", target.tid)
        for user in self.target().tgt.accounts():
            self.adm("--op", "delete", "--mode", "account", "--user", user)

    def _answer(self) -> str:
        done = self.try_adm("--op", "show", "--mode", "portal")
        # Without a portal it shows nothing: the word keeps the answer true.
        return "" if done.stderr else f"answered {done.stdout}"


@contextmanager
def running_tgtd(require_binary: RequireBinary) -> Iterator[Tgtd]:
    """Start a tgtd and end it; skip, or fail where CI is set, if a program is missing."""
    for name, package in NEEDED.items():
        require_binary(name, package)
    tgtd = Tgtd()
    try:
        tgtd.start()
        yield tgtd
    finally:
        tgtd.close()


class Initiator:
    """A host with an iSCSI name, which logs in with connection_info's data."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.connector = {"initiator": name, "multipath": False}
        self._process: subprocess.Popen[str] | None = None

    def inquire(self, data: dict[str, object], **other: object) -> str:
        """Log in with iscsi-inq; return what it says, ``Authentication failure(513)`` included."""
        data = {**data, **other}
        url = (
            f"iscsi://{data['auth_username']}%{data['auth_password']}@{data['target_portal']}"
            f"/{data['target_iqn']}/{data['target_lun']}"
        )
        return _said(["iscsi-inq", "-i", self.name, url])

    def discover(self, portal: str) -> str:
        """Ask the portal for its targets; return what it lists."""
        return _said(["iscsi-ls", "-i", self.name, f"iscsi://{portal}"])

    def io(self, data: dict[str, object], *commands: str, readonly: bool = False) -> str:
        """Run commands of qemu-io on the LUN; return what they say."""
        argv = ["qemu-io", *(["-r"] if readonly else []), "--image-opts", self._options(data)]
        for text in commands:
            argv += ["-c", text]
        return _said(argv)

    def log_in(self, data: dict[str, object]) -> None:
        """Log in and stay, until :meth:`log_out`."""
        self._process = subprocess.Popen(
            ["qemu-io", "--image-opts", self._options(data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.command("read 0 512").startswith("read 512/512")

    def command(self, text: str) -> str:
        """Run one command of qemu-io in the session; return its first line."""
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()
        said = self._process.stdout.readline().removeprefix("qemu-io> ")
        if said.startswith(("read ", "wrote ")) and "failed" not in said:
            self._process.stdout.readline()  # the rate
        return said

    def stall(self, port: int) -> None:
        """Ask tgtd at the port for 512 MiB and hang before they have come."""
        assert self._process is not None
        assert self._process.stdin is not None
        for start in range(0, 512, 32):
            self._process.stdin.write(f"aio_read -q {start}M 32M\n")
        self._process.stdin.flush()
        process = self._process

        def stuck() -> bool:
            process.send_signal(signal.SIGCONT)
            time.sleep(0.005)
            process.send_signal(signal.SIGSTOP)
            # What is on its way may have room with the initiator, and tgtd may have to wait
            # for a processor.
            seen = 0
            for _ in range(50):
                time.sleep(0.02)
                seen = seen + 1 if _unsent(port) else 0
                if seen == 5:
                    return True
            return False

        wait_for(stuck, "tgtd cannot send what was asked for")

    def kill(self) -> None:
        """End without a word, as a host that lost its power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(SECONDS)

    def log_out(self) -> None:
        """End it, and forget it."""
        self.kill()
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                assert pipe is not None
                with suppress(BrokenPipeError):
                    pipe.close()
            self._process = None

    def _options(self, data: dict[str, object]) -> str:
        return (
            f"driver=iscsi,transport=tcp,portal={data['target_portal']}"
            f",target={data['target_iqn']},lun={data['target_lun']},initiator-name={self.name}"
            f",user={data['auth_username']},password={data['auth_password']},timeout=3"
        )


def _unsent(port: int) -> bool:
    """True where a connection of this local port waits for its peer to take what was sent."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(
        row[1].endswith(f":{port:04X}") and row[3] == "01" and int(row[4].split(":")[0], 16) > 0
        for row in rows
    )


def _said(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
