"""Secrets out of messages: whatever a backend says, it says without the CHAP secret."""

from __future__ import annotations

from typing import TypeVar

from oslo_utils import strutils

from volflow import exceptions
from volflow.exceptions import VolflowError
from volflow.texts import is_printable, sentence, storable

MASK = "***"
E = TypeVar("E", bound=Exception)


class Redactor:
    """Masks one volume's credentials.

    :param provider_auth: ``CHAP user secret``, or None.
    """

    def __init__(self, provider_auth: str | None) -> None:
        self._secrets = tuple(w for w in (provider_auth or "").split()[2:] if w)

    def text(self, message: str) -> str:
        """The message with every secret masked."""
        for secret in self._secrets:
            message = message.replace(secret, MASK)
        return str(strutils.mask_password(storable(message), secret=MASK))

    def cut(self, error: BaseException) -> None:
        """Cut from an error the causes that name a secret: a traceback would print them."""
        link: BaseException | None = error
        passed: set[int] = set()  # a driver may have tied its causes to a ring
        while link is not None and id(link) not in passed:
            passed.add(id(link))
            for follows in (link.__cause__, link.__context__):
                if follows is not None and self._names_secret(follows):
                    link.__cause__ = link.__context__ = None
            link = link.__cause__ or link.__context__

    def cause(self, error: Exception) -> Exception:
        """The error as it may stand behind another one."""
        if self._names_secret(error):
            return exceptions.DriverError(self.text(f"{type(error).__name__}: {error}"))
        self.cut(error)
        return error

    def _names_secret(self, error: BaseException) -> bool:
        try:
            said = f"{error} {error.args!r}"
        except Exception:  # noqa: BLE001 - what cannot be printed prints no secret
            return False
        return any(secret in said for secret in self._secrets)

    def error(self, error: Exception) -> Exception:
        """The error itself where it names no secret, else one of its class that does not.

        One that cannot be printed is replaced, too: whoever reports it would fail.
        """
        said = sentence(error)
        masked = self.text(said)
        if masked == said and is_printable(error):
            self.cut(error)
            return error
        for cls in type(error).__mro__:
            if cls.__module__ == exceptions.__name__ and issubclass(cls, VolflowError):
                return cls(masked)
        return exceptions.DriverError(masked)
