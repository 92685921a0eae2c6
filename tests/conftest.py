"""Rules and fixtures for all tests."""

from __future__ import annotations

import os
import signal
import tempfile
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from tests.support.ledgers import Shim

# A machine that is ten times slower has the same answers.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

# A shell that starts a command in the background lets it ignore Ctrl-C. Tests of Ctrl-C send it.
signal.signal(signal.SIGINT, signal.default_int_handler)

_MAY_BE_SKIPPED = (
    # Corpora are measured where they are at hand, and the report says so where they are not.
    "NOT RUN: GUARDRAIL_CORPORA",
    # It is large, and must not share packages with this project.
    "NOT RUN: GUARDRAIL_LITELLM",
    # No package registry has it.
    "NOT RUN: GUARDRAIL_REGAL",
    # A container may forbid it; the same fault is then made with a limit on file size.
    "mounting is not allowed here",
    # Nobody else can act as two users; as root, these tests run.
    "needs root",
    # A container may have IPv4 alone.
    "this machine has no ::1",
)


def pytest_configure(config: pytest.Config) -> None:
    """Let clients trust one authority, here and in every process that tests start.

    Each client of an HTTP library reads the system's certificates, which takes 20 to 60 ms. Tests
    make hundreds of clients, and connect to nothing outside this machine.
    """
    if hasattr(config, "workerinput"):
        return  # the process that started this one has done it
    from tests.support.opa_server import certificates

    folder = tempfile.TemporaryDirectory(prefix="guardrail-tests-")
    config.add_cleanup(folder.cleanup)
    os.environ["SSL_CERT_FILE"] = str(certificates(Path(folder.name)).ca)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI=true, a test that skips because a real part is missing has failed."""
    report = yield
    if (
        report.skipped
        and os.environ.get("CI", "").lower() == "true"
        and not hasattr(report, "wasxfail")
    ):
        reason = str(report.longrepr)
        if not any(words in reason for words in _MAY_BE_SKIPPED):
            report.outcome = "failed"
            report.longrepr = f"skipped although CI=true: {reason}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print which tests did not run, and why, and the figures that tests measured
    (``record_property("figure", ...)``).
    """
    reasons: Counter[str] = Counter()
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason.removeprefix("Skipped: ")] += 1
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"{count} skipped: {reason}", yellow=True)
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in report.user_properties:
                if name == "figure":
                    terminalreporter.write_line(str(value))


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Shim:
    """Return a library that makes syncs and writes fail on demand."""
    from tests.support.ledgers import Shim

    return Shim(tmp_path_factory.mktemp("shim"))
