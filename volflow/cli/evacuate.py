"""``volflow evacuate``: all volumes of a host, as after its death."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any, TypeVar

import click
from rich.console import Console
from rich.progress import track

from volflow.cli import exits, output
from volflow.cli.attach import connector_of
from volflow.cli.opening import Options, context, opened
from volflow.cli.program import command
from volflow.mass import JOBS, Outcome
from volflow.models import Attachment

T = TypeVar("T")


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
    """Detach every volume that HOST has, some at a time, and attach them to another host.

    Each is an operation of its own: what is refused is undone and told, and keeps no other from
    going on. The command may be repeated for the rest. The exit code is 6 where some are left.
    """
    if to is None and (initiator or connector):
        raise click.UsageError("--initiator and --connector go with --to")
    given = {"initiator": initiator, "host": to, "connector": connector, "multipath": False}
    found = connector_of(given) if to else None
    with opened(options, None) as manager:
        count = sum(a.attached_host == host for a in manager.list_attachments(context()))
        gone = _heard("detaching", count, manager.detach_volumes(context(), host, force, jobs))
        ids = [outcome.volume_id for outcome in gone if outcome.error is None]
        come: list[Outcome[Attachment]] = []
        if found is not None:
            moved = manager.attach_volumes(context(), ids, found, to, jobs=jobs)
            come = _heard("attaching", len(ids), moved)
    _show(options, gone, come)
    if any(outcome.error for outcome in gone) or any(outcome.error for outcome in come):
        click.get_current_context().exit(exits.NEEDS_ATTENTION)


def _heard(what: str, count: int, outcomes: Iterator[Outcome[T]]) -> list[Outcome[T]]:
    """Listen to all of them, and show on a terminal how far they are."""
    console = Console(stderr=True)
    if not console.is_terminal:
        return list(outcomes)
    return list(track(outcomes, what, count, console=console, transient=True))


def _show(options: Options, gone: list[Outcome[Any]], come: list[Outcome[Any]]) -> None:
    failed: list[dict[str, Any]] = [
        {
            "volume_id": outcome.volume_id,
            "step": step,
            "error": {"type": type(outcome.error).__name__, "message": str(outcome.error)},
        }
        for step, outcomes in (("detach", gone), ("attach", come))
        for outcome in outcomes
        if outcome.error is not None
    ]
    if options.json:
        output.print_json({"detached": _ids(gone), "attached": _ids(come), "failed": failed})
        return
    click.echo(f"{len(_ids(gone))} detached, {len(_ids(come))} attached, {len(failed)} refused")
    for one in failed:
        click.echo(f"{one['volume_id']} {one['step']}: {one['error']['message']}", err=True)


def _ids(outcomes: Iterable[Outcome[Any]]) -> list[str]:
    return [outcome.volume_id for outcome in outcomes if outcome.error is None]
