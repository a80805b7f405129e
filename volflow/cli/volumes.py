"""``volflow volume``: make, list, show and delete volumes."""

from __future__ import annotations

import json
from typing import Any

import click

from volflow import arguments as check
from volflow.cli import output
from volflow.cli.opening import Options, context, opened, opened_for
from volflow.cli.program import command
from volflow.exceptions import InvalidInput
from volflow.models import Attachment, Volume, VolumeStatus
from volflow.views.records import attachment_json, volume_json
from volflow.views.words import moment


@click.group()
def volume() -> None:
    """Make, list, show and delete volumes."""


def add_to(main: click.Group) -> None:
    """Add the group to the program."""
    main.add_command(volume)


@command(volume, "create", short_help="Make a volume.")
@click.option("--size", "size_gib", type=int, required=True, metavar="GIB", help="Size in GiB.")
@click.option("--backend", required=True, help="Which backend, as the configuration names it.")
@click.option("--name", help="A name for people; need not be unique.")
@click.option("--multiattach", is_flag=True, help="Several attachments at a time.")
@click.option("--readonly", is_flag=True, help="Attachments may only read.")
@click.option("--qos-specs", metavar="JSON", help="A JSON object, handed to the host.")
@click.option("--encryption-key-id", metavar="ID", help="Recorded for the host.")
@click.option("--id", "volume_id", metavar="UUID", help="Your own id: repeating it does nothing.")
def create(options: Options, qos_specs: str | None, **given: Any) -> None:
    """Make a volume on a backend.

    With --id the command may be repeated after a lost reply: it then prints the same volume.
    """
    specs = None if qos_specs is None else _json_object("--qos-specs", qos_specs)
    with opened(options, [given["backend"]], create=True) as manager:
        made = manager.create_volume(context(), qos_specs=specs, **given)
    print_volume(options, made, [], secrets=False)


@command(volume, "list", short_help="List volumes, oldest first.")
@click.option(
    "--status",
    type=click.Choice([s.value for s in VolumeStatus]),
    metavar="STATUS",
    help=f"Only these: {', '.join(VolumeStatus)}.",
)
@click.option("--backend", help="Only this backend's.")
@click.option("--limit", type=int, help="At most so many.")
@click.option("--marker", metavar="ID", help="Go on after this volume.")
def list_(options: Options, **given: Any) -> None:
    """List volumes, oldest first."""
    with opened(options) as manager:
        found = manager.list_volumes(context(), **given)
    if options.json:
        output.print_json([volume_json(v) for v in found])
        return
    rows = [(v.id, v.name or "-", f"{v.size_gib} GiB", v.backend, v.status) for v in found]
    output.print_table(("ID", "NAME", "SIZE", "BACKEND", "STATUS"), rows, "no volumes")


@command(volume, "show", short_help="Show a volume and its attachments.")
@click.argument("volume_id", metavar="ID")
@click.option("--all", "every", is_flag=True, help="Show detached attachments, too.")
@click.option("--show-secrets", is_flag=True, help="Show connection_info with its secrets.")
def show(options: Options, volume_id: str, every: bool, show_secrets: bool) -> None:
    """Show a volume and its attachments."""
    with opened(options) as manager:
        found = manager.get_volume(context(), volume_id)
        attachments = manager.list_attachments(context(), volume_id, live=not every)
    print_volume(options, found, attachments, secrets=show_secrets)


@command(volume, "delete", short_help="Delete a volume and its data.")
@click.argument("volume_id", metavar="ID")
def delete(options: Options, volume_id: str) -> None:
    """Delete a volume and its data; it has to be available, or in error."""
    with opened_for(options, volume_id) as manager:
        manager.delete_volume(context(), volume_id)
    deleted = check.uuid_of("ID", volume_id)
    if options.json:
        output.print_json({"id": deleted, "deleted": True})
    else:
        click.echo(f"volume {deleted} is deleted")


def print_volume(
    options: Options, volume: Volume, attachments: list[Attachment], *, secrets: bool
) -> None:
    """Write a volume and its attachments."""
    if options.json:
        shown = [attachment_json(a, secrets=secrets) for a in attachments]
        output.print_json({**volume_json(volume), "attachments": shown})
        return
    output.print_fields(
        f"Volume {volume.id}",
        [
            ("Name", volume.name),
            ("Size", f"{volume.size_gib} GiB"),
            ("Backend", volume.backend),
            ("Status", volume.status),
            ("Attach status", volume.attach_status),
            ("Multiattach", volume.multiattach),
            ("Readonly", volume.readonly),
            ("Location", volume.provider_location),
            ("Encryption key", volume.encryption_key_id),
            ("QoS specs", volume.qos_specs and json.dumps(volume.qos_specs)),
            ("Owned by", volume.operation_id and f"operation {volume.operation_id}"),
            ("Created", moment(volume.created_at)),
            ("Updated", moment(volume.updated_at)),
        ],
    )
    for attachment in attachments:
        click.echo()
        print_attachment(options, attachment, secrets=secrets)


def print_attachment(options: Options, attachment: Attachment, *, secrets: bool) -> None:
    """Write an attachment with its connection."""
    shown = attachment_json(attachment, secrets=secrets)
    if options.json:
        output.print_json(shown)
        return
    info = shown["connection_info"] or {}
    connector = shown["connector"] or {}
    output.print_fields(
        f"Attachment {attachment.id}",
        [
            ("Volume", attachment.volume_id),
            ("Status", attachment.attach_status),
            ("Host", attachment.attached_host),
            ("Instance", attachment.instance_uuid),
            ("Mountpoint", attachment.mountpoint),
            ("Mode", attachment.attach_mode),
            ("Initiator", connector.get("initiator")),
            ("Attached", moment(attachment.attached_at)),
            ("Detached", moment(attachment.detached_at)),
            ("Connection", info.get("driver_volume_type")),
        ],
    )
    data = [
        (k, v if isinstance(v, str) else json.dumps(v))
        for k, v in (info.get("data") or {}).items()
    ]
    if data:
        output.print_fields("", data, indent=4)


def _json_object(name: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InvalidInput(f"{name} has to be a JSON object")
    return found
