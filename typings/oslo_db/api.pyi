from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")

class wrap_db_retry:
    def __init__(
        self,
        retry_interval: float = 1,
        max_retries: int = 20,
        inc_retry_interval: bool = True,
        max_retry_interval: float = 10,
        retry_on_disconnect: bool = False,
        retry_on_deadlock: bool = False,
        exception_checker: Callable[[Exception], bool] = ...,
        jitter: bool = False,
    ) -> None: ...
    def __call__(self, f: Callable[_P, _T]) -> Callable[_P, _T]: ...
