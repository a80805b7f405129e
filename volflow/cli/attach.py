"""``volflow attach`` and ``volflow detach``."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TypeVar

import click

from volflow.cli.opening import Options, context, opened, opened_for
from volflow.cli.operations import show_operation
from volflow.cli.program import command
from volflow.cli.volumes import print_attachment, print_volume
from volflow.exceptions import InvalidConnector, InvalidInput, VolflowError
from volflow.manager import VolumeManager

F = TypeVar("F", bound=Callable[..., Any])


def submitting(command: F) -> F:
    """Add the options with which a conductor does it."""
    submit = click.option("--submit", is_flag=True, help="Queue it for a conductor.")
    priority = click.option(
        "--priority", type=int, default=0, help="With --submit: what is higher is run first."
    )
    return submit(priority(command))


def add_to(main: click.Group) -> None:
    """Add the commands to the program."""

    @command(main, "attach", short_help="Attach a volume to a host or an instance.")
    @click.argument("volume_id", metavar="VOLUME")
    @click.option("--initiator", metavar="IQN", help="The host's iSCSI name, for the connector.")
    @click.option("--host", metavar="NAME", help="The host, for the connector and the record.")
    @click.option("--instance", metavar="UUID", help="The instance that uses the volume.")
    @click.option("--mountpoint", metavar="DEVICE", help="Recorded, such as /dev/vdb.")
    @click.option("--mode", type=click.Choice(["rw", "ro"]), default="rw", show_default=True)
    @click.option("--multipath", is_flag=True, help="The host uses several portals.")
    @click.option(
        "--connector",
        metavar="FILE",
        type=click.File(),
        help="A whole connector as JSON (-: stdin); the options above add to it.",
    )
    @submitting
    @click.option("--operation-id", metavar="UUID", help="Your own id: the call is done once.")
    @click.option("--show-secrets", is_flag=True, help="Show connection_info with its secrets.")
    def attach(options: Options, volume_id: str, show_secrets: bool, **given: Any) -> None:
        """Attach a volume: export it, let the host in, and print how to reach it.

        All of it or nothing: what fails is undone. With --operation-id the command may be
        repeated after a lost reply; it then prints the same attachment. With --submit a conductor
        does it: the command prints the operation, and `volflow operation wait` waits for it.
        """
        connector = connector_of(given)
        host = given["host"] or connector.get("host")
        if not host and not given["instance"]:
            raise InvalidInput("name who uses the volume with --host or --instance")
        key = given["operation_id"] or str(uuid.uuid4())
        if given["submit"]:
            with opened(options) as manager:
                operation = manager.submit_attach(
                    context(),
                    volume_id,
                    connector,
                    instance_uuid=given["instance"],
                    host_name=host,
                    mountpoint=given["mountpoint"],
                    mode=given["mode"],
                    operation_id=key,
                    priority=given["priority"],
                )
                show_operation(options, manager, operation.id)
            return
        with opened_for(options, volume_id) as manager, naming(manager, key):
            found = manager.attach_volume(
                context(),
                volume_id,
                connector,
                instance_uuid=given["instance"],
                host_name=host,
                mountpoint=given["mountpoint"],
                mode=given["mode"],
                operation_id=key,
            )
        print_attachment(options, found, secrets=show_secrets)

    @command(main, "detach", short_help="Detach a volume.")
    @click.argument("volume_id", metavar="VOLUME")
    @click.option("--attachment", metavar="ID", help="Which one, where there are several.")
    @click.option(
        "--force",
        is_flag=True,
        help="Cut a host that is logged in, and go on over a backend that refuses.",
    )
    @submitting
    @click.option("--operation-id", metavar="UUID", help="Your own id: the call is done once.")
    def detach(
        options: Options,
        volume_id: str,
        attachment: str | None,
        force: bool,
        submit: bool,
        priority: int,
        operation_id: str | None,
    ) -> None:
        """Detach a volume: take the host's access and the export away.

        A failure brings the connection back. With --force it only goes forward; what the
        backend refuses is repeated by recovery, and the volume is detaching until then. With
        --submit a conductor does it, and `volflow operation wait` waits for it.
        """
        key = operation_id or str(uuid.uuid4())
        if submit:
            with opened(options) as manager:
                operation = manager.submit_detach(
                    context(), volume_id, attachment, force, key, priority
                )
                show_operation(options, manager, operation.id)
            return
        with opened_for(options, volume_id) as manager, naming(manager, key):
            found = manager.detach_volume(
                context(), volume_id, attachment_id=attachment, force=force, operation_id=key
            )
            left = manager.list_attachments(context(), volume_id)
        print_volume(options, found, left, secrets=False)


def connector_of(given: dict[str, Any]) -> dict[str, Any]:
    """Put the connector together from its file and the options."""
    found = _read(given["connector"]) if given["connector"] else {}
    for name in ("initiator", "host"):
        if given[name] is not None:
            found[name] = given[name]
    if given["multipath"]:
        found["multipath"] = True
    if not found:
        raise InvalidInput("who asks? name the host with --initiator and --host, or --connector")
    return found


def _read(file: IO[str]) -> dict[str, Any]:
    try:
        found = json.load(file)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidConnector(f"{file.name} has to hold a connector as a JSON object")
    return found


@contextmanager
def naming(manager: VolumeManager, operation_id: str) -> Iterator[None]:
    """Name the operation to whoever hears that it failed, or interrupts it."""
    try:
        yield
    except KeyboardInterrupt as error:
        error.add_note(
            f"what was begun is settled by `volflow recover`; see `volflow operation show "
            f"{operation_id}`"
        )
        raise
    except VolflowError as error:
        if _exists(manager, operation_id):
            error.add_note(f"see `volflow operation show {operation_id}`")
        raise


def _exists(manager: VolumeManager, operation_id: str) -> bool:
    try:
        manager.get_operation(context(), operation_id)
    except VolflowError:
        return False
    return True
