"""The tables, as SQLAlchemy sees them; the migrations are what makes them.

Times are whole microseconds since 1970 by the database server's clock
(:class:`now`), so that a lease is compared and extended where it is stored.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    and_,
    func,
    or_,
    type_coerce,
)
from sqlalchemy.dialects.mysql import MEDIUMTEXT
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

LONG = Text().with_variant(MEDIUMTEXT, "mysql")
"""A text of up to 16 MiB: MySQL's TEXT has 64 KiB, which a connector alone may have."""

TABLE_OPTIONS: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    # Texts differ where a letter's case does, as on the other databases.
    "mysql_collate": "utf8mb4_bin",
}
"""Where MySQL's own defaults, or an operator's, are not what is needed."""


class Instant(TypeDecorator[datetime]):
    """A point in time: an aware datetime in Python, microseconds since 1970 in the database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if isinstance(value, datetime):
            return (value - EPOCH) // MICROSECOND
        return value

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        return self.read(value)

    @staticmethod
    def read(value: Any) -> datetime | None:
        """Read what is stored."""
        return None if value is None else EPOCH + timedelta(microseconds=value)


class JsonText(TypeDecorator[Any]):
    """A JSON document in a text column, the same on every database."""

    impl = LONG
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        if value is None:
            return None
        return json.dumps(value, separators=(",", ":"), allow_nan=False)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return self.read(value)

    @staticmethod
    def read(value: Any) -> Any:
        """Read what is stored."""
        return None if value is None else json.loads(value)


class now(FunctionElement[int]):  # noqa: N801 - it reads as the SQL function that it is
    """The database server's clock, in microseconds since 1970."""

    type = BigInteger()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: Any, **kw: Any) -> str:
    return "volflow_now()"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: Any, **kw: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"


@compiles(now, "mysql")
def _now_mysql(element: now, compiler: Any, **kw: Any) -> str:
    # Sessions have the time zone +00:00; UNIX_TIMESTAMP() would end in 2038.
    return "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', SYSDATE(6))"


metadata = MetaData()
ID = String(36)
NAME = String(255)

