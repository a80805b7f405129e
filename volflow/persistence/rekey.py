"""Moving every stored secret to the first key of the key file, so that an old key can go."""

from __future__ import annotations

from sqlalchemy import Column, Table, bindparam, delete, select, update
from sqlalchemy.engine import Connection

from volflow.persistence import schema
from volflow.persistence.engine import Database
from volflow.persistence.secrets import Cipher

BATCH = 500

_COLUMNS: tuple[tuple[Table, Column[str]], ...] = (
    (schema.volumes, schema.volumes.c.provider_auth),
    (schema.attachments, schema.attachments.c.connection_info),
)


def reencrypt(database: Database, cipher: Cipher) -> int:
    """Encrypt every secret anew under the first key, and forget the other keys.

    Every process that uses the database has to have the first key by now. Each batch is one
    transaction; a row that changes meanwhile was written with that key anyway.

    :returns: how many secrets were written.
    :raises DatabaseError: a secret cannot be decrypted with the keys of the file.
    """
    written = sum(_column(database, cipher, table, column) for table, column in _COLUMNS)
    known = schema.secret_keys.c.fingerprint
    forget = delete(schema.secret_keys).where(known != cipher.fingerprints[0])
    database.write(lambda c: c.execute(forget), landed=lambda c: False)
    return written


def _column(database: Database, cipher: Cipher, table: Table, column: Column[str]) -> int:
    done, last = 0, ""
    change = (
        update(table)
        .where(table.c.id == bindparam("row"), column == bindparam("old"))
        .values({column.name: bindparam("new")})
    )
    while True:
        query = (
            select(table.c.id, column)
            .where(column.is_not(None), table.c.id > last)
            .order_by(table.c.id)
            .limit(BATCH)
        )
        with database.read() as connection:
            rows = connection.execute(query).all()
        if not rows:
            return done
        moved = [{"row": key, "old": old, "new": cipher.rotate(old)} for key, old in rows]

        def write(connection: Connection, moved: list[dict[str, str]] = moved) -> None:
            connection.execute(change, moved)

        database.write(write, landed=lambda c: False)
        done, last = done + len(moved), rows[-1][0]
