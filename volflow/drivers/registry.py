"""Drivers by name: the entry points of group ``volflow.drivers``, built from configuration.

An entry point leads to a class or a function, whose parameters are the driver's options
(:mod:`volflow.drivers.options`). A class that is not made of such values has a class method
``from_options`` that is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points

from volflow.drivers.base import Driver
from volflow.drivers.options import build
from volflow.exceptions import InvalidInput

GROUP = "volflow.drivers"


def names() -> list[str]:
    """List the names of the drivers that are installed."""
    return sorted(entry_points(group=GROUP).names)


def load_driver(name: str, options: Mapping[str, str]) -> Driver:
    """Build the driver of this name.

    >>> load_driver("local", {"directory": "/var/lib/volflow/images"})  # doctest: +SKIP

    :raises InvalidInput: no driver has the name, it has no such option, one that it needs is
        missing, or a value cannot be.
    """
    driver = build(f"the driver {name!r}", _factory(name), options)
    if not isinstance(driver, Driver):
        raise InvalidInput(f"the driver {name!r} lacks methods of volflow.drivers.base.Driver")
    return driver


def _factory(name: str) -> Callable[..., object]:
    found = {entry.value: entry for entry in entry_points(group=GROUP, name=name)}
    if not found:
        known = ", ".join(names()) or "none"
        raise InvalidInput(f"no driver is named {name!r}; installed are: {known}")
    if len(found) > 1:
        raise InvalidInput(f"several drivers are named {name!r}: {', '.join(sorted(found))}")
    (entry,) = found.values()
    try:
        loaded: Callable[..., object] = entry.load()
    except (ImportError, AttributeError) as error:
        raise InvalidInput(f"the driver {name!r} cannot be loaded: {error}") from error
    factory: Callable[..., object] = getattr(loaded, "from_options", loaded)
    return factory
