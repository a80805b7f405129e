"""The machine: booted from the image, given scripts to run by a shared directory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.kernels import Kernel

DISK_BYTES = 12 * 1024**3
BOOT_SECONDS = 900
STOP_SECONDS = 15
POLL_SECONDS = 0.1


class Failed(Exception):
    """The machine died, or did not do in time what it was told."""


class Machine:
    """One run of the guest: it starts from the same disk each time, and leaves nothing.

    :param image: holds ``vmlinuz``, ``initrd`` and ``root.img``.
    :param dependencies: what the guest's Python imports.
    :param kernel: how it runs.
    :ivar exchange: what the host and the guest both write to.
    """

    def __init__(self, image: Path, dependencies: Path, kernel: Kernel) -> None:
        self.image = image
        self.dependencies = dependencies
        self._kernel = kernel
        self.directory = Path(tempfile.mkdtemp(prefix="volflow-lab-"))
        self.exchange = self.directory / "exchange"
        self.exchange.mkdir()
        self.console = self.directory / "console"
        self._process: subprocess.Popen[bytes] | None = None
        self._jobs = 0

    def __enter__(self) -> Self:
        try:
            self._boot()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def run(self, script: str, seconds: float) -> int:
        """Run a shell script in the guest, show what it writes, and return its exit code.

        :raises Failed: the machine died, or the script did not end in time.
        """
        self._jobs += 1
        job = self.exchange / f"job-{self._jobs}"
        job.with_suffix(".new").write_text(script)
        job.with_suffix(".new").rename(job.with_suffix(".sh"))
        shown = 0
        end = time.monotonic() + seconds
        while True:
            ended = job.with_suffix(".rc").exists()
            shown += self._show(job.with_suffix(".out"), shown)
            if ended:
                return int(job.with_suffix(".rc").read_text())
            self._require_alive()
            if time.monotonic() > end:
                raise Failed(f"the guest did not end its work within {seconds:g} seconds")
            time.sleep(POLL_SECONDS)

    def lose_power(self) -> None:
        """End the guest where it is, and boot it again: its second disk is as it was left.

        :raises Failed: it does not boot.
        """
        assert self._process is not None
        self._kill(self._process)
        (self.exchange / "booted").unlink()
        self._boot()

    def stop(self) -> None:
        """Stop the machine, by force where it does not halt, and remove what it used."""
        process = self._process
        if process is not None:
            (self.exchange / "halt").touch()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._kill(process)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _boot(self) -> None:
        disk = self.directory / "disk.img"
        if not disk.exists():
            with disk.open("wb") as file:
                file.truncate(DISK_BYTES)
        self._process = subprocess.Popen(
            self._kernel.argv(self, disk), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=(self.directory / "output").open("wb"), start_new_session=True,
        )  # fmt: skip
        end = time.monotonic() + BOOT_SECONDS
        while not (self.exchange / "booted").exists():
            self._require_alive()
            if time.monotonic() > end:
                raise Failed(f"the guest did not boot within {BOOT_SECONDS} seconds{self._tail()}")
            time.sleep(POLL_SECONDS)

    @staticmethod
    def _kill(process: subprocess.Popen[bytes]) -> None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def _require_alive(self) -> None:
        assert self._process is not None
        if self._process.poll() is not None:
            raise Failed(
                f"the guest ended with exit code {self._process.returncode}{self._tail()}"
            )

    def _tail(self) -> str:
        lines = []
        for path in (self.directory / "output", self.console):
            if path.exists():
                lines += path.read_text(errors="replace").splitlines()[-10:]
        return "".join(f"\n  {line}" for line in lines)

    @staticmethod
    def _show(path: Path, since: int) -> int:
        if not path.exists():
            return 0
        with path.open("rb") as file:
            file.seek(since)
            new = file.read()
        sys.stdout.write(new.decode(errors="replace"))
        sys.stdout.flush()
        return len(new)
