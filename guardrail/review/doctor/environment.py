"""Checks guardrail's environment: Python, the embedded engine, SQLite and environment variables."""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Mapping

from guardrail.review.doctor.result import Check, CheckState

__all__ = ["engine_version", "python_version", "sqlite_version", "tracing"]


def python_version() -> Check:
    """Report Python's version. The package can't be installed on versions older than 3.11."""
    return Check("python", CheckState.OK, ".".join(str(part) for part in sys.version_info[:3]))


def engine_version() -> Check:
    """Check that exactly the required version of the embedded engine is installed."""
    from guardrail.policy.embedded.process import ENGINE_VERSION as wanted  # noqa: N811

    try:
        found = importlib.metadata.version("gordon-to-regorus")
    except importlib.metadata.PackageNotFoundError:
        return Check(
            "regorus",
            CheckState.FAIL,
            "the policy engine is not installed",
            "pip install guardrail-ledger",
        )
    if found != wanted:
        return Check(
            "regorus",
            CheckState.FAIL,
            f"{found}; exactly {wanted} is needed",
            f"pip install gordon-to-regorus=={wanted}",
        )
    return Check("regorus", CheckState.OK, found)


def sqlite_version() -> Check:
    """Check SQLite's version, and report a known bug in it."""
    import sqlite3  # imported only for its version, because only the ledger opens databases

    version = sqlite3.sqlite_version_info
    found = sqlite3.sqlite_version
    if version < (3, 37, 0):
        return Check(
            "sqlite",
            CheckState.FAIL,
            f"{found}; 3.37 or newer is needed",
            "use a Python with a newer SQLite",
        )
    if version < (3, 51, 3) and version not in {(3, 44, 6), (3, 50, 7)}:
        return Check(
            "sqlite",
            CheckState.OK,
            f"{found}, which has the WAL-reset bug; guardrail's file lock protects its own writers "
            "from it, but no other program may write to the ledger",
        )
    return Check("sqlite", CheckState.OK, found)


def tracing(environment: Mapping[str, str]) -> Check:
    """Check that no tracing service receives tool inputs before they are redacted."""
    on = _first(environment, "TRACING_V2") or _first(environment, "TRACING")
    if on is None or environment[on].strip().lower() not in _ON:
        return Check("tracing", CheckState.OK, "no tracing service sees unredacted tool inputs")
    names = [_first(environment, name) for name in ("HIDE_INPUTS", "HIDE_OUTPUTS")]
    if all(name is not None and environment[name] == "true" for name in names):
        return Check("tracing", CheckState.OK, f"{on} is on, with inputs and outputs hidden")
    return Check(
        "tracing",
        CheckState.NOTE,
        f"{on} is on: LangChain sends tool inputs to a service before guardrail redacts them",
        f"unset {on}, or set LANGSMITH_HIDE_INPUTS=true and LANGSMITH_HIDE_OUTPUTS=true",
    )


_ON = frozenset({"1", "true"})
"""Values that enable tracing. LangSmith accepts only ``true``, but earlier versions of LangChain
accepted more.
"""


def _first(environment: Mapping[str, str], name: str) -> str | None:
    """Return the variable that LangSmith reads for *name*: the first one that is not empty."""
    names = (f"LANGSMITH_{name}", f"LANGCHAIN_{name}")
    return next((item for item in names if environment.get(item, "").strip()), None)
