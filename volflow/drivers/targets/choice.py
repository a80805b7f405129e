"""The targets by name; the parameters of each class are its options, and declared there alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from volflow.drivers.options import build, parameters
from volflow.drivers.targets import Target
from volflow.drivers.targets.lio import LioTarget
from volflow.drivers.targets.nvmet import NvmetTarget
from volflow.drivers.targets.tgt import TgtTarget
from volflow.exceptions import InvalidInput

TARGETS: dict[str, Callable[..., Target]] = {
    "lio": LioTarget,
    "nvmet": NvmetTarget,
    "tgt": TgtTarget,
}


def make_target(
    name: str, options: Mapping[str, object], driver: str, own: Iterable[str]
) -> Target:
    """Build the target of this name.

    :param driver: the driver that it is for, and ``own``: the options that this one has itself;
        both for the error.
    :raises InvalidInput: there is no such target, it has no such option, or a value cannot be.
    """
    factory = TARGETS.get(name)
    if factory is None:
        raise InvalidInput(
            f"the driver {driver!r} has no target {name!r}; there are {', '.join(TARGETS)}"
        )
    known = parameters(factory)
    for option in options:
        if option not in known:
            raise InvalidInput(
                f"neither the driver {driver!r} nor its target {name!r} has an option {option!r}; "
                f"they have {', '.join([*own, *known])}"
            )
    return build(f"the target {name!r}", factory, options)
