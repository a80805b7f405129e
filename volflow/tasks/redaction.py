"""Secrets out of messages: whatever a backend says, it says without the CHAP secret."""

from __future__ import annotations

from typing import TypeVar

from oslo_utils import strutils

from volflow import exceptions
from volflow.exceptions import VolflowError

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
        return str(strutils.mask_password(message, secret=MASK))

    def error(self, error: Exception) -> Exception:
        """The error itself where it names no secret, else one of its class that does not."""
        said = str(error)
        masked = self.text(said)
        if masked == said:
            return error
        for cls in type(error).__mro__:
            if cls.__module__ == exceptions.__name__ and issubclass(cls, VolflowError):
                return cls(masked)
        return exceptions.DriverError(masked)
