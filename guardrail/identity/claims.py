"""Checks the claims of a token, and turns them into the identity that they state.

The time of a claim may differ from this clock by the leeway. The signature is verified by
``guardrail.identity.tokens``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from guardrail.config.issuers import IssuerSettings
from guardrail.core.policy_input import resolve
from guardrail.core.types import Agent, Assurance, Json, Principal
from guardrail.errors import IdentityError
from guardrail.identity.principal import check_id
from guardrail.identity.token_text import TokenText, token_error

__all__ = ["VerifiedIdentity", "check_claims", "identity_in", "issuer_of"]

_MAX_ACTORS: Final = 8
_MAX_ROLES: Final = 200
_LAST: Final = 253_402_300_799
"""The last second of the year 9999, the largest time in a record."""
OIDC: Final = "oidc_jwt"
SPIFFE: Final = "spiffe_jwt"


@dataclass(frozen=True, slots=True)
class VerifiedIdentity:
    """The identity in a token."""

    principal: Principal
    agent: Agent | None
    """The current actor (RFC 8693, section 4.1), or None if the token names none."""
    delegation: tuple[Mapping[str, Json], ...]
    tenant: str | None
    """The tenant that the token or the settings of its issuer name, or None."""


def issuer_of(token: TokenText, issuers: Mapping[str, IssuerSettings]) -> IssuerSettings:
    """Return the settings of the issuer that *token* names. Raises ``IdentityError``.

    The claim is not verified yet: it only selects the keys that can verify it. A JWT-SVID is
    verified with the keys of the trust domain in its ``sub`` (SPIFFE JWT-SVID, section 4.2).
    """
    subject, issuer = token.claims.get("sub"), token.claims.get("iss")
    if isinstance(subject, str) and subject.startswith("spiffe://"):
        domain = "spiffe://" + subject.removeprefix("spiffe://").partition("/")[0]
        if domain in issuers:
            return issuers[domain]
    if isinstance(issuer, str) and issuer in issuers and not issuers[issuer].is_spiffe:
        return issuers[issuer]
    raise token_error(
        "issuer",
        "is from an issuer that is not configured",
        'add a table [identity.issuers."ISSUER"] to guardrail.toml (docs/identity.md)',
    )


def check_claims(token: TokenText, issuer: IssuerSettings, *, now: float, leeway: float) -> float:
    """Return the time at which *token* expires, in seconds. Raises ``IdentityError`` if a claim
    does not permit the use of the token at the time *now*.
    """
    if token.type not in issuer.types:
        raise token_error(
            "typ",
            "has a typ header that its issuer's settings do not accept",
            "if the issuer's access tokens have this type, add it to types in its table",
        )
    claims = token.claims
    audience = claims.get("aud")
    named = [audience] if isinstance(audience, str) else audience
    if not isinstance(named, list) or not any(each in issuer.audience for each in named):
        raise token_error(
            "audience",
            "is for another audience",
            "request a token for the audience in the issuer's table, or correct the table",
        )
    expires = _time(claims, "exp")
    if expires is None:
        raise token_error("claims", "has no exp: it would never expire")
    if now >= expires + leeway:
        raise token_error("expired", "has expired", "get a new token")
    for name in ("iat", "nbf"):
        begins = _time(claims, name)
        if begins is not None and begins > now + leeway:
            raise token_error("future", f"is not valid yet ({name}): compare the clocks")
    if not issuer.is_spiffe and claims.get("iat") is None:
        raise token_error("claims", "has no iat")
    return expires


def identity_in(token: TokenText, issuer: IssuerSettings) -> VerifiedIdentity:
    """Return the identity that the claims of *token* state. Raises ``IdentityError``."""
    claims = dict(token.claims)
    id_ = _claim(claims, issuer.principal_claim)
    if not isinstance(id_, str):
        raise token_error("claims", "has no principal: see principal_claim of its issuer")
    method = SPIFFE if issuer.is_spiffe else OIDC
    service = issuer.is_spiffe or claims.get("client_id", "") == claims.get("sub")
    at = _time(claims, "auth_time")
    time = _text_of(_time(claims, "iat") if at is None else at)
    delegation = _actors(claims)
    agent = None
    if delegation:
        agent = Agent(
            str(delegation[0]["sub"]),
            assurance=Assurance.VERIFIED,
            method=method,
            # The issuer that signed, even if the actor states another: that one signed nothing.
            issuer=issuer.issuer,
            authenticated_at=_text_of(_time(claims, "iat")),
        )
    principal = Principal(
        _id(id_, "principal"),
        type="service" if service else "user",
        issuer=issuer.issuer,
        assurance=Assurance.VERIFIED,
        method=method,
        roles=_roles(claims, issuer.roles_claim),
        authenticated_at=time,
    )
    return VerifiedIdentity(principal, agent, delegation, _tenant(claims, issuer))


def _tenant(claims: dict[str, Any], issuer: IssuerSettings) -> str | None:
    if not issuer.tenant_claim:
        return issuer.tenant or None
    tenant = _claim(claims, issuer.tenant_claim)
    if not isinstance(tenant, str):
        raise token_error("tenant", "has no tenant: see tenant_claim of its issuer")
    return _id(tenant, "tenant")


def _roles(claims: dict[str, Any], name: str) -> tuple[str, ...]:
    """Return the roles in the claim *name*: a list, or a text with spaces as in ``scope``."""
    found = _claim(claims, name) if name else None
    if found is None:
        return ()
    roles = found.split() if isinstance(found, str) else found
    if not isinstance(roles, list) or len(roles) > _MAX_ROLES:
        raise token_error("claims", "has roles that are not a list of at most 200 strings")
    return tuple(_id(role, "role") for role in roles)


def _actors(claims: Mapping[str, Any]) -> tuple[Mapping[str, Json], ...]:
    """Return the chain of actors, outermost first (RFC 8693, section 4.1)."""
    found: list[Mapping[str, Json]] = []
    actor = claims.get("act")
    while actor is not None:
        if not isinstance(actor, dict) or len(found) == _MAX_ACTORS:
            raise token_error("actor", f"has an act claim that is not a chain of {_MAX_ACTORS}")
        step: dict[str, Json] = {"sub": _id(actor.get("sub"), "actor")}
        if "iss" in actor:
            step["iss"] = _id(actor["iss"], "issuer of an actor")
        found.append(step)
        actor = actor.get("act")
    return tuple(found)


def _claim(claims: dict[str, Any], name: str) -> Any:
    return resolve(claims, name) if name.startswith("/") else claims.get(name)


def _id(value: object, what: str) -> str:
    try:
        return check_id(value, what)
    except IdentityError as error:
        failure = token_error("claims", f"has a malformed claim: {error.message}")
    raise failure


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a NumericDate (RFC 7519, section 2), or None if the claim is missing."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise token_error("claims", f"has a claim {name} that is not a number")
    # Compared first: an integer that is too large can't be converted to a float.
    if not 0 <= value <= _LAST:
        raise token_error("claims", f"has a claim {name} that is not a time")
    return float(value)


def _text_of(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
