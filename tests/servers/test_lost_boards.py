"""Servers of boards that are killed and come back, and ones that are not to be trusted."""

from __future__ import annotations

import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.contract.boards import CONTEXT, Cast, Place
from tests.contract.lab import HOST_A, is_one_clear_sentence, until
from tests.servers.etcd import EtcdServer
from tests.servers.process import ServerProcess
from tests.servers.redis import RedisServer
from tests.servers.test_boards import migrate
from volflow.exceptions import BoardError
from volflow.jobs.boards import board_of
from volflow.jobs.port import Board
from volflow.persistence.engine import Database
from volflow.testing.invariants import violations


class Served(NamedTuple):
    """A board and its server."""

    url: str
    server: ServerProcess


@pytest.fixture(params=["redis", "etcd", "zookeeper"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    server = request.getfixturevalue(f"{request.param}_server")
    url = request.getfixturevalue(f"{request.param}_url")
    yield Served(url, server)
    if server.pid is None:
        server.restart()


@pytest.fixture
def cast(served: Served, tmp_path: Path) -> Iterator[Cast]:
    url = f"sqlite:///{tmp_path}/volflow.db"
    migrate(url, tmp_path / "volflow.key")
    cast = Cast(Place(url, served.url, f"{tmp_path}/volflow.key"))
    with cast.stack:
        yield cast


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/volflow.db")
    yield database
    database.close()


def test_conductors_go_on_while_the_server_is_away_and_use_it_again(
    cast: Cast, served: Served
) -> None:
    """When it is killed and started again: each operation is run once, and the board is empty."""
    manager = cast.open(recover=True)
    volumes = cast.volumes(manager, 6)
    cast.conduct(manager, workers=2)
    before = [manager.submit_attach(CONTEXT, v.id, HOST_A).id for v in volumes[:2]]
    assert {"succeeded"} == {cast.settled(manager, key) for key in before}
    served.server.kill()
    during = [manager.submit_attach(CONTEXT, v.id, HOST_A).id for v in volumes[2:4]]
    assert {"succeeded"} == {cast.settled(manager, key) for key in during}
    served.server.restart()
    after = [manager.submit_attach(CONTEXT, v.id, HOST_A).id for v in volumes[4:]]
    assert {"succeeded"} == {cast.settled(manager, key) for key in after}
    assert 6 == Counter(cast.driver.names)["create_export"]
    assert [] == violations(manager, cast.backend, "lab")
    board = cast.board()
    until(lambda: _is_empty(board), "the board is there, and empty")
    until(lambda: board.wakes, "it wakes again")


def test_what_was_submitted_while_it_was_away_is_posted_once_it_is_back(
    cast: Cast, served: Served
) -> None:
    manager = cast.open()
    (volume,) = cast.volumes(manager, 1)
    served.server.kill()
    operation = manager.submit_attach(CONTEXT, volume.id, HOST_A)
    served.server.restart()
    assert (operation.id,) == until(lambda: manager.recover().reposted, "it is posted")
    board = cast.board()
    assert [operation.id] == [ticket.operation_id for ticket in board.listed()]


def test_a_server_that_hangs_does_not_hang_its_callers(cast: Cast, served: Served) -> None:
    """When it takes connections and answers nothing: calls end within their limit."""
    manager = cast.open(recover=True)
    volumes = cast.volumes(manager, 2)
    cast.conduct(manager, workers=2)
    served.server.pause()
    try:
        found = [manager.submit_attach(CONTEXT, v.id, HOST_A).id for v in volumes]
        assert {"succeeded"} == {manager.wait(key, timeout=60).state for key in found}
    finally:
        served.server.resume()
        served.server.disconnect()  # the session of the test's own client has ended, too


def _is_empty(board: Board) -> bool:
    try:
        return not board.listed()
    except BoardError:
        return False


def test_an_expired_certificate_is_named(
    redis_tls_expired: RedisServer, redis_authority: Path, database: Database
) -> None:
    url = f"{redis_tls_expired.url()}?ca={redis_authority}/authority.pem"
    with pytest.raises(BoardError, match="certificate has expired") as caught:
        board_of(url, database).listed()
    is_one_clear_sentence(caught.value)


def test_a_certificate_of_a_stranger_is_refused(
    redis_tls: RedisServer, database: Database
) -> None:
    with pytest.raises(BoardError, match="certificate"):
        board_of(redis_tls.url(), database).listed()


@pytest.mark.parametrize("scheme", ["etcd", "zookeeper"])
def test_a_server_of_another_kind_is_no_board(
    scheme: str, redis_server: RedisServer, database: Database
) -> None:
    """When the URL names a server that speaks something else."""
    board = board_of(f"{scheme}://127.0.0.1:{redis_server.port}/volflow", database)
    with pytest.raises(BoardError) as caught:
        board.listed()
    is_one_clear_sentence(caught.value)
    board.close()


def test_an_etcd_of_another_version_is_named(etcd_server: EtcdServer, database: Database) -> None:
    """When its gateway speaks on another path, as those before 3.3 do."""
    board = board_of(f"etcd://127.0.0.1:{etcd_server.port}/volflow?api_path=/v3alpha/", database)
    with pytest.raises(
        BoardError, match=f"etcd://127.0.0.1:{etcd_server.port}.*another version"
    ) as caught:
        board.listed()
    is_one_clear_sentence(caught.value)
    board.close()


class _OldRedis(socketserver.StreamRequestHandler):
    """Answers what a client asks first, as a Redis of long ago does."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            words = [self._word() for _ in range(int(line[1:]))]
            if words[0].upper() == b"INFO":
                text = b"# Server\r\nredis_version:2.4.18\r\n"
                self.wfile.write(b"$%d\r\n%s\r\n" % (len(text), text))
            elif words[0].upper() == b"PING":
                self.wfile.write(b"+PONG\r\n")
            else:
                self.wfile.write(b"-ERR unknown command\r\n")

    def _word(self) -> bytes:
        length = int(self.rfile.readline()[1:])
        return self.rfile.read(length + 2)[:-2]


def test_a_redis_of_another_version_is_named(database: Database) -> None:
    """When it is older than what its jobs need."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _OldRedis) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_address[1]
        board = board_of(f"redis://127.0.0.1:{port}/0", database)
        with pytest.raises(BoardError, match=f"redis://127.0.0.1:{port}.*version") as caught:
            board.listed()
        is_one_clear_sentence(caught.value)
        board.close()
        server.shutdown()
