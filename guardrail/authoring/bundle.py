"""Builds bundles for OPA servers. A bundle contains only policies that passed the checks, and its
revision states whether the policies are pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from guardrail.core.types import Json
from guardrail.errors import PolicyLoadError
from guardrail.policy.embedded.compiled import compile_policies
from guardrail.policy.embedded.workbench import Workbench
from guardrail.policy.opa import bundle
from guardrail.policy.opa.check import contract_findings, opa_findings, printing_findings
from guardrail.policy.opa.program import OpaProgram
from guardrail.policy.opa.revision import revision_of
from guardrail.policy.rego.rewriting.prints import print_remarks
from guardrail.policy.sources import PolicySet, load_policies

__all__ = ["Bundle", "BundleChecker", "make_bundle"]


class BundleChecker(StrEnum):
    """The checker that found the policies valid and pure."""

    OPA = "opa"
    """``opa check --strict`` with the shipped capabilities."""
    EMBEDDED = "embedded"
    """The embedded engine's preflight, which is stricter than ``opa check``."""
    NOBODY = "nobody"
    """The policies were not checked for purity, at the user's request. They may depend on more than
    their input, and the bundle's revision says so.
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
    known to be pure. The policies are checked by *opa* or, if that is None, by the embedded engine.
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
    if opa is None and not unsafe_impure:
        with Workbench() as bench:
            compiled = compile_policies(policies, bench, tests=False)
        # The embedded engine drops calls of print. A server would write arguments to its log.
        printing = printing_findings(print_remarks(compiled.parsed))
        if printing:
            raise PolicyLoadError(printing)
        return BundleChecker.EMBEDDED
    findings = contract_findings(policies)
    if findings:
        raise PolicyLoadError(findings)
    if opa is None:
        return BundleChecker.NOBODY
    impure = opa_findings(policies, opa)
    if not impure:
        return BundleChecker.OPA
    # Findings that remain without the capabilities file are unrelated to purity.
    findings = opa_findings(policies, opa, pure=False) if unsafe_impure else impure
    if findings:
        raise PolicyLoadError(findings)
    return BundleChecker.NOBODY
