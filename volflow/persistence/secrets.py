"""Secrets at rest: Fernet tokens under the keys of one file, the first key encrypts.

The file holds one Fernet key a line. To rotate: add a new key at the end for every process,
restart them, put it on top, restart them, run ``volflow db reencrypt``, take the old line out.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from volflow.exceptions import DatabaseError

_STRANGE = "a stored secret cannot be decrypted with the keys of the key file"
_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
"""Letters and digits that nobody confuses: what CHAP accounts are made of."""


class Cipher:
    """Encrypts and decrypts columns.

    :param keys: Fernet keys, the first one encrypts; all of them decrypt.
    """

    def __init__(self, keys: list[bytes]) -> None:
        self.fingerprints = tuple(hashlib.sha256(k).hexdigest()[:32] for k in keys)
        self._fernet = MultiFernet([Fernet(k) for k in keys])

    def encrypt(self, plain: str | None) -> str | None:
        """Encrypt a text; None stays None."""
        return None if plain is None else self._fernet.encrypt(plain.encode()).decode()

    def decrypt(self, token: str | None) -> str | None:
        """Decrypt a text; None stays None.

        :raises DatabaseError: none of the keys made it.
        """
        if token is None:
            return None
        try:
            return self._fernet.decrypt(token.encode()).decode()
        except (InvalidToken, AttributeError, ValueError):  # or no text at all, or no text in it
            raise DatabaseError(_STRANGE) from None

    def rotate(self, token: str) -> str:
        """Encrypt a stored token anew under the first key.

        :raises DatabaseError: none of the keys made it.
        """
        try:
            return self._fernet.rotate(token.encode()).decode()
        except InvalidToken:
            raise DatabaseError(_STRANGE) from None

    def seal(self, document: Any) -> str | None:
        """Encrypt a JSON document; None stays None."""
        return None if document is None else self.encrypt(json.dumps(document, allow_nan=False))

    def open(self, token: str | None) -> Any:
        """Decrypt a JSON document; None stays None."""
        plain = self.decrypt(token)
        return None if plain is None else json.loads(plain)


def new_chap_account() -> str:
    """Make ``CHAP user secret``: 20 and 16 characters from the system's random source."""
    user = "".join(secrets.choice(_ALPHABET) for _ in range(20))
    secret = "".join(secrets.choice(_ALPHABET) for _ in range(16))
    return f"CHAP {user} {secret}"


def read_keys(path: Path) -> Cipher:
    """Read the key file.

    :raises DatabaseError: it is missing, unreadable, or holds no Fernet key.
    """
    try:
        lines = path.read_bytes().split()
    except FileNotFoundError:
        raise DatabaseError(f"the key file {path} is missing") from None
    except OSError as e:
        raise DatabaseError(f"the key file {path} cannot be read: {e.strerror}") from None
    try:
        cipher = Cipher(lines) if lines else None
    except ValueError:
        cipher = None
    if cipher is None:
        raise DatabaseError(f"the key file {path} does not hold Fernet keys, one a line")
    return cipher


def create_keys(path: Path) -> None:
    """Make the key file unless it is there; of many who try at once one wins, whole.

    The key is on the disk under another name before ``link`` gives it its own, so that
    nobody ever reads half a file and a crash leaves none.

    :raises DatabaseError: the directory cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as out:
                out.write(Fernet.generate_key() + b"\n")
                out.flush()
                os.fsync(out.fileno())
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink()
        _sync_directory(path.parent)
    except OSError as e:
        raise DatabaseError(f"the key file {path} cannot be made: {e.strerror}") from None


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
