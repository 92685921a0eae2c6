"""Checks policies for OPA: with the ``opa`` program, and against the rules of the contract that do
not depend on an engine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from guardrail.errors import Finding, PolicyError, PolicyLoadError
from guardrail.policy.embedded.workbench import EngineRefusal, Workbench
from guardrail.policy.input_schema import ANNOTATED_MODULE, missing_schema_hint, write_schemas
from guardrail.policy.opa import bundle
from guardrail.policy.opa.program import OpaProgram, OpaTest
from guardrail.policy.rego.contract import RESERVED, ROOT, examine
from guardrail.policy.rego.purity import capabilities_file, capabilities_with_print
from guardrail.policy.rego.syntax_hints import syntax_hint
from guardrail.policy.rego.tree import parse_module
from guardrail.policy.sources import ModuleSource, PolicySet
from guardrail.system.temporary import temporary_folder

__all__ = [
    "ask_opa",
    "contract_findings",
    "opa_findings",
    "printing_findings",
    "repeats",
    "require_accepted",
    "test_results",
]

_PACKAGE = re.compile(r"^\s*package\s+([^\s#]+)", re.MULTILINE)

_UNSAFE = re.compile(r"var (\w{1,64}) is unsafe")
_CONFLICT = re.compile(r"(?:conflicting|multiple default) rules data\.(?:[\w.]*\.)?(\w+)")
_UNDEFINED = "undefined function "
_ANNOTATED = "annotations.rego"
_UNDECLARED = re.compile(r"var \w{1,64} is undeclared")
_PRINTED_EARLY = "remove print, or move it after the line that gives the variable a value"
_PRINTING = (
    "print is not available on an OPA server, which would write the values to its log",
    "remove it",
)
"""Message and hint for ``print`` in a bundle."""
_FUNCTIONS = frozenset({"builtin", "impure-builtin", "unknown-rule"})


def ask_opa(
    program: OpaProgram, sources: Iterable[ModuleSource], *, schemas: Path | None = None
) -> list[Finding]:
    """Return the findings of ``opa check --strict`` for *sources*, at the authors' files and lines.
    Raises ``ConfigError`` as ``OpaProgram.check`` does.

    The sources are written to a temporary folder under generated names, so that OPA does not
    interpret the authors' file names. *schemas* is the folder of the schemas that annotations in
    the sources may name.
    """
    with temporary_folder() as made:
        folder = made / "modules"
        folder.mkdir()
        names: dict[str, str] = {_ANNOTATED: "-"}
        texts: dict[str, str] = {}
        for index, source in enumerate(sources):
            suffix = "_test.rego" if source.key.endswith("_test.rego") else ".rego"
            name = f"{index:04}{suffix}"
            (folder / name).write_text(source.text, encoding="utf-8")
            names[name], texts[source.name] = source.name, source.text
        (folder / _ANNOTATED).write_text(ANNOTATED_MODULE, encoding="utf-8")
        write_schemas(made / "schemas", texts.values(), schemas)
        found = program.check(
            folder, names, capabilities=_with_print(made), schemas=made / "schemas"
        )
    return [_with_hint(finding, texts) for finding in found]


def _with_print(folder: Path) -> Path:
    """Write the capabilities for policies that only guardrail evaluates to a file in *folder*, and
    return its path.
    """
    path = folder / "capabilities.json"
    path.write_text(capabilities_with_print(), encoding="utf-8")
    return path


def _with_hint(finding: Finding, texts: dict[str, str]) -> Finding:
    """Return *finding* with a hint if OPA's message alone does not explain it."""
    if finding.hint:
        return finding
    text = texts.get(finding.file, "")
    if finding.message == f"{_UNDEFINED}internal.print":
        return Finding(finding.file, finding.line, "print", *_PRINTING)
    if finding.code == "rego_type_error":
        return replace(finding, hint=missing_schema_hint(finding.message))
    if finding.code == "rego_parse_error":
        hint = syntax_hint(finding.message, text, finding.line, finding.file)
        return replace(finding, hint=hint)
    if _UNDECLARED.match(finding.message) and "print(" in _line(text, finding.line):
        return replace(finding, hint=_PRINTED_EARLY)
    return finding


