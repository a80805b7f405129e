"""The configuration file: oslo.config, one group for volflow and one for each backend."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oslo_config import cfg

from volflow.drivers.registry import load_driver
from volflow.exceptions import InvalidInput

OPTIONS = [
    cfg.StrOpt("database", required=True, help="SQLAlchemy URL of the database."),
    cfg.StrOpt("key_file", help="Fernet keys, one a line; a server database needs it."),
    cfg.StrOpt("lock_directory", help="Locks of this host; by default beside the key file."),
    cfg.StrOpt("coordination", help="URL of the tooz backend whose locks all hosts share."),
    cfg.StrOpt("board", help="URL of the job board; sql: is the database itself."),
    cfg.FloatOpt("lease_seconds", default=60.0, help="How long a silent run owns its operation."),
    cfg.FloatOpt(
        "reservation_deadline_seconds",
        default=900.0,
        help="How long an operation waits for its caller's next call; 0: for ever.",
    ),
    cfg.FloatOpt(
        "comparison_seconds",
        default=60.0,
        help="How often recovery looks whether a backend has lost exports.",
    ),
    cfg.FloatOpt("driver_call_seconds", default=300.0, help="The limit of one driver call."),
    cfg.ListOpt("backends", default=[], help="Names of the groups that describe backends."),
]


@dataclass(frozen=True)
class Settings:
    """What a configuration file says.

    :ivar arguments: for :class:`volflow.VolumeManager`.
    :ivar backends: backend name -> the options of its group, ``driver`` among them.
    """

    arguments: dict[str, Any]
    backends: dict[str, dict[str, str]]

    def make_drivers(self) -> dict[str, Any]:
        """Load and make the driver of each backend.

        :raises InvalidInput: a driver is unknown, or does not take its options.
        """
        return {name: self.make_driver(name) for name in self.backends}

    def make_driver(self, name: str) -> Any:
        """Load and make the driver of one backend.

        :raises InvalidInput: it is unknown, or does not take its options.
        """
        options = dict(self.backends[name])
        return load_driver(options.pop("driver"), options)


def load_settings(path: Path) -> Settings:
    """Read a configuration file.

    :raises InvalidInput: it cannot be read, or something in it is wrong.
    """
    if not path.is_file():
        raise InvalidInput(f"there is no configuration file {path}")
    conf = cfg.ConfigOpts()
    conf.register_opts(OPTIONS, group="volflow")
    try:
        conf(args=[], default_config_files=[str(path)], default_config_dirs=[])
        group = conf.volflow
        values: dict[str, Any] = {option.name: group[option.name] for option in OPTIONS}
    except (cfg.Error, ValueError) as e:
        raise InvalidInput(f"{path}: {e}") from None
    names = values.pop("backends")
    values["reservation_deadline_seconds"] = values["reservation_deadline_seconds"] or None
    backends = {name: _backend(path, name) for name in names}
    values["max_running"] = {
        name: _most(path, name, options.pop("max_running"))
        for name, options in backends.items()
        if "max_running" in options
    }
    return Settings(values, backends)


def _most(path: Path, name: str, text: str) -> int | None:
    """How many operations of a backend may run at a time; 0: any number."""
    if not text.isdecimal():
        raise InvalidInput(
            f"{path}: max_running of [{name}] has to be a number, or 0 for no limit"
        )
    return int(text) or None


def _backend(path: Path, name: str) -> dict[str, str]:
    """The raw options of one group: a driver declares its own by its constructor."""
    sections: dict[str, dict[str, list[str]]] = {}
    try:
        cfg.ConfigParser(str(path), sections).parse()
    except cfg.ParseError as e:
        raise InvalidInput(f"{path}: {e}") from None
    options = {key: values[-1] for key, values in sections.get(name, {}).items()}
    if "driver" not in options:
        raise InvalidInput(f"{path}: the backend [{name}] names no driver")
    return options
