"""``volflow web``: the page for operators."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import click

from volflow.cli.opening import Options, opened
from volflow.cli.program import command
from volflow.exceptions import InvalidInput
from volflow.manager import VolumeManager


def add_to(main: click.Group) -> None:
    """Add the command to the program."""
    main.add_command(web)


@command(None, "web", short_help="Serve a page that shows what goes on.")
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:8400",
    show_default=True,
    help="Where; port 0 is a free one.",
)
@click.option(
    "--token-file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="One word, which whoever wants to change something has to know; needed where other "
    "hosts reach it.",
)
@click.option(
    "--allow-host",
    "hosts",
    metavar="NAME",
    multiple=True,
    help="A further name under which it is asked for, such as a proxy's; may be repeated.",
)
def web(options: Options, listen: str, token_file: Path | None, hosts: tuple[str, ...]) -> None:
    """Serve a page that shows volumes and operations, who owns them and what comes next.

    Everybody who reaches it may read. Retrying, cancelling and reconciling need the token: that
    of --token-file, or one that is made at each start and stands in the URL that is printed. It
    reads without any driver; SIGTERM or Ctrl-C ends it.
    """
    served = _parts()
    place = served.place_of(listen)
    token = served.token_of(place, token_file)

    @contextmanager
    def acting(backends: Collection[str] | None) -> Iterator[VolumeManager]:
        with opened(options, backends) as manager:
            yield manager

    with opened(options) as manager:
        served.serve(manager, acting, place, token, hosts, click.echo, token_file is not None)


def _parts() -> ModuleType:
    """The page, which needs more packages than the command line does.

    :raises InvalidInput: they are not installed.
    """
    try:
        from volflow.web import server  # noqa: PLC0415 - the other commands do without it
    except ModuleNotFoundError as e:
        raise InvalidInput(
            f"the page needs {e.name}: install volflow with pip install 'volflow[web]'"
        ) from None
    return server
