"""Volumes as rows: read, listed, decrypted."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import and_, bindparam, or_, select
from sqlalchemy.engine import Connection

from volflow.models import AttachStatus, DriverVolume, Volume, VolumeStatus
from volflow.persistence import schema
from volflow.persistence.secrets import Cipher

_T = schema.volumes.c
_BY_ID = select(schema.volumes).where(_T.id == bindparam("id"))
_PUBLIC = tuple(f.name for f in fields(Volume))


@dataclass(frozen=True, slots=True)
class StoredVolume:
    """A volume with what only the core knows of it."""

    volume: DriverVolume
    revision: int
    deleted: bool


def public(volume: DriverVolume) -> Volume:
    """The volume without its credentials."""
    return Volume(**{name: getattr(volume, name) for name in _PUBLIC})


def revision(connection: Connection, volume_id: str) -> int | None:
    """How often the volume's row was changed; None where there is none."""
    found: int | None = connection.execute(
        select(_T.revision).where(_T.id == volume_id)
    ).scalar_one_or_none()
    return found


class Volumes:
    """Reads volumes; every change goes through a unit of work."""

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher

    def get(self, connection: Connection, volume_id: str) -> StoredVolume | None:
        """The volume, also a deleted one; None where the database never had it."""
        row = connection.execute(_BY_ID, {"id": volume_id}).mappings().one_or_none()
        return None if row is None else self._stored(dict(row))

    def list(
        self,
        connection: Connection,
        status: str | None = None,
        backend: str | None = None,
        limit: int | None = None,
        marker: str | None = None,
    ) -> list[Volume]:
        """Volumes that are not deleted, oldest first; ``marker`` is the last id seen."""
        query = select(schema.volumes).where(_T.deleted_at.is_(None))
        if status is not None:
            query = query.where(_T.status == status)
        if backend is not None:
            query = query.where(_T.backend == backend)
        if marker is not None:
            seen = select(_T.created_at).where(_T.id == marker).scalar_subquery()
            query = query.where(
                or_(_T.created_at > seen, and_(_T.created_at == seen, _T.id > marker))
            )
        query = query.order_by(_T.created_at, _T.id)
        if limit is not None:
            query = query.limit(limit)
        rows = connection.execute(query).mappings().all()
        return [public(self._stored(dict(row)).volume) for row in rows]

    def _stored(self, row: dict[str, Any]) -> StoredVolume:
        revision, deleted_at = row.pop("revision"), row.pop("deleted_at")
        row["status"] = VolumeStatus(row["status"])
        row["attach_status"] = AttachStatus(row["attach_status"])
        row["provider_auth"] = self._cipher.decrypt(row["provider_auth"])
        return StoredVolume(DriverVolume(**row), revision, deleted_at is not None)
