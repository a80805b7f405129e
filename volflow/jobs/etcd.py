"""The board on etcd: TaskFlow's, with a watch of its own that outlives the server."""

from __future__ import annotations

import json
import logging
import socket
import threading
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection
from contextlib import suppress
from math import ceil
from typing import Any
from urllib.parse import SplitResult

import requests
from etcd3gw import Etcd3Client, Lease
from etcd3gw.exceptions import Etcd3Exception
from taskflow.exceptions import JobFailure
from taskflow.jobs.backends.impl_etcd import EtcdJob, EtcdJobBoard

from volflow.exceptions import InvalidInput
from volflow.jobs.urls import BoardUrl, file, flag, seconds

LOG = logging.getLogger(__name__)

PORT = 2379
CALL_SECONDS = 5.0
SILENCE_SECONDS = 10.0
"""How long the watch hears nothing before it asks anew: an end of its connection may be silent."""

RETRY_SECONDS = 1.0
OPTIONS: dict[str, Callable[[str], Any]] = {
    "timeout": seconds,
    "tls": flag,
    "ca": file,
    "certfile": file,
    "keyfile": file,
    "api_path": str,
}


class EtcdBoard(EtcdJobBoard):
    """Jobs are keys below a prefix; a claim is a key with a lease of etcd's."""

    ROOT_PATH = ""

    def __init__(self, prefix: str, client: Etcd3Client) -> None:
        super().__init__("volflow", {"path": prefix}, client=client)
        self._watched = _Watch(client, f"{self._root_path}/{self.JOB_PREFIX}", self._changed)
        self._wakers: list[Callable[[], None]] = []

    @property
    def wakes(self) -> bool:
        """True while the watch hears."""
        return self._watched.hears

    def connect(self) -> None:
        """Check that the server answers; a connection is made for each call."""
        if not self._speaks():
            raise JobFailure("it is an etcd of another version, or none: see api_path")
        self._watched.begin()

    def _speaks(self) -> bool:
        """False where the server answers, and has nothing where its interface should be."""
        try:
            self._client.status()
        except Etcd3Exception as e:
            if "Not Found" in e.args:
                return False
            raise
        return True

    def leave(self) -> None:
        """End the watch, and close all connections."""
        self._watched.stop()
        self._client.session.close()

    def listed(self) -> list[EtcdJob]:
        """All jobs as the server has them now."""
        return list(self._fetch_jobs(ensure_fresh=True))

    def known(self, operation_ids: Collection[str]) -> list[EtcdJob]:
        """All jobs, as the watch has told."""
        return list(self._fetch_jobs(ensure_fresh=not self.wakes))

    def take(self, job: EtcdJob, who: str, seconds: float) -> None:
        """Claim a job for so long, in whole seconds."""
        self.claim(job, who, max(1, ceil(seconds)))

    def keep(self, job: EtcdJob, who: str, seconds: float) -> bool:
        """Let the claim's lease begin again; a job remembers a lease that may be another one's."""
        found = self.get_owner_data(job)
        if not found or found["owner"] != who:
            return False
        return Lease(found["lease_id"], self._client).refresh() > 0

    def watch(self, wake: Callable[[], None], waits: Callable[[], bool]) -> None:
        """Call ``wake`` when a key has come."""
        self._wakers.append(wake)

    def _changed(self, key: str | None, value: bytes | None) -> None:
        """Take a change that the watch heard; without a key, any may have been missed."""
        if key is None:
            self._ensure_fresh()
        elif not key.endswith(self.DATA_POSTFIX):
            return
        elif value is None:
            self._remove_job_from_cache(key.removesuffix(self.DATA_POSTFIX))
            return
        else:
            self._process_incoming_job(key.removesuffix(self.DATA_POSTFIX), value)
        for wake in self._wakers:
            wake()


class _Watch:
    """Hears the changes below a prefix, on a connection that is made again when it breaks."""

    def __init__(
        self, client: Etcd3Client, prefix: str, changed: Callable[[str | None, bytes | None], None]
    ) -> None:
        self.hears = False
        self._client = client
        self._range = (prefix.encode(), prefix.encode()[:-1] + bytes([prefix.encode()[-1] + 1]))
        self._changed = changed
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._response: requests.Response | None = None

    def begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="volflow-etcd", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        response, thread = self._response, self._thread
        if response is not None:
            with suppress(OSError, AttributeError):  # it has ended by itself
                response.raw.connection.sock.shutdown(socket.SHUT_RDWR)
        if thread is not None:
            thread.join(CALL_SECONDS + SILENCE_SECONDS)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._hear()
            except requests.exceptions.ReadTimeout:
                continue
            except Exception as e:  # noqa: BLE001 - the server is away, or answers strangely
                LOG.debug("the watch of etcd goes on later: %s", e)
                self.hears = False
                self._stopped.wait(RETRY_SECONDS)
            finally:
                self._response = None
        self.hears = False

    def _hear(self) -> None:
        first, last = (b64encode(key).decode() for key in self._range)
        request = {"create_request": {"key": first, "range_end": last}}
        with self._client.session.post(
            self._client.get_url("/watch"),
            json=request,
            stream=True,
            timeout=(CALL_SECONDS, SILENCE_SECONDS),
        ) as self._response:
            for line in self._response.iter_lines():
                if self._stopped.is_set():
                    return
                if line.strip():
                    self._take(json.loads(line)["result"])
        raise ConnectionError("the server has ended the watch")

    def _take(self, result: dict[str, Any]) -> None:
        if result.get("created"):
            self.hears = True
            self._changed(None, None)
        for event in result.get("events", ()):
            pair = event["kv"]
            gone = event.get("type") == "DELETE"
            value = None if gone else b64decode(pair.get("value", ""))
            self._changed(b64decode(pair["key"]).decode(), value)


def make_board(parsed: SplitResult) -> tuple[str, Callable[[], EtcdBoard]]:
    """The board of ``etcd://HOST:PORT/PREFIX``: its name, and what makes it.

    :raises InvalidInput: something in the URL is wrong.
    """
    url = BoardUrl.read(parsed, PORT, OPTIONS).without_account()
    if len(url.hosts) != 1:
        raise InvalidInput(f"the board {url.name} has to name one host: a member, or a balancer")
    ((host, port),) = url.hosts
    options = url.options
    tls = options.get("tls", bool({"ca", "certfile"} & options.keys()))

    def make() -> EtcdBoard:
        session = requests.Session()
        session.trust_env = False  # no proxy stands between
        session.verify = options.get("ca", True)
        if "certfile" in options:
            session.cert = (options["certfile"], options.get("keyfile", options["certfile"]))
        client = Etcd3Client(
            host=host,
            port=port,
            protocol="https" if tls else "http",
            timeout=options.get("timeout", CALL_SECONDS),
            api_path=options.get("api_path", "/v3/"),
            session=session,
        )
        return EtcdBoard(url.path or "volflow", client)

    return url.name, make