volumes = Table(
    "volumes",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", NAME),
    Column("size_gib", Integer, nullable=False),
    Column("backend", NAME, nullable=False),
    Column("status", String(32), nullable=False),
    Column("attach_status", String(32), nullable=False),
    Column("multiattach", Boolean, nullable=False),
    Column("readonly", Boolean, nullable=False),
    Column("provider_location", LONG),
    Column("provider_auth", LONG),
    Column("encryption_key_id", NAME),
    Column("qos_specs", JsonText),
    Column("operation_id", ID),
    Column("revision", Integer, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("updated_at", Instant, nullable=False),
    Column("deleted_at", Instant),
    Column("unsure_until", Instant),
    Column("compare_at", Instant),
    Column("compare_attempts", Integer, nullable=False, server_default="0"),
    Index("ix_volumes_compare", "compare_at"),
    Index("ix_volumes_live", "deleted_at", "created_at", "id"),
    Index("ix_volumes_live_status", "deleted_at", "status", "created_at", "id"),
    Index("ix_volumes_live_backend", "deleted_at", "backend", "created_at", "id"),
    Index("ix_volumes_name", "name", "id"),
    Index("ix_volumes_operation", "operation_id"),
    **TABLE_OPTIONS,
)
"""``operation_id`` is the owner of a volume that is being changed; ``revision`` rises with every
change of the row, so that a decision taken on what was read holds when it is written.
``unsure_until`` is how long an effect of unknown outcome may still come; ``compare_at`` when
recovery compares the volume with its backend the next time, and not for the last time before
that."""

attachments = Table(
    "attachments",
    metadata,
    Column("id", ID, primary_key=True),
    Column("volume_id", ID, ForeignKey("volumes.id"), nullable=False),
    Column("instance_uuid", ID),
    Column("attached_host", NAME),
    Column("mountpoint", NAME),
    Column("attach_mode", String(8)),
    Column("attach_status", String(32), nullable=False),
    Column("initiator", NAME),
    Column("connector", JsonText),
    Column("connection_info", LONG),
    Column("created_at", Instant, nullable=False),
    Column("attached_at", Instant),
    Column("detached_at", Instant),
    Index("ix_attachments_volume", "volume_id", "detached_at"),
    Index("ix_attachments_detached", "detached_at", "id"),
    Index("ix_attachments_host", "attached_host", "detached_at"),
    **TABLE_OPTIONS,
)
"""``initiator`` is the key of the ACL, recorded before the ACL is made."""

operations = Table(
    "operations",
    metadata,
    Column("id", ID, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("phase", String(32), nullable=False),
    Column("volume_id", ID, ForeignKey("volumes.id"), nullable=False),
    Column("attachment_id", ID),
    Column("backend", NAME, nullable=False),
    Column("request_id", NAME),
    Column("arguments", JsonText, nullable=False),
    Column("flows", LONG),
    Column("error", JsonText),
    Column("leftovers", JsonText),
    Column("attempts", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("run_id", ID),
    Column("owner", NAME),
    Column("lease_expires_at", Instant),
    Column("lease_length", BigInteger),
    Column("deadline", Instant),
    Column("retry_at", Instant),
    Column("cancel_requested", Boolean, nullable=False),
    Column("created_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("posted_at", Instant),
    Column("claimed_by", NAME),
    Column("claim_expires_at", Instant),
    Index("ix_operations_queue", "state", "backend", "priority", "created_at"),
    Index("ix_operations_state", "state", "created_at", "id"),
    Index("ix_operations_volume", "volume_id", "created_at", "id"),
    Index("ix_operations_created", "created_at", "id"),
    Index("ix_operations_kind", "kind", "created_at", "id"),
    Index("ix_operations_backend", "backend", "created_at", "id"),
    **TABLE_OPTIONS,
)
"""``epoch`` fences runs, ``revision`` counts their commits; with ``run_id``, which no two runs
share, they tell whether a commit whose outcome was lost has landed. ``posted_at`` is when the job
of an operation that was submitted was last posted; ``claimed_by`` is the conductor that is about
to run one that is queued, for as long as ``claim_expires_at`` says: it keeps others from running
for the same job, and decides nothing.

``flows`` is a JSON list of the attempts of its phases, the TaskFlow flow details, first one first:
``{id, phase, name, state, atoms: {task: [state, intention]}}``. Results and failures are never
stored, so that no secret can be in them. It is a text here, so that one which makes no sense hides
nothing else of the row."""

events = Table(
    "events",
    metadata,
    Column(
        "id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    ),
    Column("operation_id", ID, nullable=False),
    Column("at", Instant, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("step", String(32), nullable=False),
    Column("what", String(32), nullable=False),
    Column("detail", LONG),
    Index("ix_events_operation", "operation_id", "id"),
    **TABLE_OPTIONS,
)

secret_keys = Table(
    "secret_keys",
    metadata,
    Column("fingerprint", String(64), primary_key=True),
    Column("created_at", Instant, nullable=False),
    **TABLE_OPTIONS,
)


conductors = Table(
    "conductors",
    metadata,
    Column("id", ID, primary_key=True),
    Column("name", NAME, nullable=False),
    Column("owner", NAME, nullable=False),
    Column("host", NAME, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("backends", JsonText, nullable=False),
    Column("workers", Integer, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("seen_at", Instant, nullable=False),
    Column("lease_length", BigInteger, nullable=False),
    **TABLE_OPTIONS,
)
"""Conductors that live, or died without a word. ``owner`` is the name under which one owns the
operations that it runs; one that was not seen for ``lease_length`` microseconds is dead."""

backends = Table(
    "backends",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("max_running", Integer),
    Column("claims", BigInteger, nullable=False, server_default="0"),
    **TABLE_OPTIONS,
)
"""Backends that run a limited number of operations at a time. Who begins one changes ``claims``
first: the row's lock lets one at a time count what runs."""


def microseconds(column: ColumnElement[Any]) -> ColumnElement[int]:
    """A time as it is stored, to be compared and added to."""
    return type_coerce(column, BigInteger)


def unindexed(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column, so written that its index is left alone, where another one is right."""
    return func.coalesce(column, column)


def other_than(column: Column[str], values: Iterable[str]) -> ColumnElement[bool]:
    """Rows with none of these values, as ranges between them.

    An index finds them among millions of rows that have one; NOT IN reads them all.
    """
    first, *_, last = ordered = sorted(values)
    gaps = [and_(column > before, column < after) for before, after in pairwise(ordered)]
    return or_(column < first, *gaps, column > last)


def as_stored(table: Table) -> list[ColumnElement[Any]]:
    """The columns of a table, to be selected as they are stored.

    A query whose columns are converted on the way ends at the first row that makes no sense, and
    so hides all others.
    """
    return [
        type_coerce(column, column.type.impl_instance).label(column.name)
        if isinstance(column.type, TypeDecorator)
        else column
        for column in table.c
    ]


def understood(table: Table, row: Mapping[Any, Any]) -> dict[str, Any]:
    """Convert a row of :func:`as_stored`.

    :raises ValueError: names the column that makes no sense.
    """
    found = {column.name: row[column.name] for column in table.c}
    for name, read in _READERS[table.name]:
        try:
            found[name] = read(found[name])
        except (ValueError, TypeError, OverflowError, RecursionError) as e:
            raise ValueError(f"{name}: {e}") from None
    return found


def _whole(value: Any) -> Any:
    """A whole number; SQLite keeps whatever it is given."""
    if value is not None and not isinstance(value, int):
        raise ValueError(f"{type(value).__name__} where a whole number belongs")
    return value


_READERS = {
    table.name: [
        (column.name, getattr(column.type, "read", _whole))
        for column in table.c
        if not isinstance(column.type, (String, Boolean))
    ]
    for table in metadata.sorted_tables
}
