"""A real PostgreSQL server for tests: one a pytest worker, started when first asked for.

The server is a child of the worker, and the kernel interrupts it when the worker dies, also by
SIGKILL. A directory that such a death leaves is removed by the next server's start: its owner's
lock is free.
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
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

PREFIX = "volflow-pg-"
START_SECONDS = 60
STOP_SECONDS = 30
USER = "volflow"

RequireBinary = Callable[..., Path]


class PostgresqlServer:
    """One cluster in a temporary directory, on a free port of the loopback interface.

    :ivar directory: holds the data and the unix socket; gone after :meth:`stop`.
    :ivar port: also the suffix of the socket's name.
    """

    def __init__(self, binaries: Path, setpriv: Path, fsync: bool = True) -> None:
        self._binaries = binaries
        self._setpriv = setpriv
        self._fsync = fsync
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: psycopg.Connection[tuple[object, ...]] | None = None
        self._templates: dict[str, str] = {}
        self._count = 0
        self.directory = Path()
        self.port = 0

    @property
    def pid(self) -> int | None:
        """The postmaster's process id while it runs."""
        return None if self._process is None else self._process.pid

    @property
    def log(self) -> str:
        """What the server wrote so far."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Make the cluster and wait until it answers.

        :raises RuntimeError: it does not start; shows what it wrote.
        """
        sweep()
        self.directory, self._lock = make_directory()
        try:
            self._initialise()
            for _ in range(5):
                # The port is free now and may be taken before the server binds it.
                self.port = free_port()
                if self._launch():
                    return
            raise RuntimeError(f"PostgreSQL does not start:\n{self.log}")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server, harder where it does not listen, and remove its directory."""
        self._drop_admin()
        if self._process is not None:
            # Fast, then immediate shutdown; then no shutdown at all.
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                self._process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_SECONDS)
                    break
            self._process = None
        shutil.rmtree(self.directory, ignore_errors=True)
        os.close(self._lock)

    def kill(self) -> None:
        """Kill the server as the kernel would, without a shutdown; its data stay."""
        assert self._process is not None
        # Stopped first, it starts no child that the walk misses.
        self._process.send_signal(signal.SIGSTOP)
        children = list(descendants(self._process.pid))
        self._process.kill()
        self._process.wait()
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # A child that still holds the shared memory forbids the next start.
        until = time.monotonic() + STOP_SECONDS
        while any(map(is_running, children)) and time.monotonic() < until:
            time.sleep(0.01)
        self._drop_admin()

    def restart(self) -> None:
        """Start again after :meth:`kill`, on the same port and data."""
        if not self._launch():
            raise RuntimeError(f"PostgreSQL does not start again:\n{self.log}")

    def url(self, database: str) -> str:
        """Name a database as SQLAlchemy does."""
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{database}"

    def create_database(self, template: str = "template1") -> str:
        """Create a database and return its URL.

        :param template: a database without connections to copy, see :meth:`template`.
        """
        self._count += 1
        name = f"test_{self._count}"
        self._execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database, and its connections with it."""
        self._execute(f'DROP DATABASE IF EXISTS "{url.rpartition("/")[2]}" WITH (FORCE)')

    def template(self, name: str, fill: Callable[[str], None]) -> str:
        """Make a template once: ``fill`` is called with its URL and has to disconnect."""
        if name not in self._templates:
            self._execute(f'CREATE DATABASE "{name}"')
            fill(self.url(name))
            self._templates[name] = name
        return name

    def _execute(self, statement: str) -> None:
        if self._admin is None:
            self._admin = psycopg.connect(
                host=str(self.directory), port=self.port, user=USER, dbname="postgres"
            )
            self._admin.autocommit = True
        self._admin.execute(statement.encode())

    def _drop_admin(self) -> None:
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    def _as_user(self, *command: str) -> list[str]:
        """Run as this user, or where that is root, whom PostgreSQL refuses, as another one."""
        change = []
        if os.geteuid() == 0:
            user = server_user()
            change = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        return [str(self._setpriv), "--pdeathsig=INT", *change, *command]

    def _initialise(self) -> None:
        if os.geteuid() == 0:
            user = server_user()
            os.chown(self.directory, user.pw_uid, user.pw_gid)
        done = subprocess.run(
            self._as_user(
                str(self._binaries / "initdb"),
                *("--pgdata", str(self.directory / "data"), "--username", USER),
                *("--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"),
            ),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout.decode(errors='replace')}")

    def _launch(self) -> bool:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
            "max_connections": "100",
            "shared_buffers": "32MB",
        }
        if not self._fsync:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._as_user(
                    str(self._binaries / "postgres"),
                    *("-D", str(self.directory / "data")),
                    *options,
                ),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for pytest, which then stops the server.
                start_new_session=True,
            )
        return self._answers()

    def _answers(self) -> bool:
        assert self._process is not None
        until = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < until:
            try:
                psycopg.connect(
                    host=str(self.directory), port=self.port, user=USER, dbname="postgres"
                ).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return True
        return False


def server_user() -> pwd.struct_passwd:
    """Who runs a server that root starts: postgres, else nobody."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def free_port() -> int:
    """Find a port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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


def temporary_root() -> Path:
    """Choose where the server's user gets to, and where a socket's path is short enough."""
    root = Path(tempfile.gettempdir()).resolve()
    open_to_all = all(place.stat().st_mode & 0o001 for place in (root, *root.parents))
    # A socket's path has 107 bytes: <root>/volflow-pg-XXXXXXXX/.s.PGSQL.NNNNN
    return root if open_to_all and len(os.fsencode(root)) < 60 else Path("/tmp")


def make_directory() -> tuple[Path, int]:
    """Make a server's directory and hold its owner's lock.

    The lock is taken before the file gets its name, so that :func:`sweep` never finds a
    directory of a living owner with the lock free.
    """
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=temporary_root()))
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


def server_binaries(require_binary: RequireBinary) -> Path:
    """Find the directory of the newest server's programs."""
    installed = Path("/usr/lib/postgresql").glob("[0-9]*/bin")
    newest_first = sorted(installed, key=lambda path: int(path.parent.name), reverse=True)
    return require_binary("initdb", "postgresql", *newest_first).resolve().parent


@contextlib.contextmanager
def running_server(
    require_binary: RequireBinary, fsync: bool = True
) -> Iterator[PostgresqlServer]:
    """Run a server as long as the block lasts."""
    binaries = server_binaries(require_binary)
    server = PostgresqlServer(binaries, require_binary("setpriv", "util-linux"), fsync)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def postgresql_server(
    request: pytest.FixtureRequest, require_binary: RequireBinary
) -> Iterator[PostgresqlServer]:
    """The worker's PostgreSQL server."""
    fsync = not request.config.getoption("--no-fsync")
    with running_server(require_binary, fsync) as server:
        yield server


@pytest.fixture
def postgresql_url(postgresql_server: PostgresqlServer) -> Iterator[str]:
    """An empty database of its own for one test."""
    url = postgresql_server.create_database()
    yield url
    postgresql_server.drop_database(url)
