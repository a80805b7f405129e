from contextlib import AbstractContextManager
from typing import Any

from taskflow.persistence import base

BACKEND_NAMESPACE: str

def fetch(
    conf: dict[str, Any], namespace: str = "taskflow.persistence", **kwargs: Any
) -> base.Backend: ...
def backend(
    conf: dict[str, Any], namespace: str = "taskflow.persistence", **kwargs: Any
) -> AbstractContextManager[base.Backend]: ...
