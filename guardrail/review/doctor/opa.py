"""``doctor`` checks for an OPA server: it can be reached, and it serves the expected policies."""

from __future__ import annotations

import time
from dataclasses import replace

from guardrail.config import OpaSection, Settings
from guardrail.core.words import agree, counted
from guardrail.errors import PolicyError, PolicyLoadError
from guardrail.policy.opa.revision import revision_of
from guardrail.policy.opa.watch import InspectionResult
from guardrail.policy.sources import load_policies
from guardrail.review.doctor.result import Check, CheckState

__all__ = ["local_policies", "server"]

_LIMIT_MS = 3000


def local_policies(settings: Settings) -> Check:
    """Check which revisions are accepted: the configured ones, or the revision of the local
    policies.
    """
    named = settings.opa.revisions
    if named:
        return Check(
            "policies",
            CheckState.OK,
            (
                f"on the server; {counted(len(named), 'revision')} "
                f"{agree(len(named), 'is')} accepted"
            ),
        )
    if settings.opa.unsafe_unpinned_policy:
        return Check(
            "policies",
            CheckState.NOTE,
            "any policies on the server are accepted, without a revision",
            "serve a bundle (guardrail policy bundle -o FILE) and remove unsafe_unpinned_policy",
        )
    missing = [path for path in settings.policy.path if not path.exists()]
    if missing:
        return Check(
            "policies",
            CheckState.FAIL,
            f"there are no policies at {missing[0]}, and no revision is set",
            "set [opa] revisions, or create policies with guardrail init",
        )
    try:
        revision = revision_of(load_policies(settings.policy.path))
    except PolicyLoadError as error:
        return Check("policies", CheckState.FAIL, error.message, "guardrail policy check")
    return Check("policies", CheckState.OK, f"OPA must serve revision {str(revision)[:16]}…")


def server(settings: Settings) -> Check:
    """Connect as a guard does, query the server once, and report the policies that it serves.
    Raises ``ConfigError``.
    """
    from guardrail.policy.opa.engine import OpaEngine

    section: OpaSection = settings.trusted_opa
    quick = replace(section, start_limit_ms=min(section.start_limit_ms, _LIMIT_MS))
    local = None
    if not section.revisions and not section.unsafe_unpinned_policy:
        local = load_policies(settings.policy.path)
    zones = settings.policy.time_zones
    started = time.perf_counter()
    try:
        engine = OpaEngine.connect(quick, local=local, zones=zones)
    except PolicyError as error:
        return Check(
            "opa",
            CheckState.FAIL,
            f"{error.message} ({error.cause}, {error.detail})",
            _fix(error.hint, section),
        )
    finding = engine.finding
    engine.close()
    return _healthy_check(finding, section, (time.perf_counter() - started) * 1000)


def _healthy_check(finding: InspectionResult, section: OpaSection, took: float) -> Check:
    identity = finding.identity
    revision = "no revision" if identity.revision is None else f"revision {identity.revision[:16]}…"
    version, _, digest = identity.version.partition(" sha256:")
    server = "OPA" if section.url else "a private OPA"
    program = f" ({digest[:16]}…)" if digest else ""
    found = f"{server} {version}{program} serves {revision}; the check took {took:,.0f} ms"
    if section.unsafe_impure_policy or section.unsafe_unpinned_policy:
        return Check(
            "opa",
            CheckState.NOTE,
            f"{found}; nothing is reproducible",
            "serve a bundle that guardrail policy bundle made, and remove the unsafe settings",
        )
    if finding.bundles is None and section.url:
        return Check(
            "opa",
            CheckState.NOTE,
            (
                f"{found}; the server's status reports are off, so a refused bundle would "
                "not be noticed"
            ),
            "start it with --set status.console=true",
        )
    stuck = [state for state in finding.bundles or () if state.problem is not None]
    if stuck:
        return Check(
            "opa",
            CheckState.FAIL,
            f"{found}; it refused the latest bundle ({stuck[0].problem}) and continues with the "
            "previous one",
            "check the server's log; build and sign the bundle again",
        )
    return Check("opa", CheckState.OK, found)


def _fix(hint: str, section: OpaSection) -> str:
    """Return the next step, which includes the URL if the URL may be wrong."""
    from guardrail.policy.opa.target import UNREACHABLE

    if hint == UNREACHABLE:
        return f"start the server, or correct [opa] url: {section.url}"
    if hint == "guardrail doctor":
        return "guardrail policy check, which shows if the program can load the policies"
    return hint or "check the server's own log"
