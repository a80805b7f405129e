"""The server: where it listens, who may change something, and how it ends."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import uvicorn

from volflow.exceptions import InvalidInput
from volflow.manager import VolumeManager
from volflow.web.access import TOKEN_LENGTH, Access, is_loopback
from volflow.web.app import make_app
from volflow.web.doors import Acting, Doors
from volflow.web.feed import Feed

END_SECONDS = 5
"""So long a request may still take once the server stops."""


class Place(NamedTuple):
    """Where the server listens."""

    host: str
    port: int


def place_of(text: str) -> Place:
    """Read ``HOST:PORT``; an IPv6 address stands in brackets.

    :raises InvalidInput: it is none.
    """
    host, _, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    is_number = port.isascii() and port.isdigit() and int(port) < 65536
    if not bare or not is_number or (":" in bare and bare == host):
        raise InvalidInput(f"where to listen has to be HOST:PORT, not {text!r}")
    return Place(bare, int(port))


def token_of(place: Place, file: Path | None) -> str:
    """The token of a file; without one a new one, where nobody but this host can ask.

    :raises InvalidInput: the file cannot be used, or there has to be one.
    """
    if file is not None:
        return _read(file)
    if not is_loopback(place.host):
        raise InvalidInput(
            f"listening on {place.host}, where other hosts reach it, needs a token that stays: "
            "name a file with --token-file"
        )
    return secrets.token_urlsafe(24)


def _read(file: Path) -> str:
    try:
        with file.open() as opened:
            mode = os.fstat(opened.fileno()).st_mode
            found = opened.read(4096).strip()
    except (OSError, UnicodeDecodeError) as e:
        raise InvalidInput(f"the token file {file} cannot be read: {e}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidInput(f"others can read the token file {file}: chmod 600 it")
    if len(found) < TOKEN_LENGTH or len(found.split()) != 1:
        raise InvalidInput(
            f"the token file {file} has to hold one word of {TOKEN_LENGTH} characters or more"
        )
    return found


class _Server(uvicorn.Server):
    """A server that ends the streams of open pages before it waits for requests to end.

    It ends in order, where uvicorn's own would raise the signal once more at its end.
    """

    def __init__(self, config: uvicorn.Config, feed: Feed) -> None:
        super().__init__(config)
        self._feed = feed

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._feed.close()
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def serve(
    reading: VolumeManager,
    acting: Acting,
    place: Place,
    token: str,
    hosts: Sequence[str],
    say: Callable[[str], None],
    named: bool,
) -> None:
    """Serve until SIGTERM or SIGINT.

    :param reading: see :class:`~volflow.web.doors.Doors`; and so ``acting``.
    :param hosts: further names under which the page may be asked for.
    :param say: told where the page is, once it listens.
    :param named: the token has a file, and is not to be shown.
    :raises InvalidInput: it cannot listen there.
    """
    listening = _listening(place)
    with listening:
        port = listening.getsockname()[1]
        shown = f"[{place.host}]" if ":" in place.host else place.host
        access = Access(token, (*hosts, shown), f"volflow-{port}")
        feed = Feed(reading.changes)
        config = uvicorn.Config(
            make_app(Doors(reading, acting), access, feed),
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=END_SECONDS,
        )
        say(f"http://{shown}:{port}/" + ("" if named else f"?token={token}"))
        _Server(config, feed).run(sockets=[listening])


def _listening(place: Place) -> socket.socket:
    family = socket.AF_INET6 if ":" in place.host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((place.host, place.port))
        found.listen(128)
    except OSError as e:
        found.close()
        raise InvalidInput(f"it cannot listen on {place.host}:{place.port}: {e}") from None
    return found
