"""``volflow host``: disks of the host that the command runs on."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any, TypeVar

import click

from volflow.brick import BrickHost
from volflow.cli.attach import naming
from volflow.cli.opening import Options, context, opened_for
from volflow.cli.operations import recover_all
from volflow.cli.program import command
from volflow.cli.volumes import print_attachment, print_volume

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def host() -> None:
    """Attach volumes to this host, down to the block device, and detach them (root).

    Needs the extra volflow[host].
    """


def add_to(main: click.Group) -> None:
    """Add the group to the program."""
    main.add_command(host)


def _of_this_host(command: F) -> F:
    """Add the options that say who this host is."""
    name = click.option("--name", metavar="NAME", help="This host, if not by its own name.")
    address = click.option("--ip", metavar="ADDRESS", help="Its address on the storage network.")
    multipath = click.option("--multipath", is_flag=True, help="Use all portals of a target.")
    return name(address(multipath(command)))


@command(host, "attach", short_help="Attach a volume to this host: the disk appears.")
@click.argument("volume_id", metavar="VOLUME")
@click.option("--instance", metavar="UUID", help="The instance that uses the volume.")
@click.option("--mode", type=click.Choice(["rw", "ro"]), default="rw", show_default=True)
@click.option("--operation-id", metavar="UUID", help="Your own id: the call is done once.")
@_of_this_host
def attach(
    options: Options,
    volume_id: str,
    instance: str | None,
    mode: str,
    operation_id: str | None,
    **who: Any,
) -> None:
    """Attach a volume, log in, and print the path of its disk.

    All of it or nothing. Where this command is killed on the way, `volflow host recover` on the
    same host undoes what it has done.
    """
    side, key = BrickHost(**who), operation_id or str(uuid.uuid4())
    with opened_for(options, volume_id, side) as manager, naming(manager, key):
        found = manager.connect_volume(context(), volume_id, instance, mode, key)
    print_attachment(options, found, secrets=False)


@command(host, "detach", short_help="Remove a volume's disk from this host, and detach it.")
@click.argument("volume_id", metavar="VOLUME")
@click.option("--attachment", metavar="ID", help="Which one of this host, where it has several.")
@click.option("--force", is_flag=True, help="Go on over a backend that refuses.")
@click.option("--operation-id", metavar="UUID", help="Your own id: the call is done once.")
@_of_this_host
def detach(
    options: Options,
    volume_id: str,
    attachment: str | None,
    force: bool,
    operation_id: str | None,
    **who: Any,
) -> None:
    """Flush and remove the disk, log out, and detach the volume.

    A disk that is mounted, or that another device is made of, is left as it is.
    """
    side, key = BrickHost(**who), operation_id or str(uuid.uuid4())
    with opened_for(options, volume_id, side) as manager, naming(manager, key):
        found = manager.disconnect_volume(context(), volume_id, attachment, force, key)
        left = manager.list_attachments(context(), volume_id)
    print_volume(options, found, left, secrets=False)


@command(host, "recover", short_help="Undo what a command of this host left that was killed.")
@_of_this_host
def recover(options: Options, **who: Any) -> None:
    """Recover as `volflow recover` does, and log out of what dead commands of this host left.

    For the boot of the host, and a timer.
    """
    recover_all(options, BrickHost(**who))
