"""The board on ZooKeeper: TaskFlow's, on one client with one session."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import SplitResult

from kazoo.client import KazooClient
from kazoo.recipe.watchers import ChildrenWatch
from kazoo.retry import KazooRetry
from taskflow.exceptions import JobFailure
from taskflow.jobs.backends.impl_zookeeper import ZookeeperJob, ZookeeperJobBoard
from taskflow.jobs.base import POSTED

from volflow.jobs.urls import BoardUrl, file, flag, seconds

PORT = 2181
CONNECT_SECONDS = 5.0
RECONNECT_SECONDS_MAX = 5.0
LEISURE_SECONDS = 0.03
"""An operation takes about as long. Measured: 0.9 of the time to its start."""
OPTIONS: dict[str, Callable[[str], Any]] = {
    "timeout": seconds,
    "tls": flag,
    "ca": file,
    "certfile": file,
    "keyfile": file,
    "keyfile_password": str,
    "verify": flag,
}


class ZookeeperBoard(ZookeeperJobBoard):
    """Jobs are nodes below a path; a claim is an ephemeral node and ends with its session.

    :param client: this process's only one.
    """

    wakes = True

    def __init__(self, path: str, client: Any) -> None:
        # TaskFlow asks for the version by a word that servers since 3.5 do not answer by default.
        conf = {"path": path, "check_compatible": False}
        super().__init__("volflow", conf, client=client)
        self._waiting: list[Callable[[], bool]] = []
        self._started = False

    def connect(self, timeout: float | None = CONNECT_SECONDS) -> None:
        """Begin a session; where one was lost, kazoo begins the next by itself."""
        if not self._started:
            super().connect(timeout)
            self._started = True
            return
        if not self._client.connected:
            raise JobFailure("the session is lost, and there is no other one yet")
        self._connected = True

    def leave(self) -> None:
        """End the session, and all claims with it."""
        self._closing = True
        self.close()
        self._client.stop()
        self._client.close()

    def listed(self) -> list[ZookeeperJob]:
        """All jobs as the server has them now."""
        if self._client.exists(self.path) is None:
            self._begin_anew()
        found = list(self._fetch_jobs(ensure_fresh=True))
        if not self._client.connected:
            # TaskFlow then says that there is nothing, which is not the same.
            raise JobFailure("the session was lost meanwhile")
        return found

    def known(self, operation_ids: Collection[str]) -> list[ZookeeperJob]:
        """All jobs, as its watch has told."""
        return list(self._fetch_jobs())

    def take(self, job: ZookeeperJob, who: str, seconds: float) -> None:
        """Claim a job for as long as the session lasts."""
        self.claim(job, who)

    def keep(self, job: ZookeeperJob, who: str, seconds: float) -> bool:
        """Look whether the claim is still ours: a session that was lost has taken it away."""
        return self.find_owner(job) == who

    def watch(self, wake: Callable[[], None], waits: Callable[[], bool]) -> None:
        """Call ``wake`` when a node has come."""
        self._waiting.append(waits)
        self.notifier.register(POSTED, lambda event, details: wake())

    def _on_job_posting(self, children: list[str], delayed: bool = True) -> None:
        """Read what has come; where nobody waits for it, after what others do about it now."""
        if delayed and not any(waits() for waits in self._waiting):
            time.sleep(LEISURE_SECONDS)
        super()._on_job_posting(children, delayed)

    def _begin_anew(self) -> None:
        """Make the path again that somebody has removed, and watch it: its watch is gone, too."""
        self._client.ensure_path(self.path)
        self._on_job_posting([], delayed=False)
        self._job_watcher = ChildrenWatch(
            self._client, self.path, func=self._on_job_posting, allow_session_lost=True
        )


def make_board(parsed: SplitResult) -> tuple[str, Callable[[], ZookeeperBoard]]:
    """The board of ``zookeeper://HOST:PORT,HOST:PORT/PATH``: its name, and what makes it.

    :raises InvalidInput: something in the URL is wrong.
    """
    url = BoardUrl.read(parsed, PORT, OPTIONS).without_account()
    options = dict(url.options)
    files = {k: options.get(k) for k in ("ca", "certfile", "keyfile", "keyfile_password")}
    tls = options.get("tls", any(files.values()))

    def make() -> ZookeeperBoard:
        client = KazooClient(
            hosts=",".join(f"{host}:{port}" for host, port in url.hosts),
            timeout=options.get("timeout", 10.0),
            # Its own pauses grow to an hour while a server is away.
            connection_retry=KazooRetry(max_tries=-1, max_delay=RECONNECT_SECONDS_MAX),
            use_ssl=tls,
            verify_certs=options.get("verify", True),
            **files,
        )
        return ZookeeperBoard(f"/{url.path or 'volflow'}/operations", client)

    return url.name, make