def _line(text: str, number: int) -> str:
    return "".join(text.split("\n")[number - 1 : number])


def repeats(finding: Finding, own: Sequence[Finding]) -> bool:
    """Return True if OPA's *finding* repeats one of *own*. These are the findings of the embedded
    engine, which also say how to fix the fault.
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


def opa_findings(
    policies: PolicySet,
    program: OpaProgram,
    *,
    pure: bool = True,
    printing: bool = False,
    strict: bool = True,
) -> list[Finding]:
    """Return the findings of ``opa check`` for a bundle of *policies*. If *pure* is True, they may
    call only the functions in the shipped capabilities and, if *printing* is True, ``print``.
    *strict* is that of ``OpaProgram.check``.

    Raises ``PolicyLoadError`` if two modules would have the same path in a bundle.
    """
    with temporary_folder() as made:
        folder = made / "modules"
        sources, texts = {}, {}
        for name, source in bundle.names(policies):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source.text, encoding="utf-8")
            sources[name], texts[source.name] = source.name, source.text
        capabilities = None
        if pure:
            capabilities = _with_print(made) if printing else capabilities_file()
        found = program.check(folder, sources, capabilities=capabilities, strict=strict)
    return [_with_hint(finding, texts) for finding in found]


def printing_findings(remarks: Iterable[Finding]) -> list[Finding]:
    """Return the findings for the calls of ``print`` in *remarks*, in a bundle."""
    return [Finding(each.file, each.line, "print", *_PRINTING) for each in remarks]


def require_accepted(policies: PolicySet, program: OpaProgram) -> None:
    """Raise ``PolicyLoadError`` if *policies* break the contract, or if *program* refuses them with
    the shipped capabilities and ``print``, which a private OPA drops.
    """
    findings = contract_findings(policies) or opa_findings(
        policies, program, printing=True, strict=False
    )
    if findings:
        raise PolicyLoadError(findings)


def test_results(policies: PolicySet, program: OpaProgram) -> list[OpaTest]:
    """Run the tests of *policies* with *program*. The results contain the authors' file names.

    Raises ``PolicyError`` if the tests can't be run.
    """
    sources: dict[str, str] = {}
    with temporary_folder() as made:
        folder = made / "modules"
        folder.mkdir()
        for index, source in enumerate((*policies.modules, *policies.tests)):
            # Generated names, so that OPA does not interpret the authors' file names.
            name = f"{index:04}_test.rego" if source in policies.tests else f"{index:04}.rego"
            (folder / name).write_text(source.text, encoding="utf-8")
            sources[name] = source.name
        (folder / "data.json").write_text(policies.data, encoding="utf-8")
        found = program.test(folder, capabilities=_with_print(made))
    return [replace(each, file=sources.get(each.file, each.file)) for each in found]


def contract_findings(policies: PolicySet) -> list[Finding]:
    """Return the contract violations in the authors' modules that do not depend on the engine.

    Raises ``PolicyError`` if the embedded engine, which parses the modules, can't be started.
    """
    parsed, findings = [], []
    with Workbench() as bench:
        for source in policies.modules:
            try:
                parsed.append(parse_module(source, bench.parse(source.name, source.text)))
            except (EngineRefusal, PolicyError):
                # Only OPA can parse this Rego, so OPA judges it, but guardrail still checks its
                # package.
                findings += _package(source)
    return [*findings, *examine(parsed)]


def _package(source: ModuleSource) -> list[Finding]:
    found = _PACKAGE.search(source.text)
    package = tuple(found[1].split(".")) if found else ()
    reserved = any(package[: len(own)] == own for own in RESERVED)
    if package[: len(ROOT)] == ROOT and not reserved:
        return []
    line = source.text[: found.start(1)].count("\n") + 1 if found else 0
    return [
        Finding(
            source.name,
            line,
            "package-name",
            "the package is outside guardrail.policy",
            "name the package guardrail.policy, or a package below it",
        )
    ]
