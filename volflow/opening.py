"""Opening a database: its schema, its key file and its lock directory, all checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oslo_db.exception import DBDuplicateEntry
from sqlalchemy import insert, select
from sqlalchemy.engine import Connection

from volflow.clock import SYSTEM_CLOCK, Clock
from volflow.exceptions import DatabaseError, InvalidInput
from volflow.persistence import migrate, schema
from volflow.persistence.engine import Database
from volflow.persistence.secrets import Cipher, create_keys, read_keys


@dataclass(frozen=True)
class Store:
    """An open database.

    :ivar locks: the directory of this host's locks and owner files.
    """

    database: Database
    cipher: Cipher
    locks: Path


def open_store(
    url: str,
    key_file: str | Path | None,
    lock_directory: str | Path | None,
    lease_seconds: float,
    clock: Clock = SYSTEM_CLOCK,
) -> Store:
    """Open a database, and make on the first time what it needs.

    :raises DatabaseError: it cannot be used, or the key file is not the one it was made with.
    :raises InvalidInput: a server database was given no key file.
    """
    if not isinstance(url, str):
        raise InvalidInput("database has to be a SQLAlchemy URL")
    database = Database(url, lease_seconds, clock)
    try:
        keys = key_path(database, key_file)
        migrate.prepare(database)
        cipher = _matching_cipher(database, keys)
        locks = _made(lock_path(keys, lock_directory))
    except BaseException:
        database.close()
        raise
    return Store(database, cipher, locks)


def key_path(database: Database, key_file: str | Path | None) -> Path:
    """Where the keys are: where it was said, or beside a SQLite file.

    :raises InvalidInput: a server database was given no key file.
    """
    if key_file is not None:
        return Path(key_file).absolute()
    if database.path is None:
        raise InvalidInput("a server database needs a key_file")
    return database.path.absolute().with_name(database.path.name + ".key")


def lock_path(keys: Path, lock_directory: str | Path | None) -> Path:
    """Where this host's locks are: where it was said, or beside the keys."""
    return Path(lock_directory) if lock_directory else keys.with_name(keys.stem + ".locks")


def _made(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        (path / "owners").mkdir(exist_ok=True, mode=0o700)
    except OSError as e:
        raise DatabaseError(f"the lock directory {path} cannot be made: {e.strerror}") from None
    return path


def _matching_cipher(database: Database, path: Path) -> Cipher:
    """Read the key file, and check that it holds every key that the database was used with."""
    known = fingerprints(database)
    if not known and not path.exists():
        create_keys(path)
    cipher = read_keys(path)
    require_keys(database, path, cipher, known)
    new = set(cipher.fingerprints) - known
    for fingerprint in new:
        _remember(database, fingerprint)
    if new and set(cipher.fingerprints) < fingerprints(database):
        raise DatabaseError(f"the key file {path} is not the one of {database.name}")
    return cipher


def require_keys(database: Database, path: Path, cipher: Cipher, known: set[str]) -> None:
    """Check that a key file holds every key that the database was used with.

    :param known: the fingerprints of these.
    :raises DatabaseError: it lacks one.
    """
    if missing := known - set(cipher.fingerprints):
        raise DatabaseError(
            f"the key file {path} is not the one of {database.name}: it lacks the key with "
            f"fingerprint {min(missing)}"
        )


def fingerprints(database: Database) -> set[str]:
    """The keys that the database was used with."""
    with database.read() as connection:
        return set(connection.execute(select(schema.secret_keys.c.fingerprint)).scalars())


def _remember(database: Database, fingerprint: str) -> None:
    statement = insert(schema.secret_keys).values(created_at=schema.now())

    def write(connection: Connection) -> Any:
        return connection.execute(statement, {"fingerprint": fingerprint})

    def landed(connection: Connection) -> bool:
        table = schema.secret_keys.c
        query = select(table.fingerprint).where(table.fingerprint == fingerprint)
        return connection.execute(query).scalar() is not None

    try:
        database.write(write, landed)
    except DBDuplicateEntry:
        return  # another process was first, with the same key
