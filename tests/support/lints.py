"""Policies on disk, and what the lints say of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from guardrail.authoring.check import CheckReport, check

ALLOW = 'package guardrail.policy\n\nallow contains "any" if input.resource.id == "any"\n\n'
FIRST = ALLOW.count("\n") + 1
"""The line that a body of ``policy`` begins on."""


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """Write *files* and return the folder."""
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def look(
    folder: Path, body: str, tools: Mapping[str, Mapping[str, Any]] | None = None, **files: str
) -> CheckReport:
    """Return the report on a policy with *body*, and further files (``a_rego`` for ``a.rego``)."""
    named = {name.replace("_rego", ".rego"): text for name, text in files.items()}
    return check([write(folder, {"p.rego": ALLOW + body, **named})], tools=tools)


def said(
    folder: Path, body: str, tools: Mapping[str, Mapping[str, Any]] | None = None, **files: str
) -> set[tuple[int, str]]:
    """Return line (of *body*, from 1) and code of each lint, but for those about tests and about
    the tool of ``ALLOW``.
    """
    report = look(folder, body, tools, **files)
    return {
        (lint.line - FIRST + 1, str(lint.code))
        for lint in report.lints
        if lint.code != "untested-rule"
        and (
            lint.code != "undeclared-tool" or lint.line >= FIRST or not lint.file.endswith("p.rego")
        )
    }
