"""Tests of the server engine need a real OPA: the one that GUARDRAIL_OPA names, or the one on
PATH.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.opa_server import STARTER, Opa, bundle_file, served


@pytest.fixture(scope="session")
def opa_program() -> Path:
    """The program. Where there is none the test is NOT RUN, and with CI=true that is a failure
    (tests/conftest.py).
    """
    found = os.environ.get("GUARDRAIL_OPA") or shutil.which("opa")
    if not found or not os.access(found, os.X_OK):
        pytest.skip("NOT RUN: no opa (set GUARDRAIL_OPA, or put it on PATH)")
    return Path(found)


@pytest.fixture(scope="session")
def starter(
    opa_program: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Opa, Path]]:
    """A server with the bundle of the starter policies, and the policies."""
    folder = tmp_path_factory.mktemp("starter")
    archive, _ = bundle_file(folder / "bundle.tar.gz", [STARTER])
    with served(opa_program, folder, "--bundle", str(archive)) as server:
        yield server, STARTER
