"""volflow.jobs.boards: boards by URL, and what is said where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.lab import is_one_clear_sentence
from volflow.exceptions import BoardError, InvalidInput
from volflow.jobs.boards import board_of
from volflow.persistence.engine import Database

NOBODY = 1
"""A port of the loopback interface where nobody listens: only root might, and does not."""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = Database(f"sqlite:///{tmp_path / 'volflow.db'}")
    yield found
    found.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "kind"),
        ("nonsense:", "nonsense"),
        ("amqp://localhost/", "amqp"),
        ("sql://host/", "sql:"),
        ("sql:anything", "sql:"),
        ("zookeeper:///volflow", "host"),
        ("zookeeper://a,,b/volflow", "host"),
        ("zookeeper://a:0/volflow", "port"),
        ("zookeeper://a:many/volflow", "port"),
        ("zookeeper://a:99999/volflow", "port"),
        ("zookeeper://user:secret@a/volflow", "user"),
        ("zookeeper://a/volflow?tmieout=3", "tmieout"),
        ("zookeeper://a/volflow?timeout=-3", "timeout"),
        ("zookeeper://a/volflow?timeout=soon", "timeout"),
        ("zookeeper://a/volflow?tls=perhaps", "tls"),
        ("zookeeper://a/volflow?ca=/nowhere.pem", "/nowhere.pem"),
        ("etcd://a,b/volflow", "one host"),
        ("etcd:///volflow", "host"),
        ("redis://a,b/0", "one host"),
        ("redis://a/zero", "number"),
        ("rediss://:secret@a/0?ca=/nowhere.pem", "/nowhere.pem"),
        ("redis://[::1/0", "URL"),
    ],
)
def test_a_wrong_url_is_refused_in_one_sentence(database: Database, url: str, says: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        board_of(url, database)
    assert says in str(caught.value)
    assert "secret" not in str(caught.value)
    is_one_clear_sentence(caught.value)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("sql:", "sql:"),
        ("zookeeper://a:2181,b/volflow?timeout=4", "zookeeper://a:2181,b/volflow"),
        ("etcd://[::1]:2379/volflow", "etcd://[::1]:2379/volflow"),
        ("redis://me:secret@a/3", "redis://a/3"),
        ("rediss://:secret@a:1,b/3?sentinel=main&sentinel_password=hush", "rediss://a:1,b/3"),
    ],
)
def test_a_board_is_named_without_its_secrets(database: Database, url: str, name: str) -> None:
    assert name == board_of(url, database).name


@pytest.mark.parametrize(
    ("scheme", "library"), [("zookeeper", "kazoo"), ("etcd", "etcd3gw"), ("redis", "redis")]
)
def test_a_library_that_is_not_installed_is_named(
    database: Database, scheme: str, library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == library] or [library]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"volflow.jobs.{scheme}", raising=False)
    with pytest.raises(InvalidInput, match=rf"pip install volflow\[{scheme}\]"):
        board_of(f"{scheme}://127.0.0.1/0", database)


@pytest.mark.parametrize(
    "url",
    [
        f"zookeeper://127.0.0.1:{NOBODY}/volflow",
        f"etcd://127.0.0.1:{NOBODY}/volflow",
        f"redis://:secret@127.0.0.1:{NOBODY}/0",
        f"rediss://:secret@127.0.0.1:{NOBODY}/0",
        f"redis://:secret@127.0.0.1:{NOBODY}/0?sentinel=main",
    ],
)
def test_a_server_that_is_down_is_named_in_one_sentence(database: Database, url: str) -> None:
    """When it is asked for the first time, and at once when it was asked a moment ago."""
    board = board_of(url, database)
    for act in (lambda: board.post("an id"), board.listed, lambda: board.tickets(["an id"])):
        with pytest.raises(BoardError) as caught:
            act()
        assert board.name in str(caught.value)
        assert "secret" not in str(caught.value)
        is_one_clear_sentence(caught.value)
    assert not board.wakes
    board.close()
    with pytest.raises(BoardError, match="closed"):
        board.listed()
