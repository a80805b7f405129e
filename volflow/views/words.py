"""Words for people and scripts: times, durations, values in one line, and what helps."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def instant(value: datetime) -> str:
    """Write a time as ISO-8601 in UTC.

    >>> instant(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05.000000Z'
    """
    utc = value.astimezone(UTC)
    return utc.isoformat(timespec="microseconds").replace("+00:00", "Z")


def moment(value: datetime | None) -> str:
    """Write a time for people, to the second."""
    return "" if value is None else f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def age(seconds: float) -> str:
    """Write how long ago something was, in at most four characters for ten years.

    >>> [age(s) for s in (0.2, 59, 61, 7300, 100000)]
    ['0s', '59s', '1m', '2h', '1d']
    """
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{int(seconds // length)}{unit}"
    return f"{max(0, int(seconds))}s"


def span(when: datetime, now: datetime) -> str:
    """Write how far a time is away.

    >>> now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    >>> span(now.replace(minute=1), now), span(now.replace(minute=9), now)
    ('3m ago', 'in 5m')
    """
    seconds = (now - when).total_seconds()
    return f"{age(seconds)} ago" if seconds >= 0 else f"in {age(-seconds)}"


def took(seconds: float | None) -> str:
    """Write a duration.

    >>> [took(s) for s in (0.00021, 0.0284, 1.5, 75, None)]
    ['0.2 ms', '28.4 ms', '1.50 s', '75 s', '']
    """
    if seconds is None:
        return ""
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"


def clean(value: Any) -> str:
    r"""Write a value in one line, without characters that steer a terminal.

    >>> clean("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = "" if value is None else " ".join(str(value).split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
