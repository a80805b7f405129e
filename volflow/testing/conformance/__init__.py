"""The driver conformance kit: the whole contract, and every fault, against one driver.

The contract is in :mod:`volflow.drivers.base`; docs/drivers.md tells how to use the kit.
"""

from volflow.testing.conformance.connections import ConnectionTests
from volflow.testing.conformance.deaths import DeathTests
from volflow.testing.conformance.errors import ErrorTests
from volflow.testing.conformance.exports import ExportTests
from volflow.testing.conformance.halfway import HalfwayTests
from volflow.testing.conformance.refusals import RefusalTests
from volflow.testing.conformance.sessions import SessionTests
from volflow.testing.conformance.threads import ThreadTests
from volflow.testing.conformance.volumes import VolumeTests

__all__ = ["DriverConformance"]


class DriverConformance(
    VolumeTests,
    ExportTests,
    ConnectionTests,
    SessionTests,
    ErrorTests,
    ThreadTests,
    HalfwayTests,
    RefusalTests,
    DeathTests,
):
    """What every driver has to pass; subclass it, and write the hooks.

    ::

        class TestMyDriver(DriverConformance):
            def make_driver(self, tmp_path):
                return MyDriver(tmp_path)

    The hooks are those of :class:`~volflow.testing.conformance.hooks.Hooks`.
    """
