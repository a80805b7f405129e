"""The peers: what does the same work in other ways, each in a module of its own."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

DATABASES = ("sqlite", "postgresql")

_PEERS = {
    "volflow": ("volflow", "Volflow"),
    "floor": ("floor", "Floor"),
    "bare": ("bare", "Bare"),
    "taskflow_sql": ("taskflow_sql", "TaskflowSql"),
    "dbos": ("dbos", "Dbos"),
    "dbos_datasource": ("dbos", "DbosDatasource"),
    "absurd": ("absurd", "Absurd"),
}

NAMES = tuple(_PEERS)
"""All peers, in the order in which they are shown; the first is what others are compared with."""


class Peer(Protocol):
    """One way to do the work. A process has one of them, on one volume.

    :cvar title: what it is, in a few words, for tables and pictures.
    :cvar databases: which of ``sqlite`` and ``postgresql`` it knows.
    :cvar packages: the distributions whose versions matter.
    :cvar durable: a flow whose process dies half way goes on, or is undone, later.
    """

    title: str
    databases: tuple[str, ...]
    packages: tuple[str, ...]
    durable: bool

    def open(self, url: str, directory: Path, index: int) -> None:
        """Make its tables where they are missing, and a volume.

        :param url: as SQLAlchemy spells it; an empty database, but for processes with another
            ``index`` that use the same one.
        :param directory: for its files; the processes share it.
        """

    def attach(self) -> None:
        """Attach the volume: six steps."""

    def detach(self) -> None:
        """Detach it: five steps."""

    def finished(self) -> int:
        """How many attachments of the volume have ended by its rows, if it is available."""

    def close(self) -> None:
        """Give everything back."""


def load(name: str) -> Peer:
    """Make a peer.

    :raises ImportError: a package that it needs is not installed.
    """
    module, class_ = _PEERS[name]
    found: Any = getattr(import_module(f"benchmarks.peers.{module}"), class_)
    peer: Peer = found()
    return peer
