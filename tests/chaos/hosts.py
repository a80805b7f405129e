"""Hosts: network namespaces whose only ways out lead to servers, and can be cut one by one.

A server listens on the loopback interface of the tests. A host reaches it by a wire of its own
(a veth pair) at whose near end a relay forwards to it; what a cut wire carries is lost without a
word, as behind a switch that died.
"""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.servers.relay import running_relay

NOBODY = "02:00:00:00:00:01"
"""A hardware address that neither end of a wire has."""

_COUNT = itertools.count()


class Wire:
    """Leads from a host to one server.

    :ivar address: ``IP:PORT``, where the host finds the server.
    """

    def __init__(self, namespace: str, number: int, port: int, undo: ExitStack) -> None:
        self._namespace = namespace
        self._near, self._far = f"vf{os.getpid() % 100000}n{number}", f"far{number}"
        # 198.18.0.0/15 is for tests of network devices: nobody routes it.
        start = (os.getpid() * 64 + number) * 4 % 2**17
        self._here, self._there = (_address(start + part) for part in (1, 2))
        _ip("link", "add", self._near, "type", "veth", "peer", "name", self._far)
        undo.callback(_ip, "link", "delete", self._near)
        _ip("link", "set", self._far, "netns", namespace)
        _ip("address", "add", f"{self._here}/30", "dev", self._near)
        _ip("link", "set", self._near, "up")
        self._inside("address", "add", f"{self._there}/30", "dev", self._far)
        self._inside("link", "set", self._far, "up")
        relay = undo.enter_context(running_relay(port, self._here))
        self.address = f"{self._here}:{relay.port}"

    def cut(self) -> None:
        """Lose what is sent from now on, in both directions."""
        for ip, peer, device in self._ends():
            ip("neighbour", "replace", peer, "lladdr", NOBODY, "nud", "permanent", "dev", device)

    def heal(self) -> None:
        """Carry what is sent from now on."""
        for ip, peer, device in self._ends():
            ip("neighbour", "delete", peer, "dev", device)

    def _ends(self) -> tuple[tuple, tuple]:  # type: ignore[type-arg]
        return (_ip, self._there, self._near), (self._inside, self._here, self._far)

    def _inside(self, *words: str) -> None:
        _ip("-netns", self._namespace, *words)


class Host:
    """A network namespace.

    :param servers: what it reaches: name -> port on the loopback interface of the tests.
    :ivar prefix: what a command has to begin with to run there.
    :ivar wires: by the name of the server.
    """

    def __init__(self, name: str, servers: Mapping[str, int], undo: ExitStack) -> None:
        self.name = name
        namespace = f"volflow-{os.getpid()}-{next(_COUNT)}"
        _ip("netns", "add", namespace)
        undo.callback(_ip, "netns", "delete", namespace)
        _ip("-netns", namespace, "link", "set", "lo", "up")
        self.prefix = ["ip", "netns", "exec", namespace]
        self.wires = {
            server: Wire(namespace, next(_COUNT), port, undo) for server, port in servers.items()
        }

    def seen(self, url: str, server: str, port: int) -> str:
        """A URL of a server as this host reaches it."""
        return url.replace(f"127.0.0.1:{port}", self.wires[server].address)


@contextmanager
def running_hosts(names: str, servers: Mapping[str, int]) -> Iterator[dict[str, Host]]:
    """Hosts, named by one letter each, that last as long as the block."""
    with ExitStack() as undo:
        _sweep()
        yield {name: Host(name, servers, undo) for name in names}


def _sweep() -> None:
    """Remove the namespaces of test runs that were killed; their wires go with them."""
    for path in Path("/run/netns").glob("volflow-*-*"):
        if not Path(f"/proc/{path.name.split('-')[1]}").exists():
            _ip("netns", "delete", path.name)


def _address(number: int) -> str:
    high, low = divmod(number, 256)
    return f"198.{18 + high // 256}.{high % 256}.{low}"


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()}"
