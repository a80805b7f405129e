"""``volflow db``: the database's schema."""

from __future__ import annotations

from collections import Counter
from typing import IO, Any

import click

from volflow.cli import output
from volflow.cli.opening import Options, opened, opened_database, require_database
from volflow.cli.program import command
from volflow.persistence import migrate


@click.group()
def db() -> None:
    """Raise the database's schema, tell its version, move its secrets to a new key."""


class Age(click.ParamType[float]):
    """A number with a unit, in seconds."""

    name = "age"

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Read ``30d``."""
        number, unit = str(value)[:-1], str(value)[-1:]
        if not number.isdecimal() or unit not in _UNITS:
            self.fail(f"{value!r} is no age such as 30d, 12h or 90m", param, ctx)
        return int(number) * _UNITS[unit]


_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}


def add_to(main: click.Group) -> None:
    """Add the group to the program."""
    main.add_command(db)


@command(db, "upgrade", short_help="Raise the schema to this release's version.")
def upgrade(options: Options) -> None:
    """Make the schema, or raise it to this release's version; repeating it does nothing."""
    with opened_database(options) as database:
        before = migrate.current(database)
        after = migrate.upgrade(database)
        name = database.name
    if options.json:
        output.print_json({"database": name, "before": before, "version": after})
    elif before == after:
        click.echo(f"{name} has version {after} already")
    else:
        click.echo(f"{name}: {before or 'empty'} -> {after}")


@command(db, "reencrypt", short_help="Move every secret to the first key.")
def reencrypt(options: Options) -> None:
    """Encrypt every stored secret anew under the first key of the key file.

    Every process that uses the database has to have that key by now; afterwards the other keys
    can be taken out of the file.
    """
    with opened(options) as manager:
        written = manager.reencrypt_secrets()
    if options.json:
        output.print_json({"reencrypted": written})
    else:
        click.echo(f"{written} secrets are encrypted under the first key")


@command(db, "purge", short_help="Delete what ended long ago.")
@click.option(
    "--older-than",
    metavar="AGE",
    required=True,
    type=Age(),
    help="Such as 30d, 12h or 90m; at least 1h.",
)
@click.option(
    "--archive",
    metavar="FILE",
    type=click.File("a", encoding="utf-8"),
    help="Append each row to this file first, as JSON, one a line.",
)
def purge(options: Options, older_than: float, archive: IO[str] | None) -> None:
    """Delete settled operations with their timelines, and detached attachments and deleted
    volumes of which none is left, in short batches beside everything that runs.

    A call that is repeated with the id of an operation that is gone is done anew.
    """
    gone: Counter[str] = Counter()
    with opened(options) as manager:
        for table, count in manager.purge(older_than, archive):
            gone[table] += count
    counts = {name: gone[name] for name in ("operations", "attachments", "volumes")}
    if options.json:
        output.print_json({"purged": counts})
    else:
        click.echo(", ".join(f"{count} {name}" for name, count in counts.items()) + " deleted")


@command(db, "version", short_help="Tell the schema's version.")
def version(options: Options) -> None:
    """Tell the version of the database's schema, and the one that this release needs."""
    require_database(options.settings().arguments["database"])
    with opened_database(options) as database:
        found, needed, name = migrate.current(database), migrate.newest(), database.name
    if options.json:
        output.print_json({"database": name, "version": found, "needed": needed})
        return
    click.echo(f"{name}: {found or 'no schema'}; this release needs {needed}")
    if found != needed:
        click.echo("volflow: run `volflow db upgrade`", err=True)
