"""A TCP proxy before PostgreSQL that breaks a connection at a COMMIT."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum

from sqlalchemy.engine import make_url

SECONDS = 30.0
_NO_STARTUP = (80877103, 80877104)  # SSLRequest, GSSENCRequest: the startup message follows


class Cut(Enum):
    """Where the COMMIT is when its connection breaks."""

    BEFORE = "before"
    """It never reaches the server, which rolls back."""

    AFTER = "after"
    """The server did it; its answer gets lost."""

    LATE = "late"
    """It is still on its way: the server does it once somebody waits for what it holds."""


class Proxy:
    """Forwards connections to a server on the loopback interface.

    :param port: the server's.
    :param is_waited_for: tells whether a session of the server waits for another one's lock.
    :ivar commits: how many COMMITs were seen.
    :ivar cuts: how many connections were broken at one.
    """

    def __init__(self, port: int, is_waited_for: Callable[[], bool]) -> None:
        self._server = port
        self._is_waited_for = is_waited_for
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._guard = threading.Lock()
        self._cut: tuple[int, Cut] | None = None
        self.commits = 0
        self.cuts = 0
        self._begin(self._accept)

    def url(self, server_url: str) -> str:
        """The URL of a database of the server, through this proxy."""
        port: int = self._listener.getsockname()[1]
        return make_url(server_url).set(port=port).render_as_string(hide_password=False)

    def cut(self, number: int, how: Cut) -> None:
        """Break the connection at a COMMIT; 1 is the next one."""
        with self._guard:
            self._cut = (self.commits + number, how)

    def close(self) -> None:
        """Break all connections and listen no more."""
        with self._guard:
            open_ = [self._listener, *self._sockets]
        for each in open_:
            _close(each)
        for thread in self._threads:
            thread.join(SECONDS)

    def _begin(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server))
            except OSError:
                return  # it is closed, or the server is
            with self._guard:
                self._sockets += [client, server]
            muted = threading.Event()
            self._begin(self._from_client, client, server, muted)
            self._begin(self._from_server, client, server, muted)

    def _from_client(
        self, client: socket.socket, server: socket.socket, muted: threading.Event
    ) -> None:
        with suppress(OSError):
            for message in _messages(client):
                how = self._look(message)
                if how is Cut.BEFORE:
                    break
                if how is Cut.LATE:
                    _close(client)
                    self._wait()
                if how is not None:
                    muted.set()
                server.sendall(message)
                if how is not None:
                    return  # the server's answer ends the connection
        _close(client)
        _close(server)

    def _from_server(
        self, client: socket.socket, server: socket.socket, muted: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                if muted.is_set():
                    break
                client.sendall(data)
        _close(client)
        _close(server)

    def _look(self, message: bytes) -> Cut | None:
        if message[:1] != b"Q" or message[5:].rstrip(b"\0") != b"COMMIT":
            return None
        with self._guard:
            self.commits += 1
            if self._cut is None or self._cut[0] != self.commits:
                return None
            how = self._cut[1]
            self._cut = None
            self.cuts += 1
            return how

    def _wait(self) -> None:
        """Wait until somebody waits, at most so long."""
        for _ in range(int(SECONDS * 100)):
            if self._is_waited_for():
                return
            threading.Event().wait(0.01)


def _messages(client: socket.socket) -> Iterator[bytes]:
    """The messages of PostgreSQL's protocol 3, as they come; the first ones have no type."""
    started = False
    while True:
        head = _exactly(client, 5 if started else 4)
        if head is None:
            return
        (length,) = struct.unpack("!I", head[-4:])
        body = _exactly(client, length - 4)
        if body is None:
            return
        if not started:
            started = struct.unpack("!I", body[:4])[0] not in _NO_STARTUP
        yield head + body


def _exactly(source: socket.socket, count: int) -> bytes | None:
    found = b""
    while len(found) < count:
        data = source.recv(count - len(found))
        if not data:
            return None
        found += data
    return found


def _close(each: socket.socket) -> None:
    # A close alone would not wake a thread that reads it.
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


@contextmanager
def running_proxy(port: int, is_waited_for: Callable[[], bool]) -> Iterator[Proxy]:
    """Run a proxy as long as the block lasts."""
    proxy = Proxy(port, is_waited_for)
    try:
        yield proxy
    finally:
        proxy.close()
