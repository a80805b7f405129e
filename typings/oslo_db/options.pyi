from oslo_config import cfg

database_opts: list[cfg.Opt]

def set_defaults(
    conf: cfg.ConfigOpts,
    connection: str | None = None,
    max_pool_size: int | None = None,
    max_overflow: int | None = None,
    pool_timeout: int | None = None,
) -> None: ...
def list_opts() -> list[tuple[str, list[cfg.Opt]]]: ...
