"""A real etcd server for tests: one a pytest worker, started when first asked for."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.servers.process import RequireBinary, ServerProcess, running

ASK_SECONDS = 5


class EtcdServer(ServerProcess):
    """A cluster of one member, which elects itself in a tenth of a second."""

    name = "etcd"
    ports_wanted = 2

    def __init__(self, binary: Path, setpriv: Path) -> None:
        super().__init__(setpriv)
        self._binary = binary
        self._numbers = count(1)
        # A proxy of the environment is not for what listens on loopback.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def next_prefix(self) -> str:
        """Choose a prefix of keys that no test has used."""
        return f"test-{next(self._numbers)}"

    def ask(self, path: str, **message: Any) -> dict[str, Any]:
        """Call the JSON gateway: ``ask("/v3/kv/range", key=..., range_end=...)``."""
        url = f"http://127.0.0.1:{self.port}{path}"
        data = json.dumps(message).encode() if message else None
        with self._opener.open(url, data, timeout=ASK_SECONDS) as reply:
            found: dict[str, Any] = json.load(reply)
        return found

    def keys(self) -> list[bytes]:
        """All keys there are."""
        from base64 import b64decode

        found = self.ask("/v3/kv/range", **EVERYTHING, keys_only=True)
        return [b64decode(pair["key"]) for pair in found.get("kvs", [])]

    def wipe(self) -> None:
        """Remove every key."""
        self.ask("/v3/kv/deleterange", **EVERYTHING)

    def command(self) -> list[str]:
        clients, peers = (f"http://127.0.0.1:{port}" for port in self.ports)
        return [
            str(self._binary),
            *("--name", "only", "--initial-cluster", f"only={peers}"),
            # The member remembers its peers' port: another one needs another directory.
            *("--data-dir", str(self.directory / f"data-{self.ports[1]}")),
            *("--listen-client-urls", clients, "--advertise-client-urls", clients),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--heartbeat-interval", "10", "--election-timeout", "100"),
            *("--logger", "zap", "--log-level", "warn"),
        ]

    def answers(self) -> bool:
        try:
            return self.ask("/health") == {"health": "true"}
        except (OSError, ValueError):
            return False


EVERYTHING = {"key": b64encode(b"\0").decode(), "range_end": b64encode(b"\0").decode()}


@pytest.fixture(scope="session")
def etcd_server(require_binary: RequireBinary) -> Iterator[EtcdServer]:
    """The worker's etcd."""
    binary = require_binary("etcd", "etcd-server")
    with running(EtcdServer(binary, require_binary("setpriv", "util-linux"))) as server:
        yield server


@pytest.fixture
def etcd_url(etcd_server: EtcdServer) -> Iterator[str]:
    """A prefix of its own for one test; what any client left is removed."""
    yield f"etcd://127.0.0.1:{etcd_server.port}/{etcd_server.next_prefix()}"
    etcd_server.wipe()
