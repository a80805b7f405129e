"""The checker of histories, on histories made by hand."""

from __future__ import annotations

import random

import pytest

from volflow.testing.simulation import linearizability
from volflow.testing.simulation.linearizability import Event, TooHard, linearize
from volflow.testing.simulation.reservations import MAINTENANCE, Action, Register, apply

A, B = "a", "b"


def did(what: str, who: str, began: int, ended: int | None) -> Event[Action]:
    return Event(f"{what} {who}", Action(what, who), began, ended)


def perhaps(what: str, who: str, began: int, ended: int | None = None) -> Event[Action]:
    return Event(f"{what} {who}?", Action(what, who), began, ended, certain=False)


GOOD = {
    "nothing happened": [],
    "one after the other": [
        did("take", A, 0, 1),
        did("use", A, 2, 3),
        did("release", A, 4, 5),
        did("take", B, 6, 7),
    ],
    "at the same time, and one was refused": [
        did("take", A, 0, 9),
        did("refused", "", 1, 8),
        did("release", A, 10, 11),
    ],
    "the second call began before the first returned": [
        did("release", A, 4, 9),
        did("take", A, 0, 1),
        did("take", B, 5, 6),
    ],
    "the reply of a take was lost, and its repetition found it": [
        perhaps("take", A, 0, 5),
        did("take", A, 6, 7),
        did("refused", "", 2, 3),
    ],
    "a lost release had its effect later": [
        did("take", A, 0, 1),
        perhaps("release", A, 2),
        did("use", A, 5, 6),
        did("take", B, 8, 9),
    ],
    "a lost release never had an effect": [
        did("take", A, 0, 1),
        perhaps("release", A, 2),
        did("refused", "", 5, 6),
        did("use", A, 7, 8),
    ],
    "a repeated call gets its answer though others have the volume": [
        did("take", A, 0, 1),
        did("release", A, 2, 3),
        did("take", B, 4, 5),
        did("take", A, 6, 7),
        did("release", A, 8, 9),
        did("use", B, 10, 11),
    ],
    "maintenance comes and goes": [
        did("take", MAINTENANCE, 0, 1),
        did("refused", "", 2, 3),
        perhaps("release", MAINTENANCE, 4, 5),
        did("take", A, 6, 7),
    ],
}

BAD = {
    "two have it": [did("take", A, 0, 1), did("take", B, 2, 3)],
    "it was refused though it was free": [did("refused", "", 0, 1), did("take", A, 2, 3)],
    "it is used by one who has it no more": [
        did("take", A, 0, 1),
        perhaps("release", A, 0),
        did("take", B, 2, 3),
        did("use", A, 4, 5),
    ],
    "it is used by one who never had it": [did("use", A, 0, 1)],
    "it is released by one who never had it": [did("release", A, 0, 1), did("take", B, 2, 3)],
    "a lost take comes after its process's death": [
        did("take", A, 0, 1),
        perhaps("take", B, 2, 3),
        did("release", A, 4, 5),
        did("use", B, 6, 7),
    ],
    "it goes to another one during maintenance": [
        did("take", MAINTENANCE, 0, 1),
        did("take", A, 2, 3),
    ],
    "it is found taken after it was given back": [
        did("take", A, 0, 1),
        did("release", A, 2, 3),
        did("refused", "", 4, 5),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_a_history_that_can_have_been_is_put_in_order(name: str) -> None:
    """When there is an order, it is found, with all that is certain, and it can be played."""
    found = linearize(GOOD[name], apply, Register())

    assert found is not None
    assert {e for e in GOOD[name] if e.certain} <= set(found)
    register = Register()
    for event in found:
        after = apply(register, event.action)
        assert after is not None
        register = after


@pytest.mark.parametrize("name", BAD)
def test_a_history_that_cannot_have_been_is_found(name: str) -> None:
    assert linearize(BAD[name], apply, Register()) is None


def history(dice: random.Random, actions: int) -> list[Event[Action]]:
    """What a volume that works would show to callers whose calls overlap."""
    register, at, events = Register(), 0, []
    for number in range(actions):
        at += dice.randrange(1, 4)
        if register.holder is None:
            action = Action("take", str(number))
        else:
            what = dice.choice(["use", "refused", "release"])
            action = Action(what, "" if what == "refused" else register.holder)
        register = apply(register, action) or register
        began, ended = at - dice.randrange(6), at + dice.randrange(6)
        events.append(Event(str(number), action, began, ended, dice.random() < 0.9))
    return events


def test_what_a_volume_that_works_shows_is_never_bad(rng: random.Random) -> None:
    """When calls overlap at random, the order in which they had their effect is one of those."""
    for _ in range(200):
        assert linearize(history(rng, 30), apply, Register()) is not None


def test_a_search_that_takes_too_long_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """When nobody can tell in time, the answer is neither yes nor no."""
    monkeypatch.setattr(linearizability, "EFFORT", 100)
    events = [perhaps("take", str(n), 0) for n in range(12)]
    events += [perhaps("release", str(n), 0) for n in range(12)]
    with pytest.raises(TooHard):
        linearize([*events, did("use", "nobody", 1, 2)], apply, Register())
