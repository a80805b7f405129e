"""Doors: how the page comes to managers, one to read with and others to change something."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass

from volflow.manager import VolumeManager

Acting = Callable[[Collection[str] | None], AbstractContextManager[VolumeManager]]


@dataclass(frozen=True)
class Doors:
    """Managers of one database.

    :ivar reading: stays open, and needs no driver.
    :ivar acting: opens one with the drivers of some backends, of all where None is given, for as
        long as a change takes: a backend that is down keeps nobody from reading.
    """

    reading: VolumeManager
    acting: Acting
