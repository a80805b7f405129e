"""Volumes as rows: read, listed, decrypted."""

from __future__ import annotations

import builtins
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    bindparam,
    func,
    select,
    update,
)
from sqlalchemy.engine import Connection

from volflow.exceptions import DatabaseError
from volflow.models import AttachStatus, DriverVolume, Volume, VolumeStatus
from volflow.persistence import schema
from volflow.persistence.audit import Asked
from volflow.persistence.pages import page
from volflow.persistence.secrets import Cipher

LOG = logging.getLogger(__name__)

_T = schema.volumes.c
_ALL = select(*schema.as_stored(schema.volumes))
_BY_ID = _ALL.where(_T.id == bindparam("id"))
_LATER = schema.now() + bindparam("microseconds", type_=BigInteger)
_COMPARE_LATER = (
    update(schema.volumes)
    .where(_T.id == bindparam("key"))
    .values(unsure_until=_LATER, compare_at=func.coalesce(_T.compare_at, _LATER))
)
_PUBLIC = tuple(f.name for f in fields(Volume))


@dataclass(frozen=True, slots=True)
class StoredVolume:
    """A volume with what only the core knows of it.

    :ivar unsure_until: how long an effect of unknown outcome may still come, unless somebody
        found that it did not; None: none may.
    :ivar compare_attempts: how often a repair has failed since the last one that did not.
    """

    volume: DriverVolume
    revision: int
    deleted: bool
    unsure_until: datetime | None = None
    compare_attempts: int = 0


def public(volume: DriverVolume) -> Volume:
    """The volume without its credentials."""
    return Volume(**{name: getattr(volume, name) for name in _PUBLIC})


def revision(connection: Connection, volume_id: str) -> int | None:
    """How often the volume's row was changed; None where there is none."""
    found: int | None = connection.execute(
        select(_T.revision).where(_T.id == volume_id)
    ).scalar_one_or_none()
    return found


def compare_later(connection: Connection, volume_id: str, seconds: float) -> None:
    """Have recovery compare a volume with its backend after so many seconds, or earlier too."""
    given = {"key": volume_id, "microseconds": int(seconds * 1e6)}
    connection.execute(_COMPARE_LATER, given)


def end_comparison(connection: Connection, asked: Asked, doubt_too: bool) -> bool:
    """Note that a volume is as it should be, unless another comparison was asked for since.

    :param doubt_too: no effect can come any more; else it is compared once more after the doubt.
    """
    doubt = _T.unsure_until
    unchanged = (
        doubt.is_(None) if asked.doubt is None else schema.microseconds(doubt) == asked.doubt
    )
    statement = (
        update(schema.volumes)
        .where(_T.id == asked.volume_id, schema.microseconds(_T.compare_at) == asked.at, unchanged)
        .values(
            compare_at=None if doubt_too else doubt,
            unsure_until=None if doubt_too else doubt,
            compare_attempts=0,
        )
    )
    return connection.execute(statement).rowcount == 1


class Volumes:
    """Reads volumes; every change goes through a unit of work."""

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher

    def get(self, connection: Connection, volume_id: str) -> StoredVolume | None:
        """The volume, also a deleted one; None where the database never had it."""
        row = connection.execute(_BY_ID, {"id": volume_id}).mappings().one_or_none()
        return None if row is None else self.stored(row)

    def list(
        self,
        connection: Connection,
        status: str | None = None,
        backend: str | None = None,
        limit: int | None = None,
        marker: str | None = None,
    ) -> list[Volume]:
        """Volumes that are not deleted, oldest first; ``marker`` is the last id seen.

        :raises InvalidInput: there is no volume of that id.
        """
        query = _ALL.where(_T.deleted_at.is_(None))
        if status is not None:
            query = query.where(_T.status == status)
        if backend is not None:
            query = query.where(_T.backend == backend)
        return self._readable_of(page(connection, query, schema.volumes, marker, limit))[0]

    def of_ids(
        self, connection: Connection, ids: Sequence[str]
    ) -> tuple[Sequence[Volume], Sequence[str]]:
        """The volumes of these ids, in their order; and the ids of those that are unreadable."""
        rows = connection.execute(_ALL.where(_T.id.in_(ids))).mappings().all() if ids else []
        return self._readable_of(sorted(rows, key=lambda row: ids.index(row["id"])))

    def _readable_of(
        self, rows: Iterable[Mapping[Any, Any]]
    ) -> tuple[builtins.list[Volume], builtins.list[str]]:
        found, unreadable = [], []
        for row in rows:
            try:
                found.append(public(self.stored(row).volume))
            except DatabaseError as e:  # one row that a hand wrote hides no other
                LOG.error("%s", e)  # noqa: TRY400
                unreadable.append(row["id"])
        return found, unreadable

    def stored(self, row: Mapping[Any, Any]) -> StoredVolume:
        """The volume of a row, as it is stored.

        :raises DatabaseError: it makes no sense to this release, or a secret cannot be read.
        """
        try:
            return self._readable(schema.understood(schema.volumes, row))
        except (ValueError, DatabaseError) as e:
            raise DatabaseError(f"the row of volume {row['id']} makes no sense: {e}") from None

    def _readable(self, row: dict[str, Any]) -> StoredVolume:
        revision, deleted_at = row.pop("revision"), row.pop("deleted_at")
        unsure, attempts = row.pop("unsure_until"), row.pop("compare_attempts")
        del row["compare_at"]
        row["status"] = VolumeStatus(row["status"])
        row["attach_status"] = AttachStatus(row["attach_status"])
        row["provider_auth"] = self._cipher.decrypt(row["provider_auth"])
        if not isinstance(row["qos_specs"], dict | None):
            raise ValueError("qos_specs is no JSON object")
        return StoredVolume(
            DriverVolume(**row), revision, deleted_at is not None, unsure, attempts
        )
