"""The programs that the demo uses beside volflow: tgtd as the target, qemu-io as the initiator."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from volflow.drivers.targets.tgt import TgtTarget
from volflow.exceptions import DriverError

SECONDS = 30.0
CONTROL_PORT = 1
PATTERN = "0x5a"
SIZE = "8M"

NOT_AUTHENTICATED = "Authentication failure(513)"
NOT_FOUND = "Target not found(515)"
"""What libiscsi says of a wrong password, and of an initiator that is not on the ACL:
``qemu-io: can't open: iSCSI: Failed to connect to LUN : Failed to log in to target. Status:
Authentication failure(513)`` (qemu 7.2, libiscsi 1.19)."""


class DemoFailed(Exception):
    """Something was not as it should be."""


def _find(name: str) -> str | None:
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    return shutil.which(name, path=path)


def missing_target() -> str | None:
    """Say which program of the target is missing; None: none is."""
    for name in ("tgtd", "tgtadm"):
        if _find(name) is None:
            return f"{name} is not installed; Debian: tgt"
    return None


def missing_initiator() -> str | None:
    """Say what of the initiator is missing; None: nothing is."""
    if _find("qemu-io") is None:
        return "qemu-io is not installed; Debian: qemu-utils"
    # Nothing listens there; the question is who says so.
    data = {"target_portal": "127.0.0.1:1", "target_iqn": "iqn.2000-01.x:y", "target_lun": 1}
    if "iSCSI" not in _qemu_io(["--image-opts", _image(data, "iqn.2000-01.x:z")]).stderr:
        return "qemu-io knows no iSCSI; Debian: qemu-block-extra"
    return None


class Tgtd:
    """A tgtd of our own, on a free port of the loopback interface.

    :param directory: for its management socket and its log.
    """

    def __init__(self, directory: Path) -> None:
        self.socket = str(directory / "tgtd")
        self.portal = ""
        self._log = directory / "tgtd.log"
        self._process: subprocess.Popen[bytes] | None = None

    def target(self) -> TgtTarget:
        """Reach it as the driver does."""
        return TgtTarget(self.portal, CONTROL_PORT, socket=self.socket)

    def start(self) -> None:
        """Start it.

        :raises DemoFailed: it does not listen.
        """
        for _ in range(3):
            # Where somebody takes the port meanwhile, tgtd runs on without it.
            self.portal = f"127.0.0.1:{_free_port()}"
            self._process = self._started()
            if self._listens():
                return
            self.stop()
        said = self._log.read_text(errors="replace").strip().splitlines()
        raise DemoFailed(f"tgtd does not start: {said[-1] if said else 'it says nothing'}")

    def stop(self) -> None:
        """End it; it ignores SIGTERM while it has targets."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(SECONDS)
            self._process = None

    def _started(self) -> subprocess.Popen[bytes]:
        # It has to end with us also where we are killed.
        setpriv = _find("setpriv")
        guard = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [
                    *guard,
                    *(_find("tgtd") or "tgtd", "-f", "-C", str(CONTROL_PORT)),
                    *("--iscsi", f"portal={self.portal}"),
                ],
                env={**os.environ, "TGT_IPC_SOCKET": self.socket},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _listens(self) -> bool:
        assert self._process is not None
        until = time.monotonic() + SECONDS / 3
        while time.monotonic() < until and self._process.poll() is None:
            try:
                return self.portal in self.target().tgt.portals()
            except DriverError:
                time.sleep(0.02)
        return False


class Initiator:
    """A host with an iSCSI name: qemu-io, which speaks iSCSI in user space.

    :param directory: for the secret of a login, which must not be on a command line.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._secret = directory / "chap-secret"

    def write_and_read(self, data: Mapping[str, Any]) -> str:
        """Log in, write a pattern, read it back and compare it.

        :raises DemoFailed: it was refused, or read something else.
        """
        commands = [f"write -P {PATTERN} 0 {SIZE}", f"read -P {PATTERN} 0 {SIZE}"]
        return self._expect_data(data, commands)

    def read(self, data: Mapping[str, Any]) -> str:
        """Log in again, read what was written, and compare it.

        :raises DemoFailed: it was refused, or read something else.
        """
        return self._expect_data(data, [f"read -P {PATTERN} 0 {SIZE}"])

    def refused(self, data: Mapping[str, Any], reason: str) -> str:
        """Try to log in, and be refused for this reason.

        :raises DemoFailed: it was let in, or refused for another reason.
        """
        done = self._run(data, ["read 0 512"])
        if done.returncode == 0 or reason not in done.stderr:
            raise DemoFailed(f"expected {reason!r}, but qemu-io said: {_said(done)}")
        return f"refused: {reason}"

    def _expect_data(self, data: Mapping[str, Any], commands: list[str]) -> str:
        done = self._run(data, commands)
        verified = "verification failed" not in done.stdout + done.stderr
        if done.returncode or not verified or done.stdout.count(" ops; ") != len(commands):
            raise DemoFailed(f"the initiator failed: {_said(done)}")
        rates = [line for line in done.stdout.splitlines() if " ops; " in line]
        return ", ".join(
            f"{command.split()[0]} {rate.split(',')[0]} ({rate.split('(')[1].split(' and')[0]})"
            for command, rate in zip(commands, rates, strict=True)
        )

    def _run(
        self, data: Mapping[str, Any], commands: list[str]
    ) -> subprocess.CompletedProcess[str]:
        self._secret.touch(0o600)
        self._secret.write_text(str(data["auth_password"]))
        try:
            argv = ["--object", f"secret,id=chap,file={self._secret}", "--image-opts"]
            argv += [
                f"{_image(data, self.name)},user={data['auth_username']},password-secret=chap"
            ]
            for text in commands:
                argv += ["-c", text]
            return _qemu_io(argv)
        finally:
            self._secret.unlink()


def _image(data: Mapping[str, Any], name: str) -> str:
    return (
        f"driver=iscsi,transport=tcp,portal={data['target_portal']},target={data['target_iqn']}"
        f",lun={data['target_lun']},initiator-name={name},timeout=5"
    )


def _qemu_io(argv: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            [_find("qemu-io") or "qemu-io", *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise DemoFailed(f"qemu-io did not end within {SECONDS:g} seconds") from None


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join((done.stderr or done.stdout or "nothing").split())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
