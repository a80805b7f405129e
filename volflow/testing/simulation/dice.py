"""The dice of the code under test, made repeatable: ids and jitter. And silence."""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock


@contextmanager
def loaded_dice(seed: int, ours: Callable[[], bool]) -> Iterator[None]:
    """Let ``uuid.uuid4`` and the jitter of the code under test repeat themselves, and nobody log.

    :param ours: true in a thread that takes part; what others draw (a client of a server, which
        somebody forgot to close, waits before it connects again) is no matter.
    """
    ids = random.Random(f"{seed} ids")  # noqa: S311 - it has to be repeatable
    jitter = random.Random(f"{seed} jitter")  # noqa: S311 - it has to be repeatable
    quiet = logging.root.manager.disable

    def drawn(theirs: Callable[..., Any], loaded: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: loaded(*args) if ours() else theirs(*args)

    def uuid4() -> uuid.UUID:
        return uuid.UUID(int=ids.getrandbits(128), version=4)

    logging.disable(logging.CRITICAL)
    try:
        with (
            mock.patch.object(uuid, "uuid4", drawn(uuid.uuid4, uuid4)),
            mock.patch.object(random, "random", drawn(random.random, jitter.random)),
            mock.patch.object(random, "uniform", drawn(random.uniform, jitter.uniform)),
        ):
            yield
    finally:
        logging.disable(quiet)
