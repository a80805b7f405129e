"""The boards of real servers: the same contract, and what only a server can do to one."""

from __future__ import annotations

import shutil
from base64 import b64decode
from pathlib import Path

import pytest

from tests.contract.boards import CONTEXT, BoardContract, Cast, Place, PostedBoardContract
from tests.contract.lab import HOST_A, Call, Gate, until
from tests.servers.etcd import EVERYTHING, EtcdServer
from tests.servers.mariadb import MariadbServer
from tests.servers.postgresql import PostgresqlServer
from tests.servers.redis import SENTINEL_NAME, RedisServer, Sentinel
from tests.servers.zookeeper import ZookeeperServer
from volflow import VolumeManager


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key file of every database of these tests."""
    return tmp_path_factory.mktemp("keys") / "volflow.key"


@pytest.fixture
def home(tmp_path: Path, keys: Path) -> Path:
    """Where this test's key file and locks are."""
    home = tmp_path / "home"
    home.mkdir()
    if keys.exists():
        shutil.copy(keys, home)
    return home


def migrate(url: str, keys: Path) -> None:
    VolumeManager(url, drivers={}, recover=False, key_file=keys).close()


class TestSqlOnPostgresql(BoardContract):
    @pytest.fixture
    def place(self, postgresql_server: PostgresqlServer, keys: Path, home: Path) -> Place:
        template = postgresql_server.template("boards", lambda url: migrate(url, keys))
        url = postgresql_server.create_database(template)
        shutil.copy(keys, home)
        return Place(url, "sql:", str(home / keys.name))

    def test_who_waits_in_another_process_is_woken(
        self, cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When looking by itself would take for ever: conductor and caller both."""
        submitter, manager = cast.open(drivers={}), cast.open()
        volumes = cast.volumes(manager, 2)
        conductor = cast.conduct(manager)
        until(lambda: manager.database.signals.far, "the conductor listens")
        monkeypatch.setattr("volflow.jobs.conductor.PAUSE_SECONDS_WOKEN", 1e6)
        monkeypatch.setattr("volflow.jobs.conductor.PAUSE_SECONDS", 1e6)
        conductor._wakeup._pause = 1e6
        conductor._wakeup.wake()
        with submitter.database.signals.heard_by(lambda signal: None):
            until(lambda: submitter.database.signals.far, "the caller listens")
            for name in ("POLL_SECONDS", "POLL_SECONDS_MAX", "POLL_SECONDS_FAR"):
                monkeypatch.setattr(f"volflow.oneshots.{name}", 1e6)
            for volume in volumes:
                operation = submitter.submit_attach(CONTEXT, volume.id, HOST_A)
                assert "succeeded" == Call(submitter.wait, operation.id).value().state

    def test_what_is_handed_back_wakes_recovery_elsewhere(
        self, cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When looking by itself would take for ever."""
        monkeypatch.setattr("volflow.recovery.SLEEP_SECONDS_MAX", 1e6)
        gate = Gate()
        cast.driver.on["create_export"] = gate.stop
        first = cast.conduct(cast.open())
        other = cast.open(recover=True, lease_seconds=900, comparison_seconds=900)
        until(lambda: other.database.signals.far, "it listens")
        (volume,) = cast.volumes(other, 1)
        operation = other.submit_attach(CONTEXT, volume.id, HOST_A)
        gate.wait()
        first.stop()
        gate.opened.set()
        assert "succeeded" == other.wait(operation.id, timeout=30).state

    def test_a_conductor_hears_of_another_one_at_once(
        self, cast: Cast, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When it looks around every five minutes: from then on it claims before it runs."""
        monkeypatch.setattr("volflow.jobs.conductor.BEAT_SECONDS_MAX", 1e6)
        first = cast.conduct(manager := cast.open(lease_seconds=900))
        until(lambda: manager.database.signals.far, "it listens")
        until(lambda: first._offers.alone, "it knows that it is alone")
        second = cast.conduct(cast.open(lease_seconds=900))
        until(lambda: not first._offers.alone, "it knows of the other one")
        assert not second._offers.alone


class TestSqlOnMariadb(BoardContract):
    @pytest.fixture
    def place(self, mariadb_server: MariadbServer, home: Path) -> Place:
        url = mariadb_server.create_database()
        migrate(url, home / "volflow.key")
        return Place(url, "sql:", str(home / "volflow.key"))


@pytest.fixture(scope="session")
def empty_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a migrated database that holds nothing."""
    directory = tmp_path_factory.mktemp("empty")
    migrate(f"sqlite:///{directory}/volflow.db", directory / "volflow.key")
    return directory


@pytest.fixture
def sqlite(tmp_path: Path, empty_sqlite: Path) -> Path:
    """The directory of this test's own database."""
    home = tmp_path / "sqlite"
    shutil.copytree(empty_sqlite, home)
    return home


class TestZookeeper(PostedBoardContract):
    @pytest.fixture
    def place(self, zookeeper_server: ZookeeperServer, zookeeper_url: str, sqlite: Path) -> Place:
        admin, path = zookeeper_server.admin, f"/{zookeeper_url.rpartition('/')[2]}/operations"

        def content() -> bytes:
            jobs = [child for child in admin.get_children(path) if not child.endswith(".lock")]
            return b"".join(admin.get(f"{path}/{child}")[0] for child in jobs)

        def lose() -> None:
            admin.delete(path, recursive=True)

        return Place(
            f"sqlite:///{sqlite}/volflow.db", zookeeper_url, f"{sqlite}/volflow.key", lose, content
        )


class TestEtcd(PostedBoardContract):
    @pytest.fixture
    def place(self, etcd_server: EtcdServer, etcd_url: str, sqlite: Path) -> Place:
        def content() -> bytes:
            found = etcd_server.ask("/v3/kv/range", **EVERYTHING)
            return b"".join(b64decode(pair["value"]) for pair in found.get("kvs", []))

        return Place(
            f"sqlite:///{sqlite}/volflow.db",
            etcd_url,
            f"{sqlite}/volflow.key",
            etcd_server.wipe,
            content,
        )


class RedisContract(PostedBoardContract):
    """Redis, however it is reached."""

    def make_place(self, server: RedisServer, url: str, database: int, sqlite: Path) -> Place:
        def content() -> bytes:
            with server.client(database) as client:
                found = client.hgetall("volflow:listings")
            return b"".join(found.values())

        def lose() -> None:
            with server.client(database) as client:
                client.flushdb()

        return Place(f"sqlite:///{sqlite}/volflow.db", url, f"{sqlite}/volflow.key", lose, content)


class TestRedis(RedisContract):
    @pytest.fixture
    def place(self, redis_server: RedisServer, redis_url: str, sqlite: Path) -> Place:
        return self.make_place(redis_server, redis_url, _number(redis_url), sqlite)


class TestRedisWithTls(RedisContract):
    @pytest.fixture
    def place(self, redis_tls: RedisServer, redis_authority: Path, sqlite: Path) -> Place:
        number = redis_tls.next_database()
        url = f"{redis_tls.url(number)}?ca={redis_authority}/authority.pem"
        return self.make_place(redis_tls, url, number, sqlite)


class TestRedisBehindASentinel(RedisContract):
    @pytest.fixture
    def place(self, redis_server: RedisServer, redis_sentinel: Sentinel, sqlite: Path) -> Place:
        number = redis_server.next_database()
        url = f"redis://127.0.0.1:{redis_sentinel.port}/{number}?sentinel={SENTINEL_NAME}"
        return self.make_place(redis_server, url, number, sqlite)


def _number(url: str) -> int:
    return int(url.rpartition("/")[2])
