"""Drawing: a timeline to scale, as the numbers of its bars.

All rows share one scale, in per cent of the width. A wait between two calls that would squeeze the
calls to nothing is cut out, and the cut is shown with how long it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from volflow.views.timeline import CallRun, StepRun

BREAK = 4.0
"""How wide a cut is, in per cent."""

BREAKS = 40.0
"""How wide all cuts are together at most."""

TICKS = 6
WIDE = 11.0
"""How far ticks are apart at least, so that their words do not meet."""


class Bar(NamedTuple):
    """A bar of a row; ``tone`` is the class that colours it."""

    x: float
    width: float
    tone: str


class Cut(NamedTuple):
    """A wait that is not drawn to scale."""

    x: float
    width: float
    seconds: float


class Tick(NamedTuple):
    """A time since the first call, or since the cut before."""

    x: float
    seconds: float


@dataclass(frozen=True)
class Row:
    """A call, or one of its steps.

    :ivar step: None: it is a call.
    """

    name: str
    began_at: datetime
    seconds: float | None
    result: str
    bar: Bar
    error: str | None = None
    step: StepRun | None = None
    taken_over: bool = False


@dataclass(frozen=True)
class Drawing:
    """A timeline."""

    rows: tuple[Row, ...] = ()
    cuts: tuple[Cut, ...] = ()
    ticks: tuple[Tick, ...] = ()


class _Piece(NamedTuple):
    """A stretch of time that is drawn to scale, from ``x`` on."""

    began: datetime
    ended: datetime
    x: float


class _Scale:
    """Where a time is, in per cent."""

    def __init__(self, spans: Iterable[tuple[datetime, datetime]]) -> None:
        merged = _merged(spans)
        worked = sum(((end - begin) for begin, end in merged), timedelta())
        pieces = _joined(merged, worked)
        gaps = len(pieces) - 1
        gap = min(BREAK, BREAKS / gaps) if gaps else 0.0
        drawn = sum((end - begin).total_seconds() for begin, end in pieces)
        self._per_second = (100 - gap * gaps) / drawn if drawn else 0.0
        self.pieces: list[_Piece] = []
        self.cuts: list[Cut] = []
        x = 0.0
        for begin, end in pieces:
            if self.pieces:
                waited = (begin - self.pieces[-1].ended).total_seconds()
                self.cuts.append(Cut(x, gap, waited))
                x += gap
            self.pieces.append(_Piece(begin, end, x))
            x += (end - begin).total_seconds() * self._per_second

    def x(self, when: datetime) -> float:
        """Where a time is; one in a cut is at its end."""
        for piece in self.pieces:
            if when <= piece.ended:
                since = max(0.0, (when - piece.began).total_seconds())
                return piece.x + since * self._per_second
        return 100.0

    def ticks(self) -> Iterator[Tick]:
        """A few round times."""
        if not self._per_second:
            return
        step = _round_up((100 / self._per_second) / TICKS)
        last = -WIDE
        for piece in self.pieces:
            length = (piece.ended - piece.began).total_seconds()
            for n in range(int(length / step) + 1):
                x = piece.x + n * step * self._per_second
                if x - last >= WIDE and x <= 100 - WIDE / 2:
                    yield Tick(x, n * step)
                    last = x


def drawn(calls: Sequence[CallRun], now: datetime) -> Drawing:
    """Draw a timeline.

    :param now: until when what still runs is drawn.
    """
    if not calls:
        return Drawing()
    ends = [_end(call, calls[n + 1 :], now) for n, call in enumerate(calls)]
    # A clock that was set back may end a call before it began.
    ends = [max(call.began_at, end) for call, end in zip(calls, ends, strict=True)]
    scale = _Scale((c.began_at, end) for c, end in zip(calls, ends, strict=True))
    rows = [row for call, end in zip(calls, ends, strict=True) for row in _rows(call, end, scale)]
    return Drawing(tuple(rows), tuple(scale.cuts), tuple(scale.ticks()))


def _rows(call: CallRun, end: datetime, scale: _Scale) -> Iterator[Row]:
    bar = _bar(scale, call.began_at, end, f"call {_tone(call.result, False)}")
    name = call.call or "operation"
    yield Row(name, call.began_at, call.seconds, call.result, bar, taken_over=call.taken_over)
    for n, step in enumerate(call.steps):
        following = [s.began_at for s in call.steps[n + 1 :]]
        until = step.ended_at or min([end, *following])
        tone = _tone(step.result, step.undo)
        bar = _bar(scale, step.began_at, max(until, step.began_at), tone)
        yield Row(step.step, step.began_at, step.seconds, step.result, bar, step.error, step)


def _end(call: CallRun, following: Sequence[CallRun], now: datetime) -> datetime:
    """When a call ended, or when something of it was seen last."""
    if call.ended_at is not None:
        return call.ended_at
    seen = [at for s in call.steps for at in (s.began_at, s.ended_at) if at is not None]
    last = max([call.began_at, *seen])
    return max(last, now) if call.result == "running" and not following else last


def _bar(scale: _Scale, began: datetime, ended: datetime, tone: str) -> Bar:
    x = scale.x(began)
    return Bar(round(x, 3), round(max(0.0, scale.x(ended) - x), 3), tone)


def _tone(result: str, undo: bool) -> str:
    """The class of a bar: how it ended, and that it ran backward."""
    word = result.replace(" ", "-").replace("_", "-")
    return f"undo {word}" if undo else word


def _merged(spans: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    found: list[tuple[datetime, datetime]] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def _joined(
    spans: list[tuple[datetime, datetime]], worked: timedelta
) -> list[tuple[datetime, datetime]]:
    """Spans, with the waits between them that are short enough to be drawn."""
    found = [spans[0]]
    for begin, end in spans[1:]:
        if begin - found[-1][1] <= worked / 4:
            found[-1] = (found[-1][0], end)
        else:
            found.append((begin, end))
    return found


def _round_up(seconds: float) -> float:
    """The next of 1, 2, 5, 10 and so on."""
    size = 1e-6
    while True:
        for factor in (1, 2, 5):
            if size * factor >= seconds:
                return size * factor
        size *= 10
