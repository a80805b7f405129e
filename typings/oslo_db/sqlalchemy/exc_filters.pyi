import re
from collections.abc import Callable
from typing import TypeAlias, TypeVar

from sqlalchemy.engine import Engine, ExceptionContext

_Filter: TypeAlias = Callable[[Exception, re.Match[str], str, bool], None]
_F = TypeVar("_F", bound=_Filter)

ROLLBACK_CAUSE_KEY: str

def filters(
    dbname: str, exception_type: type[Exception], regex: str | tuple[str, ...]
) -> Callable[[_F], _F]: ...
def handler(context: ExceptionContext) -> Exception | None: ...
def register_engine(engine: Engine) -> None: ...
