"""The board of the database on SQLite, and ZooKeeper's on a fake ensemble."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.boards import BoardContract, Place


class TestSqlOnSqlite(BoardContract):
    @pytest.fixture
    def place(self, home: Path, url: str) -> Place:
        return Place(url, "sql:", str(home / "volflow.db.key"))
