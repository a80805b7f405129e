"""``volflow evacuate``: all volumes of a host, as after its death."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import click
from rich.console import Console
from rich.progress import track

from volflow.cli import exits, output
from volflow.cli.attach import connector_of
from volflow.cli.opening import Options, context, opened
from volflow.cli.program import command
from volflow.mass import JOBS, Outcome


def add_to(main: click.Group) -> None:
    """Add the command to the program."""
    main.add_command(evacuate)


@command(None, "evacuate", short_help="Detach all volumes of a host, and attach them to another.")
@click.argument("host")
@click.option(
    "--to", metavar="NAME", help="The host that they go to; else they are only detached."
)
@click.option("--initiator", metavar="IQN", help="With --to: that host's iSCSI name.")
@click.option(
    "--connector",
    metavar="FILE",
    type=click.File(),
    help="With --to: its whole connector as JSON (-: stdin).",
)
@click.option("--force", is_flag=True, help="Cut the host where it is logged in.")
@click.option("--jobs", type=click.IntRange(1), default=JOBS, show_default=True, metavar="N")
def evacuate(
    options: Options,
    host: str,
    to: str | None,
    initiator: str | None,
    connector: IO[str] | None,
    force: bool,
    jobs: int,
) -> None:
    """Detach every volume that HOST has, and attach each at once to another host.

    Each is an operation of its own, some at a time: what is refused is undone and told, and keeps
    no other from going on. Instance, mount point and mode stay. The command may be repeated for
    the rest. The exit code is 6 where something was refused.
    """
    if to is None and (initiator or connector):
        raise click.UsageError("--initiator and --connector go with --to")
    given = {"initiator": initiator, "host": to, "connector": connector, "multipath": False}
    found = connector_of(given) if to else None
    outcomes: Iterator[Outcome[Any]]
    with opened(options, None) as manager:
        count = sum(a.attached_host == host for a in manager.list_attachments(context()))
        if to is None or found is None:
            outcomes = manager.detach_volumes(context(), host, force, jobs)
        else:
            outcomes = manager.move_volumes(context(), host, found, to, force, jobs)
        ended = _heard(f"evacuating {host}", count, outcomes)
    _show(options, ended, attached=to is not None)
    if any(outcome.error for outcome in ended):
        click.get_current_context().exit(exits.NEEDS_ATTENTION)


def _heard(what: str, count: int, outcomes: Iterator[Outcome[Any]]) -> list[Outcome[Any]]:
    """Listen to all of them, and show on a terminal how far they are."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return list(outcomes)
    return list(track(outcomes, what, count, console=console, transient=True))


def _show(options: Options, ended: list[Outcome[Any]], attached: bool) -> None:
    refused = [outcome for outcome in ended if outcome.error is not None]
    gone = [outcome.volume_id for outcome in ended if outcome.step != "detach"]
    come = [outcome.volume_id for outcome in ended if attached and outcome.error is None]
    if options.json:
        failed = [_refusal(outcome) for outcome in refused]
        output.print_json({"detached": gone, "attached": come, "failed": failed})
        return
    click.echo(f"{len(gone)} detached, {len(come)} attached, {len(refused)} refused")
    for one in refused:
        click.echo(f"{one.volume_id} {one.step}: {one.error}", err=True)


def _refusal(outcome: Outcome[Any]) -> dict[str, Any]:
    error = {"type": type(outcome.error).__name__, "message": str(outcome.error)}
    return {"volume_id": outcome.volume_id, "step": outcome.step, "error": error}
