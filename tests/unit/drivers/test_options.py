"""volflow.drivers.options: from texts to a call."""

from __future__ import annotations

from pathlib import Path

import pytest

from volflow.drivers.file import FileDriver
from volflow.drivers.options import build, parameters, takes_rest
from volflow.drivers.registry import load_driver
from volflow.drivers.targets.choice import TARGETS
from volflow.exceptions import InvalidInput


def make(path: Path, count: int = 1, rate: float = 1.0, fast: bool = False) -> tuple[object, ...]:
    return path, count, rate, fast


def keep(name: str, **options: object) -> tuple[str, dict[str, object]]:
    return name, options


def test_texts_become_the_types_of_the_parameters():
    """When options are texts they become values; values stay as they are."""
    options = {"path": "/x", "count": "7", "rate": "0.5", "fast": "on"}

    assert build("it", make, options) == (Path("/x"), 7, 0.5, True)
    assert build("it", make, {"path": Path("/x"), "count": 7}) == (Path("/x"), 7, 1.0, False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "it needs the option 'path'"),
        ({"path": "/x", "size": "1"}, "it has no option 'size'; it has path, count, rate, fast"),
        ({"path": "/x", "count": "one"}, "the option 'count' of it is 'one', which is no int"),
        ({"path": "/x", "fast": "maybe"}, "the option 'fast' of it is 'maybe', which is no bool"),
    ],
)
def test_a_mistake_is_named(options, message):
    """When options do not fit, the error says which."""
    with pytest.raises(InvalidInput) as caught:
        build("it", make, options)
    assert message == str(caught.value)


def test_what_a_factory_does_not_have_is_passed_on_as_it_is():
    """When a factory takes the rest, it gets texts as texts."""
    assert build("it", keep, {"name": "n", "count": "7"}) == ("n", {"count": "7"})
    assert list(parameters(keep)) == ["name"]
    assert takes_rest(keep)
    assert not takes_rest(make)


@pytest.mark.parametrize("name", sorted(TARGETS))
@pytest.mark.parametrize(
    ("driver", "options"), [("file", {"directory": "/x"}), ("lvm", {"volume_group": "vg"})]
)
def test_every_driver_goes_with_every_target(driver, options, name):
    """When the option target names one, it is what exports."""
    made = load_driver(driver, {**options, "target": name, "portal": "127.0.0.1:9"})

    assert isinstance(made.target, TARGETS[name])
    assert made.target.portals == ("127.0.0.1:9",)
    assert hasattr(made, "terminate_unused_connection") == (name != "nvmet")


def test_tgt_is_the_target_of_files():
    """When nothing is named, files are exported by tgtd."""
    assert isinstance(FileDriver.from_options("/x").target, TARGETS["tgt"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "scst"}, "the driver 'file' has no target 'scst'; there are lio, nvmet, tgt"),
        (
            {"discard": "yes"},
            (
                "neither the driver 'file' nor its target 'tgt' has an option 'discard'; they "
                "have directory, target, portal, control_port, "
            ),
        ),
        (
            {"target": "lio", "discard": "maybe"},
            "the option 'discard' of the target 'lio' is 'maybe', which is no bool",
        ),
        (
            {"target": "nvmet", "portal": "target.example:4420"},
            "the portal 'target.example:4420' has no IP address",
        ),
    ],
)
def test_a_mistake_in_a_targets_options_is_named(options, message):
    """When a target does not take an option, the error says whose option it is."""
    with pytest.raises(InvalidInput) as caught:
        load_driver("file", {"directory": "/x", **options})
    assert message in str(caught.value)
