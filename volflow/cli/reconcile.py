"""``volflow reconcile``: what differs between backends and database, and putting it right."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from volflow.cli import exits, output
from volflow.cli.opening import Options, context, opened
from volflow.cli.program import command
from volflow.models import Difference


def add_to(main: click.Group) -> None:
    """Add the command to the program."""
    main.add_command(reconcile)


@command(None, "reconcile", short_help="Compare the backends with the database.")
@click.option("--backend", metavar="NAME", help="Only this one.")
@click.option("--repair", is_flag=True, help="Put in order what differs.")
@click.option("--force", is_flag=True, help="With --repair: also where a session is live.")
def reconcile(options: Options, backend: str | None, repair: bool, force: bool) -> None:
    """Compare the backends with the database in both directions, and the rows with each other.

    Exports of volumes that the database never had are named and left. The exit code is 6 where
    something still differs.
    """
    if force and not repair:
        raise click.UsageError("--force goes with --repair")
    with opened(options, None if backend is None else [backend]) as manager:
        found = manager.reconcile(context(), backend, repair=repair, force=force)
    if options.json:
        output.print_json([_json(difference) for difference in found])
    else:
        _print(found, repair)
    if any(not difference.repaired for difference in found):
        click.get_current_context().exit(exits.NEEDS_ATTENTION)


def _json(difference: Difference) -> dict[str, Any]:
    found = asdict(difference)
    error = difference.error
    found["error"] = error and {"type": error.class_name, "message": error.message}
    return found


def _print(found: list[Difference], repair: bool) -> None:
    for difference in found:
        state = "repaired" if difference.repaired else "differs"
        output.show(output.styled(state).append(f"  {difference.kind}"))
        rows = [("because", difference.detail)]
        if difference.in_use:
            rows.append(("in use", "a session is live on it, or nobody can tell"))
        if difference.error is not None:
            rows.append(("not repaired", str(difference.error)))
        output.print_fields("", rows, indent=4)
    if not found:
        click.echo("nothing differs")
    elif not repair:
        click.echo("volflow reconcile --repair puts it in order", err=True)
