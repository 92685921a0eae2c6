"""Determines the identity of a session: from a verified token, from the program's word, or absent.

A token takes precedence over the program only by agreement: if the program also passes an identity
that the token states, the two must be equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from guardrail.core.types import Agent, Principal
from guardrail.errors import IdentityError
from guardrail.identity import principal as identity
from guardrail.identity.claims import VerifiedIdentity

__all__ = ["ResolvedIdentity", "resolve_identity"]

ResolvedIdentity = tuple[Principal, Agent, str, tuple[Mapping[str, Any], ...]]
"""Principal, agent, tenant and delegation."""


def resolve_identity(
    verified: VerifiedIdentity | None,
    *,
    principal: Principal | str | None,
    agent: Agent | str | None,
    tenant: str | None,
    default_tenant: str,
    delegation: Sequence[Mapping[str, Any]],
) -> ResolvedIdentity:
    """Return the identity of a session whose program passed these values, and a token with the
    identity *verified*, or no token. Raises ``IdentityError``.
    """
    if verified is None:
        return (
            identity.principal(principal),
            identity.agent(agent),
            identity.check_id(tenant or default_tenant, "tenant"),
            identity.delegation(delegation),
        )
    if principal is not None or delegation:
        raise IdentityError(
            "the token states the principal and the delegation, so the program can't pass them",
            code="identity.several",
            hint="pass token= without principal= and delegation=",
        )
    if tenant is not None and verified.tenant is not None and tenant != verified.tenant:
        raise IdentityError(
            "the token belongs to another tenant than the one that the program passed",
            code="identity.tenant",
            hint="omit tenant=: it is taken from the token",
        )
    return (
        verified.principal,
        _agent(verified.agent, agent),
        identity.check_id(verified.tenant or tenant or default_tenant, "tenant"),
        verified.delegation,
    )


def _agent(actor: Agent | None, passed: Agent | str | None) -> Agent:
    """Return the current actor that a token states, with the details that the program passed, or
    the program's agent if the token states none.
    """
    given = identity.agent(passed)
    if actor is None:
        return given
    if passed is not None and given.id != actor.id:
        raise IdentityError(
            "the token states another agent (its claim act) than the one that the program passed",
            code="identity.agent",
            hint="omit agent=: it is taken from the token",
        )
    return replace(
        actor,
        version=given.version,
        framework=given.framework,
        instance=given.instance,
        charter=given.charter,
    )
