"""A command line to run in tests, in this process and as a real one, and a ledger to read."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support.command_line import Ran, build, command, environment


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run a command line in this process, through the border that turns exceptions into exit
    codes.
    """
    for name in (
        "NO_COLOR",
        "COLUMNS",
        "GUARDRAIL_LEDGER",
        "GUARDRAIL_CONFIG",
        "GUARDRAIL_POLICIES",
        "GUARDRAIL_DEBUG",
        "GUARDRAIL_KEYS",
        "LANGSMITH_TRACING",
        "LANGCHAIN_TRACING_V2",
    ):
        monkeypatch.delenv(name, raising=False)

    def call(*args: str | Path) -> Ran:
        from guardrail.cli.app import run

        capfd.readouterr()
        code = run([str(arg) for arg in args])
        sys.stdout.flush()
        sys.stderr.flush()
        captured = capfd.readouterr()
        return Ran(int(code), captured.out, captured.err)

    return call


@pytest.fixture
def process() -> Callable[..., Ran]:
    """Run a command line as a process of its own."""

    def call(
        *args: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> Ran:
        done = subprocess.run(
            command(*args),
            cwd=cwd,
            env=environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture(scope="session")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One ledger for all tests that only read."""
    return build(tmp_path_factory.mktemp("ledger") / "audit.db")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A ledger with its keys, which a test may change."""
    return build(tmp_path / "audit.db")
