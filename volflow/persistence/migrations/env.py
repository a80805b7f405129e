"""Alembic's environment: runs on the connection that the migrator hands it, in one transaction."""

from __future__ import annotations

from alembic import context

from volflow.persistence.schema import metadata

VERSION_TABLE = "volflow_schema"

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
context.run_migrations()
