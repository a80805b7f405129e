"""The command line: ``volflow``."""

from __future__ import annotations

import click

from volflow import __version__
from volflow.cli import (
    attach,
    conductors,
    database,
    doctor,
    evacuate,
    exits,
    host,
    operations,
    reconcile,
    status,
    volumes,
    web,
)
from volflow.cli.demo import add_demo
from volflow.cli.opening import Options
from volflow.cli.program import Program, common_options

__all__ = ["main"]


@click.group(cls=Program, epilog=exits.epilog(), context_settings={"max_content_width": 100})
@click.version_option(__version__, prog_name="volflow")
@common_options
@click.pass_context
def main(ctx: click.Context) -> None:
    """Attach block volumes to hosts and detach them: never stuck, nothing leaked."""
    ctx.ensure_object(Options)


status.add_to(main)
volumes.add_to(main)
attach.add_to(main)
evacuate.add_to(main)
host.add_to(main)
operations.add_to(main)
conductors.add_to(main)
reconcile.add_to(main)
database.add_to(main)
doctor.add_to(main)
web.add_to(main)
add_demo(main)
