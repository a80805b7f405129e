"""Options of drivers and targets: from the texts of a configuration to a call.

What is built from options is a class or a function. Its parameters are the options, by name, and
an option's text is read as the parameter's type: str, int, float, bool or Path. One that takes
``**options`` passes the rest on to something else that is built so.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from volflow.exceptions import InvalidInput

T = TypeVar("T")

_BOOLEANS = {
    **dict.fromkeys(("1", "yes", "true", "on"), True),
    **dict.fromkeys(("0", "no", "false", "off"), False),
}


def build(what: str, factory: Callable[..., T], options: Mapping[str, object]) -> T:
    """Call the factory with the options, read as its parameters' types.

    :param what: names it in an error, such as ``the driver 'local'``.
    :raises InvalidInput: it has no such option, one that it needs is missing, or a value cannot
        be.
    """
    known = parameters(factory)
    rest = takes_rest(factory)
    for option in options:
        if option not in known and not rest:
            raise InvalidInput(f"{what} has no option {option!r}; it has {', '.join(known)}")
    for option, parameter in known.items():
        if parameter.default is parameter.empty and option not in options:
            raise InvalidInput(f"{what} needs the option {option!r}")
    return factory(
        **{
            option: _value(what, option, value, known[option].annotation)
            if option in known
            else value
            for option, value in options.items()
        }
    )


def parameters(factory: Callable[..., object]) -> dict[str, inspect.Parameter]:
    """The options that a factory has itself, by name."""
    found = inspect.signature(factory, eval_str=True).parameters
    return {name: p for name, p in found.items() if p.kind is not p.VAR_KEYWORD}


def takes_rest(factory: Callable[..., object]) -> bool:
    """True where a factory passes options that it does not have on."""
    found = inspect.signature(factory).parameters.values()
    return any(p.kind is p.VAR_KEYWORD for p in found)


def _value(what: str, option: str, value: object, kind: Any) -> object:
    if not isinstance(value, str):
        return value
    try:
        if kind is bool:
            return _BOOLEANS[value.strip().lower()]
        if kind in (int, float, Path):
            return kind(value)
    except (ValueError, KeyError):
        raise InvalidInput(
            f"the option {option!r} of {what} is {value!r}, which is no {kind.__name__}"
        ) from None
    return value
