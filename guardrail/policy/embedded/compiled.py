"""Prepares policies for serving: parses, checks and merges them.

Rejects policies that the engine would evaluate differently from OPA.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from guardrail.core.types import PolicyIdentity
from guardrail.errors import Finding, PolicyError, PolicyLoadError
from guardrail.policy.embedded.process import ENGINE, ENGINE_VERSION
from guardrail.policy.embedded.workbench import EngineRefusal, Workbench
from guardrail.policy.rego.iterated import with_checked_collections
from guardrail.policy.rego.library import LIBRARY, with_library_functions
from guardrail.policy.rego.membership import with_defined_memberships
from guardrail.policy.rego.merge import MergedPackage, SourceLine, merge
from guardrail.policy.rego.preflight import examine
from guardrail.policy.rego.renaming import renamed
from guardrail.policy.rego.rewriting.imports import hoisted
from guardrail.policy.rego.rewriting.keywords import without_keyword_names
from guardrail.policy.rego.rewriting.regexes import with_ascii_classes
from guardrail.policy.rego.rewriting.reserved import reserved_names
from guardrail.policy.rego.rewriting.steps import steps
from guardrail.policy.rego.syntax_hints import syntax_hint
from guardrail.policy.rego.tree import Module, parse_module
from guardrail.policy.sources import ModuleSource, PolicySet
from guardrail.policy.templates import without_templates
from guardrail.system.zones import is_zone

__all__ = [
    "CompiledPolicies",
    "Progress",
    "compile_policies",
    "compile_sources",
    "locate",
    "merge_served",
    "parse_sources",
    "rewrite",
]

_AT = re.compile(r"--> (.+):(\d+):\d+")
_ERROR = re.compile(r"error: (.+)")
Progress = Callable[[int, int], None]
"""Called with the number of steps done and the total number of steps."""
_EARLIER = re.compile(r"(?: defined (?:at|earlier))?:$")


@dataclass(frozen=True, slots=True)
class CompiledPolicies:
    """Policies that the embedded engine can serve."""

    modules: tuple[MergedPackage, ...]
    """One merged module per package, without tests."""
    tests: tuple[MergedPackage, ...]
    parsed: tuple[Module, ...]
    """All parsed files, including tests. Used for reports."""
    data: str
    identity: PolicyIdentity
    zones: tuple[str, ...] = ()
    """Names of the time zones whose offsets calls contain: those that exist on this machine."""

    @property
    def texts(self) -> list[tuple[str, str]]:
        """The (name, text) pairs that the engine loads."""
        return [(module.name, module.text) for module in self.modules]


def compile_policies(
    policies: PolicySet,
    bench: Workbench,
    *,
    tests: bool = True,
    progress: Progress | None = None,
) -> CompiledPolicies:
    """Parse and check *policies*, and merge each package into one module.

    Raises ``PolicyLoadError`` with every finding, not only the first. If *tests* is False, test
    modules are skipped. *progress* is called after each step of rewriting.
    """
    identity = PolicyIdentity(
        engine=ENGINE, version=ENGINE_VERSION, digest=policies.digest, data=policies.data_digest
    )
    merged, parsed = compile_sources(
        policies.modules,
        policies.tests if tests else (),
        policies.data,
        bench,
        progress=progress,
    )
    test_packages = {module.package for module in parsed if module.test}
    return CompiledPolicies(
        modules=tuple(module for module in merged if module.package not in test_packages),
        tests=tuple(module for module in merged if module.package in test_packages),
        parsed=tuple(parsed),
        data=policies.data,
        identity=identity,
        zones=tuple(filter(is_zone, policies.zones)),
    )


def compile_sources(
    modules: Sequence[ModuleSource],
    tests: Sequence[ModuleSource],
    data: str,
    bench: Workbench,
    *,
    contract_checks: bool = True,
    progress: Progress | None = None,
) -> tuple[list[MergedPackage], list[Module]]:
    """Return the merged modules and the parsed modules. Raises ``PolicyLoadError``.

    If *contract_checks* is False, any Rego is accepted, even if it breaks the contract for the
    guard's policies.
    """
    parsed, findings = parse_sources(modules, tests, bench)
    evaluated, problems = rewrite(parsed, data, bench, progress=progress)
    findings += problems
    findings += examine(evaluated, data, contract_checks=contract_checks)
    merged, clashes = merge_served(evaluated, bench)
    findings += clashes
    if findings:
        unique = dict.fromkeys(findings)
        raise PolicyLoadError(
            sorted(unique, key=lambda finding: (finding.file, finding.line, finding.code))
        )
    return merged, parsed


def parse_sources(
    modules: Sequence[ModuleSource], tests: Sequence[ModuleSource], bench: Workbench
) -> tuple[list[Module], list[Finding]]:
    """Return the modules that can be parsed, and the findings for the others."""
    findings: list[Finding] = []
    parsed: list[Module] = []
    for sources, test in ((modules, False), (tests, True)):
        for source in sources:
            findings += reserved_names(source)
            module = _parse(source, bench, findings, test=test)
            if module is not None:
                parsed.append(module)
    return parsed, findings


def rewrite(
    modules: Sequence[Module], data: str, bench: Workbench, *, progress: Progress | None = None
) -> tuple[list[Module], list[Finding]]:
    """Return *modules* with unambiguous variable names, in Rego that both engines evaluate in the
    same way, and the findings for modules that can't be rewritten. *data* is the data document.

    Line numbers do not change.
    """
    findings: list[Finding] = []
    rewritten = list(modules)
    sequence = (renamed, *steps(data))
    for done, step in enumerate(sequence):
        rewritten = _rewritten(rewritten, step(rewritten), bench, findings)
        if progress is not None:
            progress(done + 1, len(sequence))
    return rewritten, findings


def merge_served(
    modules: Sequence[Module], bench: Workbench
) -> tuple[list[MergedPackage], list[Finding]]:
    """Return the checked *modules* merged for the engine, and the findings that prevent them from
    being served.
    """
    findings: list[Finding] = []
    defined = _rewritten(modules, with_defined_memberships(modules), bench, findings)
    if findings:
        return [], findings
    iterated = _rewritten(defined, with_checked_collections(defined), bench, findings)
    if findings:
        return [], findings
    sized = _rewritten(iterated, with_library_functions(iterated), bench, findings)
    served = _rewritten(sized, with_ascii_classes(sized), bench, findings)
    if findings:
        return [], findings
    if any(new is not old for new, old in zip(sized, modules, strict=True)):
        served.append(parse_module(LIBRARY, bench.parse(LIBRARY.name, LIBRARY.text)))
    return merge(served)


def _rewritten(
    modules: Sequence[Module], texts: Sequence[str], bench: Workbench, findings: list[Finding]
) -> list[Module]:
    """Return *modules* with their texts replaced by *texts*. Modules whose text changed are parsed
    again.
    """
    found: list[Module] = []
    for module, text in zip(modules, texts, strict=True):
        again: Module | None = module
        if text != module.source.text:
            again = _parse(replace(module.source, text=text), bench, findings, test=module.test)
        if again is not None:
            found.append(again)
    return found


def _parse(
    source: ModuleSource, bench: Workbench, findings: list[Finding], *, test: bool
) -> Module | None:
    source = replace(source, text=hoisted(without_keyword_names(without_templates(source.text))))
    try:
        return parse_module(source, bench.parse(source.name, source.text), test=test)
    except EngineRefusal as refusal:
        at, said = _AT.search(refusal.text), _ERROR.search(refusal.text)
        line = int(at[2]) if at else 0
        message = said[1].strip() if said else "it is not valid Rego"
        earlier = _AT.search(refusal.text, said.end()) if said and message.endswith(":") else None
        if earlier is not None:  # the sentence ends with a location
            message = f"{_EARLIER.sub('', message)} in line {earlier[2]}"
        hint = syntax_hint(message, source.text, line, source.name)
        findings.append(Finding(source.name, line, "syntax", message, hint))
    except PolicyError as error:
        message = f"it can't be parsed: the parser failed ({error.cause})"
        findings.append(
            Finding(source.name, 0, "syntax", message, "simplify its most deeply nested expression")
        )
    return None


def locate(text: str, modules: Sequence[MergedPackage]) -> SourceLine | None:
    """Return the line in the author's file that an engine message refers to, or None.

    The message itself is not returned, because it can contain values.
    """
    at = _AT.search(text)
    if at is None:
        return None
    for module in modules:
        if module.name == at[1]:
            return module.place(int(at[2]))
    return None
