"""Checks whose calls a guard accepts, and the key sets of the issuers."""

from __future__ import annotations

from guardrail.config import Settings
from guardrail.core.words import counted
from guardrail.identity.principal import check_identity
from guardrail.identity.tokens import TokenVerifier
from guardrail.review.doctor.result import Check, CheckState

__all__ = ["identity"]


def identity(settings: Settings) -> Check:
    """Return the check of the accepted callers. Raises ``ConfigError`` if the keys of an issuer
    can't be used.
    """
    check_identity(settings)
    verifier = TokenVerifier(settings)
    number = verifier.number_of_keys()
    problems = verifier.problems()
    if problems:
        found = "; ".join(problem.message for problem in problems)
        return Check("identity", CheckState.FAIL, found, problems[0].hint)
    issuers = len(settings.identity.issuers)
    verified = f"; tokens of {counted(issuers, 'issuer')} are verified ({counted(number, 'key')})"
    if settings.identity.require == "any":
        return Check(
            "identity",
            CheckState.NOTE,
            "calls without a principal are not denied",
            'set require = "asserted" in [identity]',
        )
    rule = "a call must name its principal"
    if settings.identity.require == "verified":
        rule = "a call must have a verified principal"
    return Check("identity", CheckState.OK, rule + (verified if issuers else ""))
