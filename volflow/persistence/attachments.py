"""Attachments as rows: read, listed, decrypted."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, bindparam, select
from sqlalchemy.engine import Connection

from volflow.exceptions import DatabaseError
from volflow.models import Attachment, AttachStatus
from volflow.persistence import schema
from volflow.persistence.secrets import Cipher

LOG = logging.getLogger(__name__)

_T = schema.attachments.c
_ALL = select(*schema.as_stored(schema.attachments)).order_by(_T.created_at, _T.id)
_BY_ID = _ALL.where(_T.id == bindparam("id"))

LIVE = and_(_T.volume_id == schema.volumes.c.id, _T.detached_at.is_(None))
"""What joins a volume with its attachments that are not detached."""


@dataclass(frozen=True, slots=True)
class StoredAttachment:
    """An attachment with the key of its ACL."""

    attachment: Attachment
    initiator: str | None


class Attachments:
    """Reads attachments; every change goes through a unit of work."""

    def __init__(self, cipher: Cipher) -> None:
        self._cipher = cipher

    def get(self, connection: Connection, attachment_id: str) -> StoredAttachment | None:
        """The attachment, also a detached one."""
        row = connection.execute(_BY_ID, {"id": attachment_id}).mappings().one_or_none()
        return None if row is None else self.stored(row)

    def list(
        self, connection: Connection, volume_id: str | None = None, live: bool = True
    ) -> list[Attachment]:
        """Attachments, oldest first; with ``live=False`` also the detached ones."""
        query = _ALL
        if volume_id is not None:
            query = query.where(_T.volume_id == volume_id)
        if live:
            query = query.where(_T.detached_at.is_(None))
        return [*self._understood(connection, query)]

    def past(self, connection: Connection, volume_id: str, limit: int) -> Sequence[Attachment]:
        """The detached attachments of a volume, the last one first."""
        query = select(*schema.as_stored(schema.attachments)).where(
            _T.volume_id == volume_id, _T.detached_at.is_not(None)
        )
        return self._understood(connection, query.order_by(_T.detached_at.desc()).limit(limit))

    def of_host(self, connection: Connection, host: str | None) -> Sequence[Attachment]:
        """The attachments of a host that count, oldest first."""
        attached = AttachStatus.ATTACHED.value
        query = _ALL.where(_T.attached_host == host, _T.detached_at.is_(None))
        return self._understood(connection, query.where(_T.attach_status == attached))

    def _understood(self, connection: Connection, query: Select[Any]) -> Sequence[Attachment]:
        rows = connection.execute(query).mappings().all()
        found = []
        for row in rows:
            try:
                found.append(self.stored(row).attachment)
            except DatabaseError as e:  # one row that a hand wrote hides no other
                LOG.error("%s", e)  # noqa: TRY400
        return found

    def stored(self, row: Mapping[Any, Any]) -> StoredAttachment:
        """The attachment of a row, as it is stored.

        :raises DatabaseError: it makes no sense to this release, or a secret cannot be read.
        """
        try:
            return self._readable(schema.understood(schema.attachments, row))
        except (ValueError, DatabaseError) as e:
            raise DatabaseError(f"the row of attachment {row['id']} makes no sense: {e}") from None

    def _readable(self, row: dict[str, Any]) -> StoredAttachment:
        initiator = row.pop("initiator")
        del row["created_at"]
        row["attach_status"] = AttachStatus(row["attach_status"])
        row["connection_info"] = self._cipher.open(row["connection_info"])
        for name in ("connector", "connection_info"):
            if not isinstance(row[name], dict | None):
                raise ValueError(f"{name} is no JSON object")
        return StoredAttachment(Attachment(**row), initiator)
