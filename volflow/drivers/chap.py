"""CHAP credentials: made, read and recognised."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass, field

from volflow.exceptions import ExportFailed

_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
"""Letters and digits that nobody mistakes for each other."""

_USER = re.compile(r"[!-+\--~]{1,36}")
_SECRET = re.compile(r"[!-~]{1,200}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and its secret, as one volume's ``provider_auth`` records them."""

    user: str
    secret: str = field(repr=False)

    @classmethod
    def generate(cls) -> Credentials:
        """Make a user of 20 characters and a secret of 16 (about 93 bits)."""
        return cls(
            "".join(secrets.choice(_ALPHABET) for _ in range(20)),
            "".join(secrets.choice(_ALPHABET) for _ in range(16)),
        )

    @classmethod
    def parse(cls, provider_auth: str) -> Credentials:
        """Read ``CHAP <user> <secret>``.

        :raises ExportFailed: it reads otherwise; the message does not repeat it.
        """
        words = provider_auth.split(" ")
        if (
            len(words) == 3
            and words[0] == "CHAP"
            and _USER.fullmatch(words[1])
            and _SECRET.fullmatch(words[2])
        ):
            return cls(words[1], words[2])
        raise ExportFailed(
            "the volume's provider_auth does not read 'CHAP user secret' with a user of at most "
            "36 and a secret of at most 200 printable characters, and no comma in the user"
        )

    @property
    def provider_auth(self) -> str:
        """What a volume records: ``CHAP <user> <secret>``."""
        return f"CHAP {self.user} {self.secret}"

    def fingerprint(self, volume_id: str) -> str:
        """Name these credentials without telling the secret: 31 hexadecimal digits."""
        text = f"{volume_id} {self.user} {self.secret}"
        return hashlib.sha256(text.encode()).hexdigest()[:31]
