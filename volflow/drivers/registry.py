"""Drivers by name: the entry points of group ``volflow.drivers``, built from configuration.

An entry point leads to a class or a function. Its parameters are the driver's options, by name,
and an option's text is read as the parameter's type: str, int, float, bool or Path. A class that
is not made of such values has a class method ``from_options`` that is.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from volflow.drivers.base import Driver
from volflow.exceptions import InvalidInput

GROUP = "volflow.drivers"

_BOOLEANS = {
    **dict.fromkeys(("1", "yes", "true", "on"), True),
    **dict.fromkeys(("0", "no", "false", "off"), False),
}


def names() -> list[str]:
    """List the names of the drivers that are installed."""
    return sorted(entry_points(group=GROUP).names)


def load_driver(name: str, options: Mapping[str, str]) -> Driver:
    """Build the driver of this name.

    >>> load_driver("local", {"directory": "/var/lib/volflow/images"})  # doctest: +SKIP

    :raises InvalidInput: no driver has the name, it has no such option, one that it needs is
        missing, or a value cannot be.
    """
    factory = _factory(name)
    parameters = inspect.signature(factory, eval_str=True).parameters
    for option in options:
        if option not in parameters:
            raise InvalidInput(
                f"the driver {name!r} has no option {option!r}; it has {', '.join(parameters)}"
            )
    for option, parameter in parameters.items():
        if parameter.default is parameter.empty and option not in options:
            raise InvalidInput(f"the driver {name!r} needs the option {option!r}")
    values = {
        option: _value(name, option, text, parameters[option].annotation)
        for option, text in options.items()
    }
    driver = factory(**values)
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


def _value(name: str, option: str, text: str, kind: Any) -> object:
    try:
        if kind is bool:
            return _BOOLEANS[text.strip().lower()]
        if kind in (int, float, Path):
            return kind(text)
    except (ValueError, KeyError):
        raise InvalidInput(
            f"the option {option!r} of the driver {name!r} is {text!r}, which is no "
            f"{kind.__name__}"
        ) from None
    return text
