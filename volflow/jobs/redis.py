"""The board on Redis, also behind sentinels and with TLS: TaskFlow's, and a channel that wakes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from contextlib import closing, suppress
from typing import Any
from urllib.parse import SplitResult

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig
from redis.retry import Retry
from redis.sentinel import Sentinel
from taskflow.jobs.backends.impl_redis import RedisJob, RedisJobBoard

from volflow.exceptions import InvalidInput
from volflow.jobs.urls import BoardUrl, file, flag, seconds

LOG = logging.getLogger(__name__)

PORT = 6379
SENTINEL_PORT = 26379
CALL_SECONDS = 5.0
LISTEN_SECONDS = 0.5
RETRY_SECONDS = 1.0
OPTIONS: dict[str, Callable[[str], Any]] = {
    "timeout": seconds,
    "namespace": str,
    "sentinel": str,
    "sentinel_user": str,
    "sentinel_password": str,
    "sentinel_tls": flag,
    "ca": file,
    "certfile": file,
    "keyfile": file,
    "verify": flag,
}


class RedisBoard(RedisJobBoard):
    """Jobs are entries of a hash; a claim is a key that expires.

    :param client: of the server that takes writes.
    """

    def __init__(self, namespace: str, client: Redis) -> None:
        super().__init__("volflow", {"namespace": namespace}, client=client)
        self._channel = _Channel(client, f"{namespace}:posted")

    @property
    def wakes(self) -> bool:
        """True while the channel is heard."""
        return self._channel.hears

    def connect(self) -> None:
        """Check that the server answers and is new enough."""
        super().connect()
        self._channel.begin()

    def leave(self) -> None:
        """Close all connections."""
        self._channel.stop()
        self.close()
        self._client.close()

    def post(self, name: str, *arguments: Any, **options: Any) -> RedisJob:
        """Post a job, and wake who waits for one."""
        found = super().post(name, *arguments, **options)
        with suppress(RedisError):  # who waits looks by itself, a little later
            self._channel.say()
        return found

    def listed(self) -> list[RedisJob]:
        """All jobs as the server has them now."""
        return list(self._fetch_jobs())

    def known(self, operation_ids: Collection[str]) -> list[RedisJob]:
        """The same: nothing is kept here."""
        return self.listed()

    def take(self, job: RedisJob, who: str, seconds: float) -> None:
        """Claim a job for so long."""
        self.claim(job, who, expiry=seconds)

    def keep(self, job: RedisJob, who: str, seconds: float) -> bool:
        """Claim a job for so long from now on, where it is still ours."""
        if self._client.get(job.owner_key) != who.encode():
            return False
        return bool(job.extend_expiry(seconds))

    def watch(self, wake: Callable[[], None], waits: Callable[[], bool]) -> None:
        """Call ``wake`` when somebody has posted a job."""
        self._channel.wakers.append(wake)


class _Channel:
    """Wakes who waits for a job, by publishing that there is one."""

    def __init__(self, client: Redis, name: str) -> None:
        self.hears = False
        self.wakers: list[Callable[[], None]] = []
        self._client = client
        self._name = name
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def say(self) -> None:
        self._client.publish(self._name, b"")

    def begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="volflow-redis", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(CALL_SECONDS)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                with closing(self._pubsub()) as heard:
                    heard.subscribe(self._name)
                    self.hears = True
                    self._wake()
                    while not self._stopped.is_set():
                        if heard.get_message(timeout=LISTEN_SECONDS):
                            self._wake()
            except (RedisError, OSError) as e:
                LOG.debug("the channel of Redis goes on later: %s", e)
                self._stopped.wait(RETRY_SECONDS)
            finally:
                self.hears = False

    def _pubsub(self) -> Any:
        client: Any = self._client  # redis-py has types, but not for this
        return client.pubsub(ignore_subscribe_messages=True)

    def _wake(self) -> None:
        for wake in self.wakers:
            wake()


def make_board(parsed: SplitResult) -> tuple[str, Callable[[], RedisBoard]]:
    """The board of ``redis://HOST:PORT/DATABASE``: its name, and what makes it.

    With ``sentinel=NAME`` the hosts are sentinels, which know the server by that name; with the
    scheme ``rediss`` TLS is spoken to all of them.

    :raises InvalidInput: something in the URL is wrong.
    """
    sentinels = "sentinel=" in parsed.query
    url = BoardUrl.read(parsed, SENTINEL_PORT if sentinels else PORT, OPTIONS)
    if not sentinels and len(url.hosts) != 1:
        raise InvalidInput(f"the board {url.name} has to name one host, or a sentinel=NAME")
    if url.path and not url.path.isdecimal():
        raise InvalidInput(f"the path of board {url.name} has to be the number of a database")
    options = url.options
    timeout = options.get("timeout", CALL_SECONDS)
    limits = {"socket_timeout": timeout, "socket_connect_timeout": timeout}
    tls = _tls(url) if parsed.scheme == "rediss" else {}
    common: dict[str, Any] = {
        "db": int(url.path or 0),
        "username": url.user,
        "password": url.password,
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "protocol": 2,  # servers before Redis 6 do not speak 3, and its jobs need nothing of it
        "retry": Retry(NoBackoff(), 1),  # a connection that has died in the pool
        **limits,
        **tls,
    }

    def make() -> RedisBoard:
        if not sentinels:
            ((host, port),) = url.hosts
            client = Redis(host=host, port=port, **common)
        else:
            asked = {
                **limits,
                **(tls if options.get("sentinel_tls", bool(tls)) else {}),
                "username": options.get("sentinel_user"),
                "password": options.get("sentinel_password"),
            }
            make_sentinel: Any = Sentinel  # redis-py has types, but not for this
            found = make_sentinel(list(url.hosts), sentinel_kwargs=asked, **common)
            client = found.master_for(options["sentinel"])
        return RedisBoard(options.get("namespace", "volflow"), client)

    return url.name, make


def _tls(url: BoardUrl) -> dict[str, Any]:
    options = url.options
    return {
        "ssl": True,
        "ssl_ca_certs": options.get("ca"),
        "ssl_certfile": options.get("certfile"),
        "ssl_keyfile": options.get("keyfile"),
        "ssl_cert_reqs": "required" if options.get("verify", True) else "none",
        "ssl_check_hostname": options.get("verify", True),
    }
