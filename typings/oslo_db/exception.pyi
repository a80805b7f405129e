from typing import Any

from oslo_utils.excutils import CausedByException

class DBError(CausedByException):
    inner_exception: BaseException | None
    def __init__(
        self,
        inner_exception: BaseException | str | None = None,
        cause: Exception | None = None,
    ) -> None: ...

class DBDuplicateEntry(DBError):
    columns: list[str]
    value: Any
    def __init__(
        self,
        columns: list[str] | None = None,
        inner_exception: BaseException | str | None = None,
        value: Any = None,
    ) -> None: ...

class DBConstraintError(DBError):
    table: str
    check_name: str
    def __init__(
        self, table: str, check_name: str, inner_exception: BaseException | str | None = None
    ) -> None: ...

class DBReferenceError(DBError):
    table: str
    constraint: str
    key: str
    key_table: str
    def __init__(
        self,
        table: str,
        constraint: str,
        key: str,
        key_table: str,
        inner_exception: BaseException | str | None = None,
    ) -> None: ...

class DBNonExistentConstraint(DBError):
    table: str
    constraint: str
    def __init__(
        self, table: str, constraint: str, inner_exception: BaseException | str | None = None
    ) -> None: ...

class DBNonExistentTable(DBError):
    table: str
    def __init__(self, table: str, inner_exception: BaseException | str | None = None) -> None: ...

class DBNonExistentDatabase(DBError):
    database: str
    def __init__(
        self, database: str, inner_exception: BaseException | str | None = None
    ) -> None: ...

class DBDeadlock(DBError): ...
class DBConsistencyError(DBDeadlock): ...
class DBMigrationError(DBError): ...
class DBConnectionError(DBError): ...
class DBDataError(DBError): ...
class DBNotSupportedError(DBError): ...

class RetryRequest(Exception):
    inner_exc: BaseException
    def __init__(self, inner_exc: BaseException) -> None: ...

class NoEngineContextEstablished(AttributeError): ...
class ContextNotRequestedError(AttributeError): ...
class CantStartEngineError(Exception): ...

class DBInvalidUnicodeParameter(Exception):
    def __init__(self) -> None: ...
