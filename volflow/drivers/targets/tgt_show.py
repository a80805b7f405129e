"""What ``tgtadm --op show --mode target`` says, as records.

The specimen is tgt 1.0.85's::

    Target 1181264906: iqn.2010-10.org.openstack:volume-6f0c8d3e-....
        System information:
            Driver: iscsi
            State: ready
            Nop interval: 5
            Nop count: 2
        I_T nexus information:
            I_T nexus: 5
                Initiator: iqn.1994-05.com.example:h1 alias: none
                Connection: 0
                    IP Address: 127.0.0.1
        LUN information:
            LUN: 1
                Type: disk
                SCSI ID: 6f0c8d3e-....
                SCSI SN: 6f0c8d3e-....
                Size: 67 MB, Block size: 512
                Online: Yes
                Readonly: No
                Backing store path: /var/lib/volflow/images/6f0c8d3e-.....raw
        Account information:
            Jd7pVXsRqmAxkWb2eTnC
        ACL information:
            iqn.1994-05.com.example:h1

An initiator chooses its alias, a line feed in it included. A forged section or target thus comes
before the real one, so that anything that is told twice is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from volflow.exceptions import DriverError

_TARGET = re.compile(r"Target (\d+): (\S+)")
_SECTION = re.compile(r" {4}(\S.*) information:")
_SESSION = re.compile(
    r"^ {8}I_T nexus: (\d+)\n {12}Initiator: (\S+) alias: .*\n(?: {12}Connection: (\d+))?",
    re.MULTILINE,
)
_CONNECTION = re.compile(
    r"^Session: (\d+)\n {4}Connection: (\d+)\n {8}Initiator: (\S+)", re.MULTILINE
)
_LUN = re.compile(r"^ {8}LUN: (\d+)\n((?: {12}.*\n?)*)", re.MULTILINE)
_FIELD = re.compile(r"^ {12}(SCSI ID|SCSI SN|Readonly|Backing store path): (.*)$", re.MULTILINE)
_ITEM = " " * 8
"""What an item of a section begins with: nearly all of the 25 lines of a target."""
_NOP = re.compile(r"^ {8}Nop (interval|count): (\d+)$", re.MULTILINE)
_OUTGOING = " (outgoing)"


@dataclass(frozen=True, slots=True)
class Session:
    """One connection of an initiator that is logged in; ``sid`` and ``cid`` are tgtd's."""

    sid: int
    cid: int
    initiator: str


@dataclass(frozen=True, slots=True)
class Lun:
    """One logical unit; ``path`` is None where nothing is behind it."""

    scsi_id: str
    scsi_sn: str
    readonly: bool
    path: str | None


@dataclass(frozen=True, slots=True)
class ShownTarget:
    """One target.

    :ivar nops: the seconds between two pings of an initiator, and how many it may leave
        unanswered; tgtd shows neither where it sends none.
    :ivar accounts: users that may log in, in the order in which they were bound.
    :ivar acl: initiator names and addresses.
    """

    tid: int
    iqn: str
    nops: tuple[int, int]
    sessions: tuple[Session, ...]
    luns: dict[int, Lun]
    accounts: tuple[str, ...]
    acl: tuple[str, ...]


def parse_targets(text: str) -> tuple[ShownTarget, ...]:
    """Read all targets.

    :raises DriverError: something is told twice.
    """
    targets = tuple(_target(*parts) for parts in _blocks(text))
    for what in ("tid", "iqn"):
        seen = [getattr(target, what) for target in targets]
        if len(set(seen)) != len(seen):
            raise _forged(f"the same {what}")
    return targets


def parse_connections(text: str) -> tuple[Session, ...]:
    """Read ``tgtadm --op show --mode conn --tid N``, which has no alias in it.

    The specimen::

        Session: 5
            Connection: 0
                Initiator: iqn.1994-05.com.example:h1
                IP Address: 127.0.0.1
    """
    return tuple(Session(int(m[1]), int(m[2]), m[3]) for m in _CONNECTION.finditer(text))


def parse_accounts(text: str) -> tuple[str, ...]:
    """Read ``tgtadm --op show --mode account``, which says nothing where there are none.

    The specimen::

        Account list:
            Jd7pVXsRqmAxkWb2eTnC
    """
    return tuple(line.strip() for line in text.splitlines()[1:])


def parse_portals(text: str) -> tuple[str, ...]:
    """Read ``tgtadm --op show --mode portal``: ``Portal: 127.0.0.1:3260,1``."""
    return tuple(re.findall(r"^Portal: (\S+),\d+$", text, re.MULTILINE))


def _blocks(text: str) -> Iterator[tuple[int, str, list[str]]]:
    tid, iqn, lines = 0, "", list[str]()
    for line in text.split("\n"):
        if line.startswith("Target ") and (found := _TARGET.fullmatch(line)):
            if iqn:
                yield tid, iqn, lines
            tid, iqn, lines = int(found[1]), found[2], []
        else:
            lines.append(line)
    if iqn:
        yield tid, iqn, lines


def _target(tid: int, iqn: str, lines: list[str]) -> ShownTarget:
    sections: dict[str, list[str]] = {}
    current: list[str] = []
    for line in lines:
        if not line.startswith(_ITEM) and (found := _SECTION.fullmatch(line)):
            if found[1] in sections:
                raise _forged(f"two sections {found[1]!r} in target {iqn}")
            current = sections[found[1]] = []
        else:
            current.append(line)
    accounts = _items(sections.get("Account", []))
    nops = dict(_NOP.findall("\n".join(sections.get("System", []))))
    return ShownTarget(
        tid,
        iqn,
        (int(nops.get("interval", 0)), int(nops.get("count", 0))),
        tuple(
            Session(int(m[1]), int(m[3] or 0), m[2])
            for m in _SESSION.finditer("\n".join(sections.get("I_T nexus", [])))
        ),
        {int(m[1]): _lun(m[2]) for m in _LUN.finditer("\n".join(sections.get("LUN", [])))},
        tuple(name for name in accounts if not name.endswith(_OUTGOING)),
        _items(sections.get("ACL", [])),
    )


def _lun(text: str) -> Lun:
    told = dict(_FIELD.findall(text))
    path = told.get("Backing store path", "None")
    return Lun(
        told.get("SCSI ID", ""),
        told.get("SCSI SN", ""),
        told.get("Readonly") == "Yes",
        None if path == "None" else path,
    )


def _items(lines: list[str]) -> tuple[str, ...]:
    return tuple(line.strip() for line in lines if line.strip())


def _forged(what: str) -> DriverError:
    return DriverError(
        f"tgtd shows {what}, so that nothing it shows can be relied on; look for an initiator "
        f"with a line feed in its alias in 'tgtadm --op show --mode target'"
    )
