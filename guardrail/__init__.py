"""guardrail: policy decisions and a tamper-evident ledger between LLM agents and their tools.

::

    from guardrail import Guard

    guard = Guard.open(policies="policies")  # its ledger is audit/ledger.db
    with guard.session(principal="alice@example.com", agent="support-bot"):
        result = guard.call("send_email", {"to": "bob@example.com"}, run=send_email)

The names below are resolved on first use, so importing one of them does not load the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guardrail.call.admission import Admission
    from guardrail.call.scope import SessionScope
    from guardrail.core.call_context import CallContext
    from guardrail.core.redaction.detector import Detector, SensitiveSpan
    from guardrail.core.schema.json_arguments import JsonArguments
    from guardrail.core.types import Agent, Principal, Status
    from guardrail.core.version import __version__
    from guardrail.errors import (
        ApprovalRequired,
        ConfigError,
        Denied,
        GuardrailError,
        LedgerError,
        PolicyError,
        ToolTimeoutError,
        UsageError,
    )
    from guardrail.guard import Guard

__all__ = [
    "Admission",
    "Agent",
    "ApprovalRequired",
    "CallContext",
    "ConfigError",
    "Denied",
    "Detector",
    "Guard",
    "GuardrailError",
    "JsonArguments",
    "LedgerError",
    "PolicyError",
    "Principal",
    "SensitiveSpan",
    "SessionScope",
    "Status",
    "ToolTimeoutError",
    "UsageError",
    "__version__",
]

_HOMES = {
    "Admission": "guardrail.call.admission",
    "Agent": "guardrail.core.types",
    "CallContext": "guardrail.core.call_context",
    "Detector": "guardrail.core.redaction.detector",
    "Guard": "guardrail.guard",
    "JsonArguments": "guardrail.core.schema.json_arguments",
    "Principal": "guardrail.core.types",
    "SensitiveSpan": "guardrail.core.redaction.detector",
    "SessionScope": "guardrail.call.scope",
    "Status": "guardrail.core.types",
    "__version__": "guardrail.core.version",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'guardrail' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES.get(name, "guardrail.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
