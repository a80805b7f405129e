"""A real Redis server for tests, one a pytest worker; one with TLS, and a sentinel."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
import redis

from tests.servers.certificates import Identity, issue, new_authority
from tests.servers.process import RequireBinary, ServerProcess, running

DATABASES = 1000
SENTINEL_NAME = "main"


class RedisServer(ServerProcess):
    """One Redis, which writes each change to its log before it answers.

    :param identity: what it shows to TLS clients; None: it speaks without TLS.
    """

    name = "redis"

    def __init__(
        self, binary: Path, setpriv: Path, fsync: bool = True, identity: Identity | None = None
    ) -> None:
        super().__init__(setpriv)
        self._binary = binary
        self._fsync = fsync
        self._identity = identity
        self._shown: Identity
        self._numbers = count()

    def url(self, database: int = 0) -> str:
        """Name a database as redis-py does."""
        scheme = "redis" if self._identity is None else "rediss"
        return f"{scheme}://127.0.0.1:{self.port}/{database}"

    def client(self, database: int = 0) -> redis.Redis:
        """Connect, trusting the server's own authority where it speaks TLS; close it after use."""
        options = {}
        if self._identity is not None:
            options["ssl_ca_certs"] = str(self._identity.authority)
        return redis.Redis.from_url(self.url(database), retry=None, **options)

    def locks_url(self, seconds: float) -> str:
        """Name a database that no test has used as tooz does; its locks last so long."""
        options = f"db={self.next_database()}&lock_timeout={seconds}"
        return f"redis://127.0.0.1:{self.port}?{options}"

    def next_database(self) -> int:
        """Choose a database that no test has used."""
        return next(self._numbers) % DATABASES

    def initialise(self) -> None:
        if self._identity is not None:
            # Where they were made the server's user does not get to.
            self._shown = Identity(
                *(
                    self.give(Path(shutil.copy(file, self.directory / file.name)))
                    for file in self._identity
                )
            )

    def command(self) -> list[str]:
        return [
            str(self._binary),
            *("--bind", "127.0.0.1", "--dir", str(self.directory), "--save", ""),
            *("--databases", str(DATABASES), "--appendonly", "yes"),
            *("--appendfsync", "always" if self._fsync else "no"),
            # It would fork to rewrite its log.
            *("--auto-aof-rewrite-percentage", "0"),
            *self._listen(),
        ]

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            # Also an expired certificate: it is served, and that is what is to be tried.
            return self._identity is not None and "Ready to accept" in self.log

    def _listen(self) -> list[str]:
        if self._identity is None:
            return ["--port", str(self.port)]
        return [
            *("--port", "0", "--tls-port", str(self.port), "--tls-auth-clients", "no"),
            *("--tls-cert-file", str(self._shown.certificate)),
            *("--tls-key-file", str(self._shown.key)),
            *("--tls-ca-cert-file", str(self._shown.authority)),
        ]


class Sentinel(ServerProcess):
    """One sentinel, which knows one Redis by :data:`SENTINEL_NAME`."""

    name = "sentinel"

    def __init__(self, binary: Path, setpriv: Path, watched: RedisServer) -> None:
        super().__init__(setpriv)
        self._binary = binary
        self._watched = watched

    def client(self) -> redis.Redis:
        """Connect to the sentinel itself; close it after use."""
        return redis.Redis(port=self.port, retry=None)

    def command(self) -> list[str]:
        # It rewrites the file: made anew, since the port may be another one.
        file = self.directory / "sentinel.conf"
        file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.directory}\n"
            f"sentinel monitor {SENTINEL_NAME} 127.0.0.1 {self._watched.port} 1\n"
            f"sentinel down-after-milliseconds {SENTINEL_NAME} 5000\n"
        )
        self.give(file)
        return [str(self._binary), str(file), "--sentinel"]

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@pytest.fixture(scope="session")
def make_redis(
    request: pytest.FixtureRequest, require_binary: RequireBinary
) -> Callable[..., RedisServer]:
    """Make a Redis that is not started yet: ``make_redis(identity=None)``."""
    binary = require_binary("redis-server", "redis-server")
    setpriv = require_binary("setpriv", "util-linux")
    fsync = not request.config.getoption("--no-fsync")
    return lambda identity=None: RedisServer(binary, setpriv, fsync, identity)


@pytest.fixture(scope="session")
def redis_server(make_redis: Callable[..., RedisServer]) -> Iterator[RedisServer]:
    """The worker's Redis."""
    with running(make_redis()) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> Iterator[str]:
    """An empty database of its own for one test."""
    number = redis_server.next_database()
    yield redis_server.url(number)
    with redis_server.client(number) as client:
        client.flushdb()


@pytest.fixture(scope="session")
def redis_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a certificate authority that nobody else trusts."""
    directory = tmp_path_factory.mktemp("authority")
    new_authority(directory)
    return directory


@pytest.fixture(scope="session")
def redis_tls(
    make_redis: Callable[..., RedisServer], redis_authority: Path
) -> Iterator[RedisServer]:
    """The worker's Redis with TLS."""
    with running(make_redis(issue(redis_authority))) as server:
        yield server


@pytest.fixture(scope="session")
def redis_tls_expired(
    make_redis: Callable[..., RedisServer], redis_authority: Path
) -> Iterator[RedisServer]:
    """A Redis with TLS whose certificate ended yesterday."""
    with running(make_redis(issue(redis_authority, expired=True))) as server:
        yield server


@pytest.fixture(scope="session")
def redis_sentinel(redis_server: RedisServer, require_binary: RequireBinary) -> Iterator[Sentinel]:
    """A sentinel that watches the worker's Redis."""
    binary = require_binary("redis-server", "redis-server")
    setpriv = require_binary("setpriv", "util-linux")
    with running(Sentinel(binary, setpriv, redis_server)) as sentinel:
        yield sentinel
