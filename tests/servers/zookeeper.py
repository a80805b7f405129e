"""A real ZooKeeper server for tests, one a pytest worker; and one that is a fake."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from kazoo.client import KazooClient

from tests.servers.process import START_SECONDS, RequireBinary, RequireFile, ServerProcess, running

JARS = Path("/usr/share/java")
TICK_MILLISECONDS = 200
ASK_SECONDS = 5


class ZookeeperServer(ServerProcess):
    """A standalone ZooKeeper; sessions may be as short as two ticks."""

    name = "zookeeper"

    def __init__(self, java: Path, setpriv: Path, jars: Path, fsync: bool = True) -> None:
        super().__init__(setpriv)
        self._java = java
        self._jars = jars
        self._fsync = fsync
        self._numbers = count(1)
        self._admin: KazooClient | None = None

    def url(self, path: str) -> str:
        """Name a path as kazoo's chroot."""
        return f"zookeeper://127.0.0.1:{self.port}/{path}"

    def create_path(self) -> str:
        """Make a path that no test has used."""
        path = f"test-{next(self._numbers)}"
        self.admin.ensure_path(path)
        return path

    def delete_path(self, path: str) -> None:
        """Remove a path and all below it."""
        self.admin.delete(path, recursive=True)

    @property
    def admin(self) -> KazooClient:
        """A client of the whole tree."""
        if self._admin is None:
            admin = KazooClient(f"127.0.0.1:{self.port}")
            admin.start(timeout=START_SECONDS)
            self._admin = admin
        return self._admin

    def say(self, word: str) -> str:
        """Ask with one of its four-letter words: ``ruok``, ``cons``, ``dump``."""
        with socket.create_connection(("127.0.0.1", self.port), ASK_SECONDS) as connection:
            connection.sendall(word.encode())
            with connection.makefile() as reply:
                return reply.read()

    def command(self) -> list[str]:
        file = self.directory / "zoo.cfg"
        file.write_text(
            f"dataDir={self.directory}/data\nclientPort={self.port}\n"
            f"clientPortAddress=127.0.0.1\ntickTime={TICK_MILLISECONDS}\n"
            "maxSessionTimeout=60000\nmaxClientCnxns=0\nadmin.enableServer=false\n"
            "4lw.commands.whitelist=ruok,cons,dump\n"
        )
        classes = [self._jars / f"{name}.jar" for name in ("zookeeper", "slf4j-simple")]
        properties = {
            "org.slf4j.simpleLogger.defaultLogLevel": "warn",
            "zookeeper.forceSync": "yes" if self._fsync else "no",
            "zookeeper.preAllocSize": "1024",
        }
        return [
            str(self._java),
            # A short life: no second compiler, no files in /tmp.
            *("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData", "-Xmx128m"),
            *(f"-D{name}={value}" for name, value in properties.items()),
            *("-cp", ":".join(map(str, classes))),
            *("org.apache.zookeeper.server.quorum.QuorumPeerMain", str(file)),
        ]

    def answers(self) -> bool:
        try:
            return self.say("ruok") == "imok"
        except OSError:
            return False

    def disconnect(self) -> None:
        if self._admin is not None:
            self._admin.stop()
            self._admin.close()
            self._admin = None


@pytest.fixture(scope="session")
def zookeeper_server(
    request: pytest.FixtureRequest, require_binary: RequireBinary, require_file: RequireFile
) -> Iterator[ZookeeperServer]:
    """The worker's ZooKeeper."""
    java = require_binary("java", "default-jre-headless")
    setpriv = require_binary("setpriv", "util-linux")
    jar = require_file(JARS / "zookeeper.jar", "libzookeeper-java")
    fsync = not request.config.getoption("--no-fsync")
    with running(ZookeeperServer(java, setpriv, jar.parent, fsync)) as server:
        yield server


@pytest.fixture
def zookeeper_url(zookeeper_server: ZookeeperServer) -> Iterator[str]:
    """A path of its own for one test."""
    path = zookeeper_server.create_path()
    yield zookeeper_server.url(path)
    zookeeper_server.delete_path(path)
