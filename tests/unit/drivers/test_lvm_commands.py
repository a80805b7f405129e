"""volflow.drivers.lvm_commands: messages and their meaning, without LVM."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from tests.unit.drivers.test_lvm_report import GROUP, THICK
from volflow.drivers import command
from volflow.drivers.lvm_commands import REFUSALS, Lvm, LvmRefused, Reason, reason_of
from volflow.exceptions import DriverError, TransientDriverError


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.specimen)
def test_every_specimen_has_its_meaning(refusal):
    """When LVM prints a specimen, it is understood by that row and by no other meaning."""
    assert reason_of(refusal.specimen) is refusal.reason
    assert refusal.pattern.search(refusal.specimen)


def test_an_unknown_message_is_no_known_reason():
    """When LVM says something new, nothing is read into it."""
    assert reason_of("The moon is full.") is Reason.UNKNOWN


def test_a_refusal_survives_pickling():
    """When a refusal crosses processes, its reason does too."""
    again = pickle.loads(pickle.dumps(LvmRefused("full", Reason.FULL)))

    assert (str(again), again.reason) == ("full", Reason.FULL)


class Commands:
    """Answers commands, and writes down what was run."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[list[str]] = []
        self.options: list[dict[str, Any]] = []
        self.stdout = ""
        self.error: Exception | None = None
        monkeypatch.setattr(command, "run", self.run)

    def run(self, argv: Any, **options: Any) -> command.Completed:
        self.calls.append(list(argv))
        self.options.append(options)
        if self.error is not None:
            raise self.error
        return command.Completed(self.stdout, "")

    def refuse(self, stderr: str) -> None:
        self.error = command.CommandFailed("failed", 5, stderr)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(monkeypatch)


def test_each_method_is_one_command(commands):
    """When LVM is told something, it asks nothing back, and units are bytes."""
    lvm = Lvm("vg", ("/dev/sdb", "/dev/sdc"), 7.0, 9.0)
    commands.stdout = THICK
    lvm.volume("volume-a")
    commands.stdout = GROUP
    lvm.read_group()
    lvm.new_thick("volume-a", 1 << 30)
    lvm.new_thin("volume-a", 1 << 30, "pool")
    lvm.activate("volume-a")
    lvm.remove("volume-a")
    lvm.wipe(Path("/dev/vg/volume-a"), "--zeroout")

    devices = "--devices /dev/sdb --devices /dev/sdc"
    report = f"{devices} --reportformat json --units b --nosuffix --options"
    new = f"lvcreate {devices} --yes --addtag volflow"
    assert [" ".join(call) for call in commands.calls] == [
        (
            f"lvs {report} lv_name,lv_size,lv_attr,lv_path,lv_tags,pool_lv,zero,vg_extent_size "
            "vg/volume-a"
        ),
        f"vgs {report} vg_name,vg_attr,vg_extent_size,vg_free vg",
        f"{new} --wipesignatures y --zero y --size 1073741824b --name volume-a vg",
        f"{new} --thinpool vg/pool --virtualsize 1073741824b --name volume-a",
        f"lvchange {devices} --activate y vg/volume-a",
        f"lvremove {devices} --yes vg/volume-a",
        "blkdiscard --zeroout /dev/vg/volume-a",
    ]
    assert [options["timeout"] for options in commands.options] == [7.0] * 6 + [9.0]
    assert {options["env"]["LVM_SUPPRESS_FD_WARNINGS"] for options in commands.options} == {"1"}


def test_a_missing_volume_is_none_and_a_missing_group_is_not(commands):
    """When lvs finds no volume there is none; when it finds no group, something is wrong."""
    commands.refuse('  Failed to find logical volume "vg/volume-a"\n')
    assert Lvm("vg").volume("volume-a") is None

    commands.refuse('  Volume group "vg" not found\n  Cannot process volume group vg\n')
    with pytest.raises(LvmRefused, match="there is no such volume group") as caught:
        Lvm("vg").volume("volume-a")
    assert caught.value.reason is Reason.NO_GROUP
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("message", ["Logical volume vg/x in use.", "Can't get lock for vg"])
def test_what_passes_by_itself_is_transient(commands, message):
    """When a device or LVM is busy, the call may be repeated."""
    commands.refuse(message)
    with pytest.raises(TransientDriverError, match="lvremove"):
        Lvm("vg").remove("x")


def test_missing_tools_are_named(commands):
    """When LVM is not installed, the error says what to install."""
    commands.error = command.CommandMissing("the command lvs is not installed")
    with pytest.raises(DriverError, match=r"lvs is not installed: install .*lvm2"):
        Lvm("vg").volume("x")
