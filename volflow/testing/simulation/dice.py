"""The dice of the code under test, made repeatable: ids and jitter. And silence."""

from __future__ import annotations

import logging
import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock


@contextmanager
def loaded_dice(seed: int) -> Iterator[None]:
    """Let ``uuid.uuid4`` and the ``random`` module repeat themselves, and nobody log.

    Both are the whole process's: nothing else may draw meanwhile.
    """
    dice = random.Random(f"{seed} ids")  # noqa: S311 - it has to be repeatable
    before, quiet = random.getstate(), logging.root.manager.disable

    def uuid4() -> uuid.UUID:
        return uuid.UUID(int=dice.getrandbits(128), version=4)

    random.seed(f"{seed} jitter")
    logging.disable(logging.CRITICAL)
    try:
        with mock.patch.object(uuid, "uuid4", uuid4):
            yield
    finally:
        logging.disable(quiet)
        random.setstate(before)
