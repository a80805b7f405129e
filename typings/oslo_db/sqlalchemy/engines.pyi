from collections.abc import Callable
from typing import Any

from sqlalchemy import URL
from sqlalchemy.engine import Engine

def create_engine(
    sql_connection: str | URL,
    sqlite_fk: bool = False,
    mysql_sql_mode: str | None = None,
    mysql_wsrep_sync_wait: int | None = None,
    connection_recycle_time: int = 3600,
    connection_debug: int = 0,
    max_pool_size: int | None = None,
    max_overflow: int | None = None,
    pool_timeout: int | None = None,
    sqlite_synchronous: bool = True,
    connection_trace: bool = False,
    max_retries: int = 10,
    retry_interval: int = 10,
    thread_checkin: bool = True,
    logging_name: str | None = None,
    json_serializer: Callable[[Any], str] | None = None,
    json_deserializer: Callable[[str], Any] | None = None,
    connection_parameters: str | None = None,
) -> Engine: ...
