"""A process of another host that stops itself in a driver call: ``python -m ... URL...``.

Its arguments are the database's URL, the key file, the lock directory, the lock server's URL, the
directory of the backend, the volume and the operation. It writes the class of what its call
raised, or the attachment's status.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from tests.contract.lab import HOST_A
from volflow import RequestContext, VolumeManager, exceptions
from volflow.drivers.local import LocalDriver


class Stopping(LocalDriver):
    """Stands still before it makes an export, as a host does that hangs."""

    def create_export(self, context: Any, volume: Any, connector: Any) -> Any:
        os.kill(os.getpid(), signal.SIGSTOP)
        return super().create_export(context, volume, connector)


def main(
    database: str, key_file: str, locks: str, lock_server: str, backend: str, volume: str, key: str
) -> str:
    """Attach the volume; return what came of it."""
    with VolumeManager(
        database,
        {"lab": Stopping(backend)},
        key_file=key_file,
        lock_directory=locks,
        coordination=lock_server,
        lease_seconds=1,
        recover=False,
    ) as manager:
        try:
            made = manager.attach_volume(
                RequestContext(overwrite=False), volume, HOST_A, host_name="a", operation_id=key
            )
        except exceptions.VolflowError as e:
            return type(e).__name__
        return made.attach_status.value


if __name__ == "__main__":
    sys.stdout.write(main(*sys.argv[1:]) + "\n")
