"""volflow.drivers.files: the images."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from volflow.drivers.files import GIB, Images
from volflow.exceptions import DriverError, InvalidUUID

ID = "6f0c8d3e-2f55-4c1e-9d0a-0f3a5c1b7e42"


@pytest.fixture
def images(tmp_path: Path) -> Images:
    made = Images(tmp_path / "images")
    made.prepare()
    return made


def test_an_image_has_its_size_and_takes_no_space(images: Images):
    """When an image is made, it is sparse."""
    path = images.create(ID, 3)

    assert path == images.directory.path / f"{ID}.raw"
    assert path.stat().st_size == 3 * GIB
    assert path.stat().st_blocks == 0
    assert images.path(ID) == path


def test_an_image_of_the_right_size_is_left(images: Images):
    """When it is made twice, what was written stays."""
    path = images.create(ID, 1)
    with path.open("r+b") as file:
        file.write(b"data")

    images.create(ID, 1)

    with path.open("rb") as file:
        assert file.read(4) == b"data"


def test_an_image_of_another_size_is_an_error_and_is_left(images: Images):
    """When an image of another size is there, it is neither grown nor cut."""
    path = images.create(ID, 2)

    with pytest.raises(DriverError, match=r"has 2147483648 bytes where 1 GiB are 1073741824"):
        images.create(ID, 1)

    assert path.stat().st_size == 2 * GIB


def test_delete_may_be_repeated(images: Images):
    """When it is deleted twice, the second time does nothing."""
    images.create(ID, 1)

    images.delete(ID)
    images.delete(ID)

    assert images.directory.names() == []


def test_a_missing_image_has_no_path(images: Images):
    """When an image was never made, asking for its path is a clear error."""
    with pytest.raises(DriverError, match=f"volume {ID} has no image"):
        images.path(ID)


def test_a_symbolic_link_is_no_image(images: Images, tmp_path: Path):
    """When a link has an image's name, it is neither exported, made good nor deleted."""
    outside = tmp_path / "outside"
    outside.touch()
    os.truncate(outside, GIB)
    (images.directory.path / f"{ID}.raw").symlink_to(outside)

    for call in (lambda: images.path(ID), lambda: images.create(ID, 1), lambda: images.delete(ID)):
        with pytest.raises(DriverError, match="no regular file"):
            call()

    assert outside.exists()


@pytest.mark.parametrize(
    "volume_id",
    ["", "../../etc/passwd", "volume-1", ID.upper(), f"{{{ID}}}", ID.replace("-", ""), f"{ID}\n"],
)
def test_only_a_uuid_names_an_image(images: Images, volume_id: str):
    """When an id is anything but a UUID in its usual form, no path is made of it."""
    for call in (
        lambda: images.create(volume_id, 1),
        lambda: images.path(volume_id),
        lambda: images.delete(volume_id),
    ):
        with pytest.raises(InvalidUUID):
            call()


def test_an_id_that_is_no_text_is_refused(images: Images):
    """When an id is no text at all, the error is the same."""
    with pytest.raises(InvalidUUID):
        images.path(None)  # type: ignore[arg-type]
