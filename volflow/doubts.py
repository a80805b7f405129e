"""Doubts: when a volume on which a driver call may still have an effect is compared.

A call whose outcome is unknown may have its effect until its limit has passed. The database's
clock says when that is; but it may jump ahead, and a comparison that came too early would end the
doubt before the effect. So a process ends a doubt that it has known for as long, by a clock that
does not jump; where none was there for so long, the database's is trusted after a while.
"""

from __future__ import annotations

from collections.abc import Sequence

from volflow.clock import Clock
from volflow.persistence.audit import Asked

TRUSTED_SECONDS = 3600.0
"""What ended so long ago by the database's clock has ended, whoever asks."""

_Key = tuple[str, str, int]


class Doubts:
    """What this process knows of the doubts in the database.

    :param seconds: the limit of a driver call.
    """

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._known: dict[_Key, float] = {}

    def see(self, asked: Sequence[Asked], backends: frozenset[str]) -> None:
        """Remember since when each doubt is known; those that ended are forgotten.

        :param asked: all comparisons of these backends that are to come.
        """
        now, known = self._clock.monotonic(), self._known
        kept = {key: since for key, since in known.items() if key[0] not in backends}
        for one in asked:
            if one.doubt is not None:
                key = (one.backend, one.volume_id, one.doubt)
                kept[key] = known.get(key, now)
        self._known = kept

    def seconds_to(self, asked: Asked) -> float:
        """How long until a volume is to be compared; 0 where it is.

        What was asked for another reason than the doubt is not put off by it.
        """
        left = max(0.0, (asked.at - asked.now) / 1e6)
        if asked.doubt is None or asked.at < asked.doubt:
            return left
        return max(left, self._seconds_left(asked.doubt, asked))

    def is_over(self, asked: Asked) -> bool:
        """True where no effect can come any more."""
        if asked.doubt is None:
            return True
        return asked.doubt <= asked.now and self._seconds_left(asked.doubt, asked) <= 0

    def _seconds_left(self, doubt: int, asked: Asked) -> float:
        """For how long this process does not believe the database's clock."""
        now = self._clock.monotonic()
        since = self._known.get((asked.backend, asked.volume_id, doubt), now)
        trusted = (doubt - asked.now) / 1e6 + TRUSTED_SECONDS
        return min(since + self._seconds - now, trusted)
