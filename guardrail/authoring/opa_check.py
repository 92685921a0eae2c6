"""Checks the policies with the ``opa`` program, in strict mode and with the input schema."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from guardrail.authoring.opa_program import OpaProgram
from guardrail.errors import Finding
from guardrail.policy.rego.purity import capabilities_file
from guardrail.policy.rego.syntax_hints import syntax_hint
from guardrail.policy.sources import ModuleSource, installed_folder

__all__ = ["ask_opa", "repeats"]

_UNSAFE = re.compile(r"var (\w{1,64}) is unsafe")
_CONFLICT = re.compile(r"(?:conflicting|multiple default) rules data\.(?:[\w.]*\.)?(\w+)")
_UNDEFINED = "undefined function "
_FUNCTIONS = frozenset({"builtin", "impure-builtin", "unknown-rule"})
INPUT_SCHEMA = ("opa", "schemas", "input.json")


def ask_opa(program: OpaProgram, sources: Iterable[ModuleSource]) -> list[Finding]:
    """Return the findings of ``opa check --strict`` for *sources*, with the authors' files and
    lines.

    The sources are written to a temporary folder under generated names, so that OPA does not
    interpret the authors' file names.
    """
    with tempfile.TemporaryDirectory(prefix="guardrail-opa-") as made:
        folder = Path(made)
        names: dict[str, str] = {}
        texts: dict[str, str] = {}
        for index, source in enumerate(sources):
            suffix = "_test.rego" if source.key.endswith("_test.rego") else ".rego"
            name = f"{index:04}{suffix}"
            (folder / name).write_text(source.text, encoding="utf-8")
            names[name], texts[source.name] = source.name, source.text
        found = program.check(
            folder,
            names,
            capabilities=capabilities_file(),
            schema=installed_folder().joinpath(*INPUT_SCHEMA),
        )
    return [_with_hint(finding, texts) for finding in found]


def _with_hint(finding: Finding, texts: dict[str, str]) -> Finding:
    if finding.code != "rego_parse_error" or finding.hint:
        return finding
    text = texts.get(finding.file, "")
    hint = syntax_hint(finding.message, text, finding.line, finding.file)
    return replace(finding, hint=hint)


def repeats(finding: Finding, own: Sequence[Finding]) -> bool:
    """Return True if OPA's *finding* repeats a finding in *own*. *own* are the embedded engine's
    findings, which include a hint.
    """
    conflict = _CONFLICT.match(finding.message)
    if conflict is not None:
        return any(
            other.code in {"mixed-rule", "set-form"} and other.message.startswith(f"{conflict[1]} ")
            for other in own
        )
    here = [other for other in own if (other.file, other.line) == (finding.file, finding.line)]
    unsafe = _UNSAFE.match(finding.message)
    if unsafe is not None:
        return any(f"undefined variable `{unsafe[1]}`" in other.message for other in here)
    if finding.message.startswith(_UNDEFINED):
        return any(other.code in _FUNCTIONS for other in here)
    return finding.code == "rego_parse_error" and any(
        other.code == "syntax" and other.hint for other in here
    )
