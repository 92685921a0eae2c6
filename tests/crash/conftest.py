"""Fixtures for tests of power loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.crash.disks import build_recorder, scratch


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the library that records."""
    return build_recorder(tmp_path_factory.mktemp("recorder"))


@pytest.fixture
def memory() -> Iterator[Path]:
    """Return a folder where many small files are cheap."""
    with scratch() as folder:
        yield Path(folder).resolve()
