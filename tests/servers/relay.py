"""A relay between clients and a server, which can be cut: what is sent then waits, unanswered."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

CHUNK = 65536


class Relay:
    """Forwards connections to a port of the loopback interface.

    :param address: the one of this host that it listens on.
    :ivar port: where clients connect instead.
    """

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server((address, 0))
        self.port = int(self._listener.getsockname()[1])
        self._whole = threading.Event()
        self._whole.set()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._begin(self._accept)

    def cut(self) -> None:
        """Let nothing through any more, in either direction, and let nobody know."""
        self._whole.clear()

    def heal(self) -> None:
        """Let through what has waited, and all that comes."""
        self._whole.set()

    def close(self) -> None:
        """End all connections."""
        self.heal()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in self._open:
            _close(each)
        for thread in self._threads:
            thread.join()

    def _begin(self, work: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # it is closed
            try:
                server = socket.create_connection(self._server)
            except OSError:
                _close(client)
                continue
            self._open += [client, server]
            self._begin(self._forward, client, server)
            self._begin(self._forward, server, client)

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while said := source.recv(CHUNK):
                self._whole.wait()
                target.sendall(said)
        except OSError:
            pass
        finally:
            self._whole.wait()
            _close(target)
            _close(source)


def _close(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()


@contextlib.contextmanager
def running_relay(port: int, address: str = "127.0.0.1") -> Iterator[Relay]:
    """A relay that lasts as long as the block."""
    relay = Relay(port, address)
    try:
        yield relay
    finally:
        relay.close()
