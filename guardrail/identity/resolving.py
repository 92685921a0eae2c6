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
    workload: VerifiedIdentity | None,
    *,
    principal: Principal | str | None,
    agent: Agent | str | None,
    tenant: str | None,
    default_tenant: str,
    delegation: Sequence[Mapping[str, Any]],
) -> ResolvedIdentity:
    """Return the identity of a session whose program passed these values, a token of the caller
    with the identity *verified*, and a token of the agent with the identity *workload*; None
    without such a token. Raises ``IdentityError``.
    """
    actor = None if verified is None else verified.agent
    if workload is not None:
        actor = _own(workload, verified)
    of = identity.check_id(_tenant(verified, tenant) or default_tenant, "tenant")
    if workload is not None and workload.tenant not in (None, of):
        raise IdentityError(
            "the token of the agent belongs to another tenant than the session",
            code="identity.tenant",
            hint="use an agent of the caller's tenant; if the caller has no token that states it, "
            "pass tenant= yourself",
        )
    if verified is None:
        return (
            identity.principal(principal),
            _agent(actor, agent),
            of,
            identity.delegation(delegation),
        )
    if principal is not None or delegation:
        raise IdentityError(
            "the token states the principal and the delegation, so the program can't pass them",
            code="identity.several",
            hint="pass token= without principal= and delegation=",
        )
    return verified.principal, _agent(actor, agent), of, verified.delegation


def _tenant(verified: VerifiedIdentity | None, passed: str | None) -> str | None:
    """Return the tenant that the caller's token states, or else the one that the program passed.

    The token of the agent never selects it: a person who belongs to no tenant would enter that of
    any agent.
    """
    stated = None if verified is None else verified.tenant
    if stated is None:
        return passed
    if passed not in (None, stated):
        raise IdentityError(
            "the token belongs to another tenant than the one that the program passed",
            code="identity.tenant",
            hint="omit tenant=: it is taken from the token",
        )
    return stated


def _own(workload: VerifiedIdentity, verified: VerifiedIdentity | None) -> Agent:
    """Return the agent that its own token states. *verified* is the identity in the caller's token,
    or None. Raises ``IdentityError`` if the token is that of a person or of the caller, or if the
    caller's token states another agent.
    """
    if workload.delegation:
        raise IdentityError(
            "the agent's token was delegated (claim act), so it is not the agent's own",
            code="identity.agent",
            hint="pass the token of the caller as token=, and the agent's own as agent_token=",
        )
    stated = workload.principal
    # The opposite of the rule for approvers: no token is that of a person and of an agent.
    if stated.type != "service":
        raise IdentityError(
            "the agent's token belongs to a person, and only that of a service is an agent's own",
            code="identity.agent",
            hint="use a JWT-SVID, or a token whose client_id equals its sub (docs/identity.md)",
        )
    if verified is not None and _is_same(stated, verified.principal):
        raise IdentityError(
            "the two tokens state one identity, so the agent has no token of its own",
            code="identity.agent",
            hint="omit agent_token= if the caller acts without an agent",
        )
    actors = () if verified is None else verified.delegation
    if actors and (
        actors[0]["sub"] != stated.id or actors[0].get("iss", stated.issuer) != stated.issuer
    ):
        raise IdentityError(
            "the two tokens state different agents",
            code="identity.agent",
            hint="the claim act of the caller's token must name the agent whose token is passed, "
            "and its issuer if act has a claim iss",
        )
    return Agent(
        stated.id,
        assurance=stated.assurance,
        method=stated.method,
        issuer=stated.issuer,
        authenticated_at=stated.authenticated_at,
    )


def _is_same(one: Principal, other: Principal) -> bool:
    return (one.issuer, one.id) == (other.issuer, other.id)


def _agent(actor: Agent | None, passed: Agent | str | None) -> Agent:
    """Return the current actor that a token states, with the details that the program passed, or
    the program's agent if the token states none.
    """
    given = identity.agent(passed)
    if actor is None:
        return given
    if passed is not None and given.id != actor.id:
        raise IdentityError(
            "the token states another agent than the one that the program passed",
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
