"""Redis, ZooKeeper, etcd and MariaDB: they start, answer, and are gone afterwards."""

from __future__ import annotations

import signal
import ssl
import subprocess
import sys
import urllib.parse
from base64 import b64decode, b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
import sqlalchemy as sa
from kazoo.client import KazooClient
from redis.sentinel import Sentinel as Sentinels

from tests.servers.process import ServerProcess, descendants, is_running, running, sweep
from tests.servers.redis import SENTINEL_NAME, RedisServer, Sentinel
from tests.servers.test_postgresql_fixture import wait_until
from tests.servers.zake import Ensemble

KINDS = ("redis", "zookeeper", "etcd", "mariadb")


class Store(NamedTuple):
    """How a test writes one value to the place that it was given, and reads it."""

    server: Any
    url: str
    put: Callable[[str, str], None]
    get: Callable[[str], str | None]


def redis_store(server: Any, url: str) -> Store:
    def put(url: str, value: str) -> None:
        with redis.Redis.from_url(url) as client:
            client.set("key", value)

    def get(url: str) -> str | None:
        with redis.Redis.from_url(url) as client:
            found = client.get("key")
        return None if found is None else found.decode()

    return Store(server, url, put, get)


def zookeeper_store(server: Any, url: str) -> Store:
    def client(url: str) -> KazooClient:
        made = KazooClient(url.removeprefix("zookeeper://"))
        made.start()
        return made

    def put(url: str, value: str) -> None:
        connected = client(url)
        connected.create("/key", value.encode())
        connected.stop()
        connected.close()

    def get(url: str) -> str | None:
        connected = client(url)
        found = connected.get("/key")[0].decode() if connected.exists("/key") else None
        connected.stop()
        connected.close()
        return found

    return Store(server, url, put, get)


def etcd_store(server: Any, url: str) -> Store:
    def key(url: str) -> str:
        return b64encode(urllib.parse.urlsplit(url).path.encode()).decode()

    def put(url: str, value: str) -> None:
        server.ask("/v3/kv/put", key=key(url), value=b64encode(value.encode()).decode())

    def get(url: str) -> str | None:
        found = server.ask("/v3/kv/range", key=key(url)).get("kvs")
        return b64decode(found[0]["value"]).decode() if found else None

    return Store(server, url, put, get)


def mariadb_store(server: Any, url: str) -> Store:
    def put(url: str, value: str) -> None:
        with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
            connection.execute(sa.text("CREATE TABLE kept (value varchar(20))"))
            connection.execute(sa.text("INSERT INTO kept VALUES (:value)"), {"value": value})

    def get(url: str) -> str | None:
        engine = sa.create_engine(url, poolclass=sa.NullPool)
        if not sa.inspect(engine).has_table("kept"):
            return None
        with engine.begin() as connection:
            return connection.execute(sa.text("SELECT value FROM kept")).scalar()

    return Store(server, url, put, get)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest) -> Store:
    server = request.getfixturevalue(f"{request.param}_server")
    url = request.getfixturevalue(f"{request.param}_url")
    make = {
        "redis": redis_store,
        "zookeeper": zookeeper_store,
        "etcd": etcd_store,
        "mariadb": mariadb_store,
    }[request.param]
    return make(server, url)


def elsewhere(store: Store) -> str:
    """The place that another test would be given."""
    server = store.server
    if isinstance(server, RedisServer):
        return server.url(server.next_database())
    if server.name == "zookeeper":
        return server.url(server.create_path())
    if server.name == "etcd":
        return f"{store.url}0"
    return server.create_database()


def test_what_a_test_writes_is_there_and_nowhere_else(store: Store) -> None:
    assert store.get(store.url) is None
    store.put(store.url, "here")
    assert "here" == store.get(store.url)
    assert store.get(elsewhere(store)) is None


def test_what_was_written_survives_a_kill_of_the_server(store: Store) -> None:
    """When the server is killed and started again, it has its ports and its data."""
    store.put(store.url, "kept")
    ports = store.server.ports
    store.server.kill()
    assert store.server.pid is None
    store.server.restart()
    assert ports == store.server.ports
    assert "kept" == store.get(store.url)


def test_a_server_that_hangs_goes_on(store: Store) -> None:
    """When it is stopped it answers nobody, and when it is let on it answers again."""
    store.put(store.url, "kept")
    store.server.pause()
    try:
        state = Path(f"/proc/{store.server.pid}/stat").read_text().rpartition(")")[2].split()[0]
    finally:
        store.server.resume()
    assert "T" == state
    assert "kept" == store.get(store.url)


@pytest.mark.parametrize("kind", KINDS)
def test_no_server_runs_as_root(kind: str, request: pytest.FixtureRequest) -> None:
    server = request.getfixturevalue(f"{kind}_server")
    (line,) = (
        line
        for line in Path(f"/proc/{server.pid}/status").read_text().splitlines()
        if line.startswith("Uid:")
    )
    assert "0" not in line.split()[1:]


class Unwilling(ServerProcess):
    """A program that says why it does not serve, and ends."""

    name = "unwilling"

    def command(self) -> list[str]:
        return ["sh", "-c", "echo no reason; exit 1"]

    def answers(self) -> bool:
        return False


