"""Fixtures for tests of power loss."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.crash.disks import build_recorder, scratch
from tests.support.crash.server import SequenceServer, serving


@pytest.fixture(scope="module")
def recording_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the library that records."""
    return build_recorder(tmp_path_factory.mktemp("recorder"))


@pytest.fixture(scope="module")
def recorder(recording_library: Path) -> Iterator[SequenceServer]:
    """Return a server that runs sequences, and can record them."""
    with serving(recording_library) as server:
        yield server


@pytest.fixture
def memory() -> Iterator[Path]:
    """Return a folder where many small files are cheap."""
    with scratch() as folder:
        yield Path(folder).resolve()
