"""The type of a lint, and the lint codes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from guardrail.authoring.lints.walk import Event

__all__ = ["MUTATION", "Code", "Lint", "Severity", "lint"]

MUTATION = "mutation"
"""The code that ``guardrail:ignore`` uses to suppress findings of ``guardrail policy test
--mutate``.
"""


class Code(StrEnum):
    """Stable names of the lints."""

    OPTIONAL_ARGUMENT = "optional-argument"
    UNDECLARED_ARGUMENT = "undeclared-argument"
    UNDECLARED_TOOL = "undeclared-tool"
    OPTIONAL_CONTEXT = "optional-context"
    UNTYPED_COMPARISON = "untyped-comparison"
    INPUT_IN_HEAD = "input-in-head"
    NEGATED_CALL = "negated-call"
    FALLIBLE_BUILTIN = "fallible-builtin"
    NEVER_FIRES = "never-fires"
    ALWAYS_DENIES = "always-denies"
    HIDDEN_NEED = "hidden-need"
    UNKNOWN_INPUT = "unknown-input"
    UNKNOWN_DATA = "unknown-data"
    UNTESTED_RULE = "untested-rule"
    UNKNOWN_ZONE = "unknown-zone"
    WRONG_OFFSET = "wrong-offset"
    IGNORE = "ignore"
    """A suppression comment that has no effect."""
    INCOMPLETE = "incomplete"
    """The policies are too complex to be analysed completely."""


class Severity(StrEnum):
    """Severity of a lint. Anything that an engine would reject is a finding, not a lint."""

    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Lint:
    """A construct that is valid, but can let a call through or deny it for a reason other than the
    stated reason.
    """

    file: str
    line: int
    code: Code
    message: str
    hint: str
    """Suggested replacement."""
    severity: Severity = Severity.WARNING


def lint(event: Event, code: Code, message: str, hint: str) -> Lint:
    """Return a lint at the location of *event*."""
    return Lint(event.file, event.line, code, message, hint)