class Sleeping(ServerProcess):
    """A program that serves nobody, with a child that sleeps."""

    name = "sleeping"

    def command(self) -> list[str]:
        return ["sh", "-c", "sleep 600 & wait"]

    def answers(self) -> bool:
        assert self.pid is not None
        return any(descendants(self.pid))


@pytest.fixture
def setpriv(require_binary: Callable[..., Path]) -> Path:
    return require_binary("setpriv", "util-linux")


def test_a_server_that_does_not_start_shows_why(setpriv: Path) -> None:
    server = Unwilling(setpriv)
    with pytest.raises(RuntimeError, match="unwilling does not start:\nno reason"):
        server.start()
    assert server.pid is None
    assert not server.directory.exists()


def test_a_server_that_never_started_removes_nothing(
    setpriv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it is stopped before it has a directory, the working directory stays."""
    (tmp_path / "kept").touch()
    monkeypatch.chdir(tmp_path)
    RedisServer(Path("/nowhere/redis-server"), setpriv).stop()
    assert [tmp_path / "kept"] == list(tmp_path.iterdir())


def test_nothing_is_left_after_an_error(setpriv: Path) -> None:
    server = Sleeping(setpriv)
    pids: list[int] = []

    def note() -> None:
        assert server.pid is not None
        pids.extend([server.pid, *descendants(server.pid)])

    def fail() -> None:
        with running(server):
            note()
            server.kill()
            server.restart()
            note()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [] == [pid for pid in pids if is_running(pid)]
    assert not server.directory.exists()


OWNER = """
import sys, time
from pathlib import Path
from tests.servers.etcd import EtcdServer
from tests.servers.mariadb import SYSTEM_TABLES, MariadbServer
from tests.servers.redis import RedisServer
from tests.servers.zookeeper import JARS, ZookeeperServer
setpriv, redis, java, etcd, mariadb = map(Path, sys.argv[1:])
servers = [
    RedisServer(redis, setpriv),
    ZookeeperServer(java, setpriv, JARS),
    EtcdServer(etcd, setpriv),
    MariadbServer(mariadb, setpriv, SYSTEM_TABLES),
]
for server in servers:
    server.start()
print(*(server.pid for server in servers))
print(*(server.directory for server in servers), flush=True)
time.sleep(600)
"""


def test_the_servers_of_a_killed_owner_end_and_are_swept(
    setpriv: Path, require_binary: Callable[..., Path]
) -> None:
    programs = {
        "redis-server": "redis-server",
        "java": "default-jre-headless",
        "etcd": "etcd-server",
        "mariadbd": "mariadb-server-core",
    }
    found = [str(require_binary(*program)) for program in programs.items()]
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(setpriv), *found],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert owner.stdout is not None
    with owner, owner.stdout:
        pids = [int(pid) for pid in owner.stdout.readline().split()]
        directories = [Path(path) for path in owner.stdout.readline().split()]
        assert [True] * len(KINDS) == [is_running(pid) for pid in pids]
        owner.send_signal(signal.SIGKILL)
    assert wait_until(lambda: not any(map(is_running, pids)))
    sweep()
    assert [False] * len(KINDS) == [directory.exists() for directory in directories]


# Redis alone


def test_tls_is_spoken_with_who_trusts_the_authority(redis_tls: RedisServer) -> None:
    with redis_tls.client() as client:
        assert client.ping()
    refused = pytest.raises(redis.ConnectionError, match="certificate verify failed")
    with redis.Redis.from_url(redis_tls.url()) as stranger, refused:
        stranger.ping()


def test_an_expired_certificate_is_refused(redis_tls_expired: RedisServer) -> None:
    refused = pytest.raises(redis.ConnectionError, match="certificate has expired")
    with redis_tls_expired.client() as client, refused:
        client.ping()
    with redis_tls_expired.client() as careless:
        careless.connection_pool.connection_kwargs["ssl_cert_reqs"] = ssl.CERT_NONE
        careless.connection_pool.connection_kwargs["ssl_check_hostname"] = False
        assert careless.ping()


def test_a_sentinel_names_the_server(redis_sentinel: Sentinel, redis_server: RedisServer) -> None:
    sentinels = Sentinels([("127.0.0.1", redis_sentinel.port)])
    assert ("127.0.0.1", redis_server.port) == sentinels.discover_master(SENTINEL_NAME)
    for client in sentinels.sentinels:
        client.close()


# zake


def test_the_clients_of_a_fake_ensemble_share_what_they_write(
    zookeeper_ensemble: Ensemble,
) -> None:
    first, second = zookeeper_ensemble.client(), zookeeper_ensemble.client()
    first.create("/lasting")
    first.create("/passing", ephemeral=True)
    assert second.exists("/passing")
    first.stop()
    assert {"/", "/lasting"} == zookeeper_ensemble.paths


def test_a_fake_session_ends_when_it_is_told_to(zookeeper_ensemble: Ensemble) -> None:
    client, other = zookeeper_ensemble.client(), zookeeper_ensemble.client()
    heard: list[str] = []
    client.add_listener(heard.append)
    client.create("/passing", ephemeral=True)
    before = client.session_id

    zookeeper_ensemble.expire(client)

    assert ["LOST", "CONNECTED"] == heard
    assert before != client.session_id
    assert not other.exists("/passing")
    client.create("/passing", ephemeral=True)
    assert other.exists("/passing")
