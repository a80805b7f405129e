from contextlib import AbstractContextManager
from typing import Any

from taskflow.jobs import base

BACKEND_NAMESPACE: str

def fetch(
    name: str, conf: dict[str, Any] | str, namespace: str = "taskflow.jobboards", **kwargs: Any
) -> base.JobBoard: ...
def backend(
    name: str, conf: dict[str, Any] | str, namespace: str = "taskflow.jobboards", **kwargs: Any
) -> AbstractContextManager[base.JobBoard]: ...
