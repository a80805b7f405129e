"""What the real servers of the tests have in common: a place, ports, a life and a death.

A server is a child of the worker, and the kernel ends it when the worker dies, also by SIGKILL.
A directory that such a death leaves is removed by the next server's start: its owner's lock is
free.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

PREFIX = "volflow-server-"
START_SECONDS = 60
STOP_SECONDS = 30
START_ATTEMPTS = 5

RequireBinary = Callable[..., Path]
RequireFile = Callable[[Path, str], Path]


class ServerProcess(ABC):
    """A server program in a directory of its own, on free ports of the loopback interface.

    :cvar name: what it is called in messages; a part of its directory's name.
    :cvar ports_wanted: how many ports it listens on.
    :cvar user: who runs it where root starts it; nobody where there is no such user.
    :cvar parent_death: the signal that the kernel sends it when its parent dies.
    :cvar endings: the signals that end it, each one harder than the one before.
    :ivar directory: holds its data and its log; gone after :meth:`stop`.
    """

    name: str
    ports_wanted = 1
    user = "nobody"
    parent_death = "KILL"
    endings: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGKILL)

    def __init__(self, setpriv: Path) -> None:
        self._setpriv = setpriv
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: int | None = None
        self.directory = Path()
        self.ports: tuple[int, ...] = ()

    # What a program fills in

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments, for ``ports`` and ``directory``."""

    @abstractmethod
    def answers(self) -> bool:
        """Ask it once whether it serves."""

    def initialise(self) -> None:  # noqa: B027 - a program may need none
        """Make in ``directory`` what the program needs before its first start."""

    def disconnect(self) -> None:  # noqa: B027 - a program may need none
        """Drop the connections that this object has to it."""

    # What tests use

    @property
    def port(self) -> int:
        """The port that clients use."""
        return self.ports[0]

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return None if self._process is None else self._process.pid

    @property
    def log(self) -> str:
        """What it wrote so far."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Make its directory and wait until it answers.

        :raises RuntimeError: it does not start; shows what it wrote.
        """
        sweep()
        self.directory, self._lock = make_directory(self.name)
        try:
            self.give(self.directory)
            self.initialise()
            for _ in range(START_ATTEMPTS):
                # A port is free now and may be taken before the program binds it.
                self.ports = free_ports(self.ports_wanted)
                if self._launch():
                    return
                self._end()
            raise RuntimeError(f"{self.name} does not start:\n{self.log}")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it, harder where it does not listen, and remove its directory."""
        self.disconnect()
        self._end()
        if self._lock is not None:
            # Without it there is no directory of its own: the default is where the tests run.
            shutil.rmtree(self.directory, ignore_errors=True)
            os.close(self._lock)
            self._lock = None

    def kill(self) -> None:
        """Kill it as the kernel would, without a shutdown; its data stay."""
        assert self._process is not None
        # Stopped first, it starts no child that the walk misses.
        self.pause()
        children = list(descendants(self._process.pid))
        self._process.kill()
        self._process.wait()
        end_all(children)
        self._process = None
        self.disconnect()

    def restart(self) -> None:
        """Start again after :meth:`kill`, on the same ports and data.

        :raises RuntimeError: it does not start; shows what it wrote.
        """
        if not self._launch():
            raise RuntimeError(f"{self.name} does not start again:\n{self.log}")

    def pause(self) -> None:
        """Let it hang: connections are taken, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let it go on after :meth:`pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    # What programs use

    def as_user(self, *command: str) -> list[str]:
        """Run as this user, or where that is root, whom some programs refuse, as another one."""
        change = []
        if os.geteuid() == 0:
            user = self._account()
            change = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        return [str(self._setpriv), f"--pdeathsig={self.parent_death}", *change, *command]

    def give(self, path: Path) -> Path:
        """Let the program's user write a file or directory; returns it."""
        if os.geteuid() == 0:
            user = self._account()
            os.chown(path, user.pw_uid, user.pw_gid)
        return path

    def prepare(self, *command: str, text: str = "") -> None:
        """Run a program to its end, as the server's user; ``text`` is its input.

        :raises RuntimeError: it failed; shows what it wrote.
        """
        done = subprocess.run(
            self.as_user(*command),
            cwd=self.directory,
            input=text.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout.decode(errors='replace')}")

    def _account(self) -> pwd.struct_passwd:
        try:
            return pwd.getpwnam(self.user)
        except KeyError:
            return pwd.getpwnam("nobody")

    def _launch(self) -> bool:
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.as_user(*self.command()),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for pytest, which then stops the server.
                start_new_session=True,
            )
        until = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < until:
            if self.answers():
                return True
            time.sleep(0.02)
        return False

    def _end(self) -> None:
        if self._process is None:
            return
        children = list(descendants(self._process.pid))
        for number in self.endings:
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
                break
        # A program that ends at once may leave them.
        end_all(children)
        self._process = None


Server = TypeVar("Server", bound=ServerProcess)


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """Run a server as long as the block lasts."""
    server.start()
    try:
        yield server
    finally:
        server.stop()


def free_ports(count: int) -> tuple[int, ...]:
    """Find ports of the loopback interface that nobody listens on."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return tuple(int(probe.getsockname()[1]) for probe in probes)


def is_running(pid: int) -> bool:
    """Tell a process that lives from one that is gone or only waits to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def descendants(pid: int) -> Iterator[int]:
    """Walk the processes below ``pid``; one that ends meanwhile has none."""
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = tasks.read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        for child in children:
            yield int(child)
            yield from descendants(int(child))


def end_all(pids: list[int]) -> None:
    """Kill what still runs of ``pids``, and wait for its end.

    A child that still holds the shared memory forbids PostgreSQL's next start.
    """
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + STOP_SECONDS
    while any(map(is_running, pids)) and time.monotonic() < until:
        time.sleep(0.01)


def temporary_root() -> Path:
    """Choose where a server's user gets to, and where a socket's path is short enough."""
    root = Path(tempfile.gettempdir()).resolve()
    open_to_all = all(place.stat().st_mode & 0o001 for place in (root, *root.parents))
    # A socket's path has 107 bytes: <root>/volflow-server-postgresql-XXXXXXXX/.s.PGSQL.NNNNN
    return root if open_to_all and len(os.fsencode(root)) < 55 else Path("/tmp")


def make_directory(name: str) -> tuple[Path, int]:
    """Make a server's directory and hold its owner's lock.

    The lock is taken before the file gets its name, so that :func:`sweep` never finds a
    directory of a living owner with the lock free.
    """
    directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{name}-", dir=temporary_root()))
    directory.chmod(0o755)
    unnamed = directory / "owner.new"
    lock = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    unnamed.rename(directory / "owner")
    return directory, lock


def sweep() -> None:
    """Remove the directories of servers whose owner is dead."""
    for owner in temporary_root().glob(f"{PREFIX}*/owner"):
        try:
            lock = os.open(owner, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # gone meanwhile, or another user's
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(owner.parent, ignore_errors=True)
        finally:
            os.close(lock)
