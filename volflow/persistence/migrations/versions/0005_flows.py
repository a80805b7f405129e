"""The flows of an operation move into its row, which every commit writes anyhow."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

from alembic import op
from sqlalchemy import (
    Column,
    Connection,
    Integer,
    String,
    bindparam,
    column,
    inspect,
    select,
    update,
)
from sqlalchemy import table as lightweight

from volflow.persistence.migrations import steps
from volflow.persistence.schema import LONG

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

BATCH = 1000

_TEXTS = ("phase", "name", "state")
_F = lightweight("flows", *(column(c) for c in ("id", "operation_id", "seq", *_TEXTS, "atoms")))
_O = lightweight("operations", column("id"), column("flows"))
_KEEP = update(_O).where(_O.c.id == bindparam("key")).values(flows=bindparam("document"))


def upgrade() -> None:
    steps.add_column("operations", Column("flows", LONG))
    connection = op.get_bind()
    if inspect(connection).has_table("flows"):
        _join(connection)
        steps.drop_table("flows")


def downgrade() -> None:
    steps.create_table(
        "flows",
        Column("id", String(36), primary_key=True),
        Column("operation_id", String(36), nullable=False),
        Column("seq", Integer, nullable=False),
        Column("phase", String(32), nullable=False),
        Column("name", String(64), nullable=False),
        Column("state", String(16), nullable=False),
        Column("atoms", LONG, nullable=False),
    )
    steps.create_index("ix_flows_operation", "flows", ["operation_id", "seq"], unique=True)
    connection = op.get_bind()
    if "flows" in {found["name"] for found in inspect(connection).get_columns("operations")}:
        _part(connection)
        steps.drop_column("operations", "flows")


def _join(connection: Connection) -> None:
    """Write each operation's flows into its row, so many operations at a time."""
    query = select(_F).order_by(_F.c.operation_id, _F.c.seq)
    after = ""
    while keys := _keys(
        connection, select(_F.c.operation_id).distinct(), _F.c.operation_id, after
    ):
        rows = connection.execute(query.where(_F.c.operation_id.in_(keys))).mappings()
        found = groupby(rows, key=lambda row: row["operation_id"])
        documents = [{"key": key, "document": _document(flows)} for key, flows in found]
        connection.execute(_KEEP, documents)
        after = keys[-1]


def _part(connection: Connection) -> None:
    """Make rows of each operation's flows; those that are there are from a run that died."""
    after = ""
    while keys := _keys(connection, select(_O.c.id), _O.c.id, after):
        connection.execute(_F.delete().where(_F.c.operation_id.in_(keys)))
        query = select(_O.c.id, _O.c.flows).where(_O.c.id.in_(keys), _O.c.flows.is_not(None))
        rows = [
            _row(key, seq, flow)
            for key, document in connection.execute(query)
            for seq, flow in enumerate(_flows(document))
        ]
        if rows:
            connection.execute(_F.insert(), rows)
        after = keys[-1]


def _keys(connection: Connection, query: Any, key: Any, after: str) -> list[str]:
    """The next ids of operations."""
    return list(connection.execute(query.where(key > after).order_by(key).limit(BATCH)).scalars())


# What a hand wrote, and is no JSON, is kept as it is.


def _document(rows: Any) -> str:
    flows = [{**row, "atoms": _read(row["atoms"])} for row in rows]
    for flow in flows:
        del flow["operation_id"]
    return json.dumps(flows, separators=(",", ":"))


def _row(operation_id: str, seq: int, flow: dict[str, Any]) -> dict[str, Any]:
    atoms = flow["atoms"]
    text = atoms if isinstance(atoms, str) else json.dumps(atoms, separators=(",", ":"))
    return {"seq": seq, **flow, "operation_id": operation_id, "atoms": text}


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _flows(document: str) -> list[dict[str, Any]]:
    found = _read(document)
    flows = found if isinstance(found, list) else []
    return [
        flow for flow in flows if isinstance(flow, dict) and {*_TEXTS, "id", "atoms"} <= {*flow}
    ]
