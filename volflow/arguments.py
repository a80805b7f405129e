"""What callers give, checked: every bad argument is one clear sentence, and nothing is done."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from volflow.exceptions import (
    InvalidConnector,
    InvalidInput,
    InvalidUUID,
    InvalidVolumeAttachMode,
)
from volflow.models import Connector
from volflow.texts import is_storable

TEXT_LENGTH = 255
SIZE_MAX_GIB = 16 * 1024 * 1024
JSON_LENGTH = 65536
COUNT_MAX = 1_000_000


def uuid_of(what: str, value: Any) -> str:
    """A UUID in its usual spelling, 36 lower-case characters.

    :raises InvalidUUID: it is none.
    """
    if isinstance(value, uuid.UUID):
        return str(value)
    try:
        if not isinstance(value, str):
            raise ValueError
        return str(uuid.UUID(value))
    except ValueError:
        raise InvalidUUID(f"{what} has to be a UUID, not {_shown(value)}") from None


def optional_uuid(what: str, value: Any) -> str | None:
    """A UUID, or None.

    :raises InvalidUUID: it is neither.
    """
    return None if value is None else uuid_of(what, value)


def text(what: str, value: Any, optional: bool = True, length: int = TEXT_LENGTH) -> str | None:
    """A string that fits its column.

    :raises InvalidInput: it is no string, empty where one is needed, too long, or has
        characters that no database stores.
    """
    if value is None and optional:
        return None
    if not isinstance(value, str) or (not value and not optional):
        raise InvalidInput(f"{what} has to be a string, not {_shown(value)}")
    if len(value) > length:
        raise InvalidInput(f"{what} is longer than {length} characters")
    if not is_storable(value):
        raise InvalidInput(f"{what} contains characters that cannot be stored")
    return value


def flag(what: str, value: Any) -> bool:
    """True or False.

    :raises InvalidInput: it is neither.
    """
    if not isinstance(value, bool):
        raise InvalidInput(f"{what} has to be True or False, not {_shown(value)}")
    return value


def size_gib(value: Any) -> int:
    """A size in whole GiB.

    :raises InvalidInput: it is no whole number from 1 to 16 EiB.
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInput(f"size_gib has to be a whole number, not {_shown(value)}")
    if not 1 <= value <= SIZE_MAX_GIB:
        raise InvalidInput(f"size_gib has to be from 1 to {SIZE_MAX_GIB}, not {value}")
    return value


def mode(value: Any) -> str:
    """``rw`` or ``ro``.

    :raises InvalidVolumeAttachMode: it is neither.
    """
    if value not in ("rw", "ro"):
        raise InvalidVolumeAttachMode(f"the mode has to be 'rw' or 'ro', not {_shown(value)}")
    return str(value)


def connector(value: Any) -> Connector:
    """A connector, as JSON gives it back.

    :raises InvalidConnector: it is no dict, or cannot be stored as JSON.
    """
    if not isinstance(value, dict):
        raise InvalidConnector(f"the connector has to be a dict, not {_shown(value)}")
    found = _json(value)
    if found is None:
        raise InvalidConnector("the connector has to be JSON with string keys, of at most 64 KiB")
    return dict(found)


def json_value(what: str, value: Any) -> Any:
    """A JSON document, or None.

    :raises InvalidInput: it cannot be stored as JSON.
    """
    if value is None:
        return None
    found = _json(value)
    if found is None:
        raise InvalidInput(f"{what} has to be JSON of at most 64 KiB")
    return found


def choice(what: str, value: Any, among: type[StrEnum]) -> str | None:
    """One of the values of an enumeration, or None.

    :raises InvalidInput: it is neither.
    """
    if value is None:
        return None
    known = [str(member) for member in among]
    if not isinstance(value, str) or value not in known:
        raise InvalidInput(f"{what} has to be one of {', '.join(known)}, not {_shown(value)}")
    return str(value)


def count(what: str, value: Any) -> int:
    """A whole number above zero.

    :raises InvalidInput: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= COUNT_MAX:
        raise InvalidInput(f"{what} has to be a whole number above 0, not {_shown(value)}")
    return value


def priority(value: Any) -> int:
    """A whole number; what is higher comes first.

    :raises InvalidInput: it is none, or too large.
    """
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > COUNT_MAX:
        raise InvalidInput(
            f"priority has to be a whole number of at most {COUNT_MAX}, not {_shown(value)}"
        )
    return value


def max_running(value: Any) -> dict[str, int | None]:
    """How many operations backends may run at a time; None: any number.

    :raises InvalidInput: it maps something else.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInput("max_running has to map backend names to numbers")
    return {
        str(text("a backend's name", name, optional=False)): None
        if most is None
        else count(f"max_running of backend {name}", most)
        for name, most in value.items()
    }


def limit(value: Any) -> int | None:
    """How many at most, or None.

    :raises InvalidInput: it is no whole number above zero.
    """
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidInput(f"limit has to be a whole number above 0, not {_shown(value)}")
    return value


def seconds(what: str, value: Any, optional: bool = False) -> float | None:
    """A time span above zero, in seconds.

    :raises InvalidInput: it is none.
    """
    if value is None and optional:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        raise InvalidInput(f"{what} has to be a number of seconds above 0, not {_shown(value)}")
    return float(value)


def _json(value: Any) -> Any:
    try:
        encoded = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None
    if len(encoded) > JSON_LENGTH or "\\u0000" in encoded:  # as JSON spells it
        return None
    if not is_storable(json.dumps(value, ensure_ascii=False)):
        return None
    found = json.loads(encoded)
    return found if _has_string_keys(value) else None


def _has_string_keys(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(k, str) and _has_string_keys(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(_has_string_keys(v) for v in value)
    return True


def _shown(value: Any) -> str:
    shown = (
        repr(value) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    )
    return shown if len(shown) <= 60 else shown[:57] + "..."
