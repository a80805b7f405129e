"""How long to wait before something is tried again."""

from __future__ import annotations

import random

RETRY_SECONDS = 1.0
RETRY_SECONDS_MAX = 300.0


def jitter(limit: float) -> float:
    """A random span from 0 to ``limit``, so that those who collided do not meet again."""
    return limit * random.random()  # noqa: S311 - nothing secret depends on it


def backoff(attempts: int) -> float:
    """Seconds until the next attempt: exponential, with full jitter."""
    return 0.1 + jitter(min(RETRY_SECONDS_MAX, RETRY_SECONDS * 2 ** min(attempts, 16)))
