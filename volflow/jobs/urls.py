"""URLs of job boards with a server: hosts, a path, and options in the query."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote

from volflow.exceptions import InvalidInput

_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


def flag(text: str) -> bool:
    """``true`` or ``false``."""
    if text.lower() in _TRUE + _FALSE:
        return text.lower() in _TRUE
    raise ValueError("has to be true or false")


def seconds(text: str) -> float:
    """A number of seconds above zero."""
    found = float(text)
    if not 0 < found < 3600:
        raise ValueError("has to be a number of seconds above 0")
    return found


def file(text: str) -> str:
    """The path of a file that can be read."""
    if not Path(text).is_file():
        raise ValueError(f"names no file: {text}")
    return text


@dataclass(frozen=True)
class BoardUrl:
    """What a board's URL says.

    :ivar name: the URL without user, password and options, for messages.
    :ivar hosts: (host, port) of each server.
    :ivar path: without slashes at its ends.
    :ivar options: of the query, each as its kind.
    """

    name: str
    hosts: tuple[tuple[str, int], ...]
    path: str
    user: str | None
    password: str | None
    options: Mapping[str, Any]

    @classmethod
    def read(
        cls, parsed: SplitResult, port: int, kinds: Mapping[str, Callable[[str], Any]]
    ) -> BoardUrl:
        """Read a URL.

        :param port: where it names none.
        :param kinds: option -> what reads its text, or raises ValueError with what it has to be.
        :raises InvalidInput: something in it is wrong.
        """
        account, _, places = parsed.netloc.rpartition("@")
        user, _, password = account.partition(":")
        name = f"{parsed.scheme}://{places}{parsed.path}"
        hosts = tuple(_host(name, place, port) for place in places.split(","))
        return cls(
            name,
            hosts,
            parsed.path.strip("/"),
            unquote(user) or None,
            unquote(password) or None,
            _options(name, parsed.query, kinds),
        )

    def without_account(self) -> BoardUrl:
        """Refuse a user and a password, where they would not be used.

        :raises InvalidInput: there is one.
        """
        if self.user or self.password:
            raise InvalidInput(f"the board {self.name} takes no user and no password")
        return self


def _host(name: str, place: str, port: int) -> tuple[str, int]:
    host, colon, number = place.rpartition(":")
    if not colon or place.endswith("]"):  # [::1] has colons and no port
        host, number = place, str(port)
    host = host.strip("[]")
    if not host:
        raise InvalidInput(f"the board {name} names no host")
    if not number.isdecimal() or not 0 < int(number) < 65536:
        raise InvalidInput(f"the port of board {name} has to be a number from 1 to 65535")
    return host, int(number)


def _options(name: str, query: str, kinds: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for option, text in parse_qsl(query, keep_blank_values=True):
        if option not in kinds:
            known = ", ".join(sorted(kinds))
            raise InvalidInput(f"the board {name} has no option {option!r}; it has {known}")
        try:
            found[option] = kinds[option](text)
        except ValueError as e:
            raise InvalidInput(f"the option {option} of board {name}: {e}") from None
    return found
