"""What the targets export."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "volume.raw"
    path.write_bytes(bytes(4096))
    return path
