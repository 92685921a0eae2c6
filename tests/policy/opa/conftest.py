"""A server that many tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.opa_server import STARTER, Opa, bundle_file, served


@pytest.fixture(scope="session")
def starter(
    opa_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Opa, Path]]:
    """A server with the bundle of the starter policies, and the policies."""
    folder = tmp_path_factory.mktemp("starter")
    archive, _ = bundle_file(folder / "bundle.tar.gz", [STARTER])
    with served(opa_program, folder, "--bundle", str(archive)) as server:
        yield server, STARTER
