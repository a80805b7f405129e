"""The backend as a run sees it: driver calls with their limit, and errors without secrets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from volflow.clock import Clock
from volflow.drivers.base import Export, initiator_of
from volflow.exceptions import (
    ConnectionFailed,
    DriverError,
    InvalidConnector,
    TransientDriverError,
    VolflowError,
)
from volflow.models import Connector, DriverVolume
from volflow.tasks.redaction import Redactor
from volflow.texts import is_storable, sentence

if TYPE_CHECKING:
    from volflow.leases import Leases

TRANSIENT_ATTEMPTS = 4

_EFFECTS = frozenset(
    {
        "create_export",
        "ensure_export",
        "remove_export",
        "initialize_connection",
        "terminate_connection",
        "terminate_unused_connection",
    }
)
"""Calls whose failure leaves open whether the effect is there, or comes yet."""


class Backend:
    """Calls the driver for one operation.

    :ivar volume: the volume as the run has left it; no error names its secret.
    :ivar unsure: an effect failed, and may be there nevertheless, or come yet.
    """

    def __init__(
        self,
        driver: Any,
        leases: Leases,
        operation_id: str,
        volume: DriverVolume,
        clock: Clock,
    ) -> None:
        self.driver = driver
        self.volume = volume
        self.unsure = False
        self._leases = leases
        self._operation_id = operation_id
        self._clock = clock

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        """Call the driver; what is transient is tried again with backoff.

        :raises DriverError: it refused; what is no error of ours is its ``__cause__``.
        :raises InvalidConnector: the driver wants another connector.
        """
        attempts = Retrying(
            retry=retry_if_exception_type(TransientDriverError),
            stop=stop_after_attempt(TRANSIENT_ATTEMPTS),
            wait=wait_random_exponential(0.02, max=0.5),
            sleep=self._clock.sleep,
            reraise=True,
        )
        try:
            with self._leases.driver_call(self._operation_id):
                return attempts(getattr(self.driver, method), *arguments, **options)
        except Exception as e:  # noqa: BLE001 - a driver may raise anything
            self.unsure = self.unsure or method in _EFFECTS
            error = self.translated(method, e)
            raise error from error.__cause__

    def call_host(self, host: Any, method: str, *arguments: Any) -> Any:
        """Call the side of the host that uses the volume, with the same limit.

        :raises DriverError: it failed; what is no error of ours is the ``__cause__``.
        """
        try:
            with self._leases.driver_call(self._operation_id):
                return getattr(host, method)(*arguments)
        except Exception as e:  # noqa: BLE001 - a host's side may raise anything
            error = self._translated(ConnectionFailed, f"{method} on host {host.name}", e)
            raise error from error.__cause__

    def checked(self, method: str, value: Any) -> Any:
        """What the driver returned, as it is after a round trip through JSON.

        :raises DriverError: it cannot make one.
        """
        try:
            found = json.loads(json.dumps(value, allow_nan=False))
            if not is_storable(json.dumps(found, ensure_ascii=False).replace("\\u0000", "\0")):
                raise ValueError
        except (TypeError, ValueError, RecursionError):
            raise DriverError(
                f"{method} of backend {self.volume.backend} returned what is no storable JSON"
            ) from None
        return found

    def export(self) -> Export | None:
        """The volume's export, as it is now; None where there is none."""
        wanted = self.volume.id
        found = self.call("list_exports")
        return next((export for export in found if export.volume_id == wanted), None)

    def initiator_of(self, connector: Connector) -> str:
        """The key of the ACL of a connector."""
        return initiator_of(self.driver, connector)

    def ours(self, what: str, error: Exception) -> Exception:
        """The error where it is one of ours, else one that says what failed."""
        return error if isinstance(error, VolflowError) else self.translated(what, error)

    def translated(self, what: str, error: Exception) -> Exception:
        """An error as a caller may see it: of ours, and without the volume's secret."""
        return self._translated(DriverError, f"{what} of backend {self.volume.backend}", error)

    def _translated(self, kind: type[DriverError], what: str, error: Exception) -> Exception:
        redact = Redactor(self.volume.provider_auth)
        if isinstance(error, (DriverError, InvalidConnector)):
            return redact.error(error)
        text = redact.text(f"{type(error).__name__}: {sentence(error)}".rstrip(": "))
        found = kind(f"{what} failed: {text}")
        found.__cause__ = redact.cause(error)
        return found
