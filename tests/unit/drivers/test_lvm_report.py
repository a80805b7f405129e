"""volflow.drivers.lvm_report: what lvs and vgs of LVM 2.03.16 wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from volflow.drivers.lvm_report import parse_group, parse_volume
from volflow.exceptions import DriverError

THICK = """  {
      "report": [
          {
              "lv": [
                  {"lv_name":"volume-a", "lv_size":"1073741824", "lv_attr":"-wi-a-----", \
"lv_path":"/dev/lab/volume-a", "lv_tags":"theirs,volflow", "pool_lv":"", "zero":"unknown", \
"vg_extent_size":"4194304"}
              ]
          }
      ]
  }
"""
THIN = THICK.replace("-wi-a-----", "Vwi---tz--").replace('"pool_lv":""', '"pool_lv":"pool"')
POOL = (
    THICK.replace("-wi-a-----", "twi-aotz--")
    .replace('"lv_path":"/dev/lab/volume-a"', '"lv_path":""')
    .replace("unknown", "zero")
)
GROUP = """  {
      "report": [
          {
              "vg": [
                  {"vg_name":"lab", "vg_attr":"wz--n-", "vg_extent_size":"4194304", \
"vg_free":"876609536"}
              ]
          }
      ]
  }
"""


def test_a_thick_volume_is_read():
    """When lvs shows a thick volume, its size, path and tags are known."""
    found = parse_volume(THICK)

    assert (found.name, found.size, found.extent) == ("volume-a", 1 << 30, 4 << 20)
    assert (found.path, found.tags) == (Path("/dev/lab/volume-a"), ("theirs", "volflow"))
    assert found.is_active
    assert not found.is_thin
    assert not found.is_origin
    assert not found.is_thin_pool


def test_a_thin_volume_and_its_pool_are_told_apart():
    """When the first attribute says so, a volume is thin, or a pool of thin ones."""
    thin, pool = parse_volume(THIN), parse_volume(POOL)

    assert (thin.is_thin, thin.is_active, thin.pool) == (True, False, "pool")
    assert (pool.is_thin_pool, pool.zeroes, pool.is_thin) == (True, True, False)


@pytest.mark.parametrize("attributes", ["owi-a-s---", "Owi-a-----"])
def test_an_origin_of_snapshots_is_seen(attributes):
    """When snapshots depend on a volume, it says so, merging ones included."""
    assert parse_volume(THICK.replace("-wi-a-----", attributes)).is_origin


def test_a_volume_without_tags_has_none():
    """When the tags are empty, there is no empty tag."""
    assert parse_volume(THICK.replace("theirs,volflow", "")).tags == ()


def test_a_group_is_read():
    """When vgs shows a group, extent and free space are known, and whether it may be written."""
    found = parse_group(GROUP)

    assert (found.name, found.extent, found.free) == ("lab", 4 << 20, 876609536)
    assert found.is_writable
    assert not parse_group(GROUP.replace("wz--n-", "rz--n-")).is_writable


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"report": []}', '{"report": [{"lv": []}]}', THICK.replace('"1073741824"', '"x"')],
)
def test_what_cannot_be_read_is_a_driver_error(text):
    """When LVM reports something else, the error shows what."""
    with pytest.raises(DriverError, match="reports what cannot be read"):
        parse_volume(text)


def test_a_group_that_cannot_be_read_is_a_driver_error():
    """When a number is none, the error shows the report."""
    with pytest.raises(DriverError, match="vgs reports what cannot be read"):
        parse_group(GROUP.replace('"876609536"', '""'))
