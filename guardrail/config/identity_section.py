"""The section ``[identity]``: each key with its default, range and description."""

from __future__ import annotations

from dataclasses import dataclass

from guardrail.config.issuers import IssuerSettings
from guardrail.config.kinds import choice_field, issuers_field, number_field, text_field

__all__ = ["IdentitySettings"]


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """Settings in ``[identity]``: the accepted callers, and their form in records."""

    tenant: str = text_field("default", "tenant of sessions without one")
    principal_form: str = choice_field(
        "clear", "clear", "token", about="form of principal ids in records"
    )
    require: str = choice_field(
        "asserted",
        "any",
        "asserted",
        "verified",
        about="lowest accepted assurance of a principal; any: also accept calls without one",
    )
    leeway_s: int = number_field(
        30, 0, 60, "difference that is accepted between this clock and the clocks of issuers"
    )
    jwks_refresh_s: int = number_field(
        300, 10, 86_400, "age at which the keys of an issuer are read again from their URL"
    )
    jwks_max_age_s: int = number_field(
        86_400, 60, 2_592_000, "age at which keys are no longer used if their URL does not answer"
    )
    issuers: tuple[IssuerSettings, ...] = issuers_field(
        'issuers whose tokens are verified: a table [identity.issuers."ISSUER"] for each '
        "(docs/identity.md)"
    )
