from typing import Any

from taskflow.conductors import base
from taskflow.jobs import base as jobs_base

CONDUCTOR_NAMESPACE: str

def fetch(
    kind: str,
    name: str,
    jobboard: jobs_base.JobBoard,
    namespace: str = "taskflow.conductors",
    **kwargs: Any,
) -> base.Conductor: ...
