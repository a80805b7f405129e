"""What a soak of ours needs: a real tgtd, and a real PostgreSQL or a SQLite file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.servers.postgresql import PostgresqlServer, running_server
from tests.servers.tgtd import Tgtd, running_tgtd
from volflow.drivers.targets.tgt_parts import users
from volflow.persistence import migrate
from volflow.persistence.engine import Database
from volflow.testing.soak import Plan, Service, Soak

RequireBinary = Callable[..., Path]
POSTGRESQL = "postgresql"


class PostgresqlService:
    """A server that keeps its port and its data."""

    def __init__(self, server: PostgresqlServer) -> None:
        self._server = server

    def kill(self) -> None:
        """Kill the postmaster and all its children."""
        self._server.kill()

    def start(self) -> None:
        """Let it recover from its log."""
        self._server.restart()


@dataclass
class Lab:
    """A place for one soak.

    :ivar url: an empty database, migrated.
    :ivar options: those of the driver ``file``.
    """

    directory: Path
    url: str
    tgtd: Tgtd
    services: dict[str, Service] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, str]:
        """The driver's options, as in a configuration file."""
        return {
            "directory": str(self.directory / "images"),
            "portal": self.tgtd.portal,
            "control_port": str(self.tgtd.control_port),
            "socket": self.tgtd.socket,
        }

    def soak(self, **plan: object) -> Soak:
        """A soak here; see :class:`Plan`."""
        given = Plan(self.url, self.directory, "file", self.options, **plan)  # type: ignore[arg-type]
        return Soak(given, self.services, self.leaks)

    def leaks(self) -> list[str]:
        """Accounts that no target uses, and targets that are no volume's."""
        target = self.tgtd.target()
        shown = target.tgt.targets()
        known = {export.volume_id for export in target.exports()}
        loose = set(target.tgt.accounts()) - users(shown, None)
        foreign = [t.iqn for t in shown if t.iqn.removeprefix(target.iqn_prefix) not in known]
        return [f"G2: the CHAP account {user} belongs to no target" for user in loose] + [
            f"G2: the target {iqn} is no volume's" for iqn in foreign
        ]


@contextmanager
def running_lab(
    require_binary: RequireBinary, database: str, directory: Path, fsync: bool = True
) -> Iterator[Lab]:
    """Run what a soak needs as long as the block lasts.

    :param database: ``sqlite``, ``postgresql``, or a URL.
    """
    with ExitStack() as stack:
        tgtd = stack.enter_context(running_tgtd(require_binary))
        services: dict[str, Service] = {"tgtd": tgtd}
        url = database
        if database == "sqlite":
            url = f"sqlite:///{directory / 'volflow.db'}"
        elif database == POSTGRESQL:
            server = stack.enter_context(running_server(require_binary, fsync))
            services[POSTGRESQL] = PostgresqlService(server)
            url = server.create_database()
        found = Database(url)
        migrate.prepare(found)
        found.close()
        yield Lab(directory, url, tgtd, services)
