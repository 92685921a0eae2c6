"""Tools for policy authors: check and test policies without a guard, a ledger or a call.

``check(paths)`` and ``run_tests(paths)`` return reports. They do not run tools or write files.
"""

from __future__ import annotations

from guardrail.authoring.check import CheckReport, check
from guardrail.authoring.test import TestReport, run_tests

__all__ = ["CheckReport", "TestReport", "check", "run_tests"]
