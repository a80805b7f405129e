"""For tests of volflow, of those who embed it, and of those who write drivers."""

import sys
from typing import TYPE_CHECKING, Any

from volflow.testing.faults import Crash, Fault, FaultyDriver, pause_heartbeat
from volflow.testing.memory import MemoryDriver, MemoryHost

if TYPE_CHECKING:
    from volflow.testing.conformance import DriverConformance

__all__ = [
    "Crash",
    "DriverConformance",
    "Fault",
    "FaultyDriver",
    "MemoryDriver",
    "MemoryHost",
    "pause_heartbeat",
]


def __getattr__(name: str) -> Any:
    """Import the conformance kit when it is asked for: it alone needs pytest."""
    if name != "DriverConformance":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if f"{__name__}.conformance" not in sys.modules:
        import pytest  # noqa: PLC0415

        pytest.register_assert_rewrite(f"{__name__}.conformance")
    from volflow.testing.conformance import DriverConformance  # noqa: PLC0415

    return DriverConformance
