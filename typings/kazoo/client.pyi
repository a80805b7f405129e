from typing import Any

from kazoo.retry import KazooRetry

class KazooClient:
    def __init__(
        self,
        hosts: str = "127.0.0.1:2181",
        timeout: float = 10.0,
        *,
        connection_retry: KazooRetry | None = None,
        keyfile: str | None = None,
        keyfile_password: str | None = None,
        certfile: str | None = None,
        ca: str | None = None,
        use_ssl: bool = False,
        verify_certs: bool = True,
    ) -> None: ...
    @property
    def connected(self) -> bool: ...
    def ensure_path(self, path: str) -> bool: ...
    def exists(self, path: str) -> Any: ...
    def stop(self) -> None: ...
    def close(self) -> None: ...
