"""Access: who may change something, and under which names the page may be asked for.

The token is shown to the server once; from then on a cookie says so, which is worth nothing
elsewhere: it is derived from the token, and so is what a form has to carry.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Collection
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address

from starlette.datastructures import Headers

TOKEN_LENGTH = 16
"""A shorter token could be guessed."""

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_HOST = re.compile(r"(?P<name>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")


class Access:
    """What a request may do.

    :param token: whoever has it may change something.
    :param hosts: names under which the page may be asked for, besides this host's own: a page of
        another site whose name leads here has another one.
    :param cookie: its name; cookies are shared by all ports of a host.
    """

    def __init__(
        self, token: str, hosts: Collection[str] = (), cookie: str = "volflow-session"
    ) -> None:
        self._token = token.encode()
        self._hosts = {name.lower() for name in (*LOOPBACK, *hosts)}
        self.cookie = cookie

    def host_is_ours(self, host: str) -> bool:
        """True where the page may be asked for under this name, with or without a port."""
        found = _HOST.fullmatch(host)
        return found is not None and found["name"].lower() in self._hosts

    def opened_by(self, token: str) -> str | None:
        """The cookie of a new session; None: the token is wrong."""
        if not hmac.compare_digest(token.encode("utf-8", "surrogatepass"), self._token):
            return None
        nonce = secrets.token_urlsafe(16)
        return f"{nonce}.{self._derived('session', nonce)}"

    def session_of(self, headers: Headers) -> str | None:
        """The session of a request; None: it may only read."""
        try:
            found = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            return None
        nonce, _, proof = (found.value if found else "").partition(".")
        if not nonce or not _same(proof, self._derived("session", nonce)):
            return None
        return nonce

    def form_word(self, session: str) -> str:
        """What a form of this session has to carry."""
        return self._derived("form", session)

    def form_is_ours(self, session: str, word: str, headers: Headers) -> bool:
        """True where a form was made by us for this session, and sent by our page."""
        origin = headers.get("origin")
        if origin not in (None, "null") and origin.partition("://")[2] != headers.get("host"):
            return False
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return False
        return _same(word, self.form_word(session))

    def _derived(self, purpose: str, value: str) -> str:
        said = f"volflow {purpose} {value}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._token, said, "sha256").hex()


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


def is_loopback(host: str) -> bool:
    """True where nobody but this host reaches an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
