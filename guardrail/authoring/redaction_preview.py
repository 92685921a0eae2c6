"""Shows how values would be recorded, with the rules that removed parts of them, for people who
write schemas and settings.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from guardrail.core.redaction.limits import Limits
from guardrail.core.redaction.normal_forms import NORMAL_FORM
from guardrail.core.redaction.redactor import Inspection, Redactor
from guardrail.core.redaction.rules import BUILT_IN, Rules
from guardrail.core.redaction.session_memory import Memory
from guardrail.core.schema.compiled import CompiledSchema
from guardrail.core.schema.snapshot import snapshot
from guardrail.core.types import Json
from guardrail.errors import ArgumentsError, RedactionError
from guardrail.keys.tenant_keys import ClassTokens, TenantKeys
from guardrail.system import cpu_meter

__all__ = ["KEY_ID", "RedactionPreview", "preview"]

KEY_ID = "sample"
"""Key id in the tokens of a preview. Their key is random and is not stored."""


@dataclass(frozen=True, slots=True)
class RedactionPreview:
    """How one value would be recorded."""

    recorded: Json
    """The value without its sensitive parts, or null if ``refused`` is set."""
    removed: dict[str, list[str]]
    """The class and then the rules of each removed value, by RFC 6901 pointer."""
    truncated: bool
    """True if a part exceeds a limit, so that only its kind, size and token are recorded."""
    refused: str = ""
    """The reason why a guard would deny a call with these arguments and record none of them, or
    an empty string.
    """
    unfit: str = ""
    """The reason why the arguments do not match the tool's schema, or an empty string. Such a call
    is denied, and its view is minimal.
    """


def preview(
    values: Iterable[Json],
    *,
    rules: Rules = BUILT_IN,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    schema: CompiledSchema | None = None,
    declared: bool = True,
) -> Iterator[RedactionPreview]:
    """Yield a preview of each of *values*, as if they were passed in one session: later values do
    not show what the session remembers from earlier ones.

    An object counts as the arguments of a call. If *declared* is False, its tool is not declared,
    so the view is minimal. *schema* is the tool's schema, and *rules* find the
    sensitive values within *limits*.
    """
    tokens = ClassTokens(os.urandom(32), KEY_ID, NORMAL_FORM)
    redactor = Redactor(
        token=tokens.token,
        mark=TenantKeys.mark,
        limits=limits,
        meter=cpu_meter.current,
        rules=rules,
    )
    memory = Memory()
    for value in values:
        yield _preview(redactor, memory, value, schema, declared=declared)


def _preview(
    redactor: Redactor,
    memory: Memory,
    value: Json,
    schema: CompiledSchema | None,
    *,
    declared: bool,
) -> RedactionPreview:
    unfit = ""
    try:
        if not isinstance(value, dict):
            view = redactor.value(value, memory)
        else:
            args: Mapping[str, Any] = value
            if schema is not None:
                try:
                    args = snapshot(schema, value).args
                except ArgumentsError as error:
                    unfit = error.message
            view = _inspected(redactor, memory, args, schema, declared, unfit).view()
    except RedactionError as error:
        return RedactionPreview(None, {}, truncated=False, refused=error.message)
    return RedactionPreview(view.value, view.removed, truncated=view.truncated, unfit=unfit)  # type: ignore[arg-type]


def _inspected(  # noqa: PLR0917 - the arguments of ``_preview``
    redactor: Redactor,
    memory: Memory,
    args: Mapping[str, Any],
    schema: CompiledSchema | None,
    declared: bool,
    unfit: str,
) -> Inspection:
    return redactor.inspect(
        args,
        schema=None if schema is None else schema.schema,
        declared=declared and not unfit,
        memory=memory,
        minimal="unfit" if unfit else "undeclared",
    )
