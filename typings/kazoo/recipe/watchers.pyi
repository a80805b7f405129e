from collections.abc import Callable
from typing import Any

class ChildrenWatch:
    def __init__(
        self,
        client: Any,
        path: str,
        func: Callable[..., Any] | None = None,
        allow_session_lost: bool = True,
        send_event: bool = False,
    ) -> None: ...
