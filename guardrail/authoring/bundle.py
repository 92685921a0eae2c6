"""Builds bundles for OPA servers. A bundle holds only policies that passed the checks, and its
revision states whether they are pure.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from guardrail.authoring.opa_program import OpaProgram
from guardrail.core.types import Json
from guardrail.errors import Finding, PolicyError, PolicyLoadError
from guardrail.policy.embedded.compiled import compile_policies
from guardrail.policy.embedded.workbench import EngineRefusal, Workbench
from guardrail.policy.opa import bundle
from guardrail.policy.opa.revision import revision_of
from guardrail.policy.rego.contract import RESERVED, ROOT, examine
from guardrail.policy.rego.purity import capabilities_file
from guardrail.policy.rego.tree import parse_module
from guardrail.policy.sources import ModuleSource, PolicySet, load_policies

__all__ = ["Bundle", "BundleChecker", "make_bundle"]

_PACKAGE = re.compile(r"^\s*package\s+([^\s#]+)", re.MULTILINE)


class BundleChecker(StrEnum):
    """The checker that found the policies valid and pure."""

    OPA = "opa"
    """``opa check --strict`` with the shipped capabilities."""
    EMBEDDED = "embedded"
    """The embedded engine's preflight, which is stricter than ``opa check``."""
    NOBODY = "nobody"
    """The policies were not checked, because the user asked for a bundle of policies that may
    depend on more than their input. The bundle's revision says so.
    """


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle ready to be served."""

    content: bytes
    """The gzipped archive."""
    revision: str
    judge: BundleChecker
    files: int
    """Number of the authors' modules in the bundle."""
    signed: bool
    tests: int = 0
    """Number of the authors' test files, which are neither bundled nor run."""


def make_bundle(
    paths: Sequence[Path],
    *,
    data: Mapping[str, Json] | None = None,
    opa: OpaProgram | None = None,
    signer: bundle.BundleSigner | None = None,
    unsafe_impure: bool = False,
) -> Bundle:
    """Return a bundle of the policies below *paths*. The same policies give the same bytes, except
    for an ES256 signature.

    Raises ``PolicyLoadError`` with every finding: files that are not policies for the guard,
    modules that do not compile and, unless *unsafe_impure* is set, calls of functions that are not
    known to be pure. *opa* checks the policies; if it is None, the embedded engine does.
    """
    policies = load_policies(paths, data=data)
    judge = _check_policies(policies, opa, unsafe_impure=unsafe_impure)
    revision = revision_of(policies, pure=judge is not BundleChecker.NOBODY)
    return Bundle(
        content=bundle.build(policies, revision, signer=signer),
        revision=str(revision),
        judge=judge,
        files=sum(not source.installed for source in policies.modules),
        signed=signer is not None,
        tests=len(policies.tests),
    )


def _check_policies(
    policies: PolicySet, opa: OpaProgram | None, *, unsafe_impure: bool
) -> BundleChecker:
    with Workbench() as bench:
        if opa is None and not unsafe_impure:
            compile_policies(policies, bench, tests=False)
            return BundleChecker.EMBEDDED
        findings = _contract(policies, bench)
    if findings:
        raise PolicyLoadError(findings)
    if opa is None:
        return BundleChecker.NOBODY
    with tempfile.TemporaryDirectory(prefix="guardrail-bundle-") as place:
        folder = Path(place)
        sources = {}
        for name, source in bundle.names(policies):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source.text, encoding="utf-8")
            sources[name] = source.name
        impure = opa.check(folder, sources, capabilities=capabilities_file())
        if not impure:
            return BundleChecker.OPA
        # Findings that remain without the restriction have nothing to do with purity.
        findings = opa.check(folder, sources) if unsafe_impure else impure
    if findings:
        raise PolicyLoadError(findings)
    return BundleChecker.NOBODY


def _contract(policies: PolicySet, bench: Workbench) -> list[Finding]:
    """Return the contract violations in the authors' modules that do not depend on the engine."""
    parsed, findings = [], []
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
