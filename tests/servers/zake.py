"""A fake ZooKeeper ensemble in memory, for tests that need none of ZooKeeper's own behaviour.

It is kazoo's interface without a server: quick, and a session ends when the test says so. What it
takes back of a failed transaction is shallow: whether something is atomic is tried on the real one
(:mod:`tests.servers.zookeeper`).
"""

from __future__ import annotations

import importlib.metadata
import sys
import types
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.states import KazooState


class Ensemble:
    """What several clients share."""

    def __init__(self, storage: Any, client_class: Any) -> None:
        self._storage = storage
        self._client_class = client_class
        self._clients: list[Any] = []

    def client(self) -> Any:
        """A client with a session of its own, started; :meth:`close` ends it."""
        made = self._client_class(storage=self._storage)
        made.start()
        self._clients.append(made)
        return made

    def expire(self, client: Any) -> None:
        """End a client's session as the server does, and let the client begin another one."""
        self._storage.purge(client)
        client._partial_client.session_id = uuid.uuid4().int
        self._storage.attach(client)
        for state in (KazooState.LOST, KazooState.CONNECTED):
            client._fire_state_change(state)
        client.flush()

    @property
    def paths(self) -> set[str]:
        """All nodes there are."""
        return set(self._storage.paths)

    def close(self) -> None:
        """End every session."""
        for client in self._clients:
            client.stop()
        self._clients.clear()


@pytest.fixture
def zookeeper_ensemble(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ensemble]:
    """A fake ensemble for one test."""
    # zake asks pkg_resources for its own version; setuptools no longer has it.
    stand_in: Any = types.ModuleType("pkg_resources")
    stand_in.get_distribution = importlib.metadata.distribution
    monkeypatch.setitem(sys.modules, "pkg_resources", stand_in)
    from zake.fake_client import FakeClient
    from zake.fake_storage import FakeStorage

    ensemble = Ensemble(FakeStorage(SequentialThreadingHandler()), FakeClient)
    yield ensemble
    ensemble.close()
