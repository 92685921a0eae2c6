"""Identifies the caller of a request by an access token, which guardrail verifies.

A token always takes precedence over a name that is only asserted, and a request with a bad token is
never served under such a name.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from guardrail.config import ProxySettings
from guardrail.core.types import Agent, Assurance
from guardrail.errors import ConfigError, IdentityError
from guardrail.identity.token_text import SecretText
from guardrail.proxy.callers import HEADER_NAME, RESERVED_HEADERS, RequestIdentity
from guardrail.proxy.headers import canonical_name
from guardrail.system.asgi_rules import Scope
from guardrail.system.listener import values_of

if TYPE_CHECKING:
    from guardrail.call.scope import SessionScope
    from guardrail.guard import Guard

__all__ = ["VerifiedCallers", "check_token_header"]

_AUTHORIZATION: Final = "authorization"
_MOST: Final = 2_048
"""Maximum number of callers whose sessions are stored. Only callers with a good token are."""
_BEARER: Final = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +")


def check_token_header(settings: ProxySettings, *, verifies: bool) -> None:
    """Raise ``ConfigError`` if access tokens can't be passed in the headers that *settings* name.
    *verifies* is True if guardrail can verify tokens.
    """
    name = settings.token_header.lower()
    if name == _AUTHORIZATION and not verifies:
        raise ConfigError(
            "[proxy] token_header is authorization, but no issuer is configured: the callers' API "
            "keys would be taken for access tokens",
            code="config.token_header",
            hint='add a table [identity.issuers."ISSUER"] (docs/identity.md), or use a separate '
            "header",
        )
    others = [settings.identity_header]
    if name != _AUTHORIZATION and not _is_free(name, others):
        raise ConfigError(
            "[proxy] token_header: this name can't be used",
            code="config.token_header",
            hint="use a separate header such as x-guardrail-identity, or authorization",
        )
    if not _is_free(settings.agent_token_header.lower(), [*others, name]):
        raise ConfigError(
            "[proxy] agent_token_header: this name can't be used",
            code="config.token_header",
            hint="use a separate header such as x-guardrail-agent-identity",
        )


def _is_free(name: str, others: Iterable[str]) -> bool:
    """Return True if a header with this name can pass a token, beside the headers *others*, which
    no server may take for the same.
    """
    taken = {canonical_name(each) for each in (*RESERVED_HEADERS, *others)}
    return HEADER_NAME.fullmatch(name) is not None and canonical_name(name) not in taken


class VerifiedCallers:
    """Determines the identity of each request's caller: from its tokens, if it has any."""

    def __init__(
        self, guard: Guard, settings: ProxySettings, asserted: Callable[[Scope], RequestIdentity]
    ) -> None:
        """*asserted* returns the caller of a request without a token. Raises ``ConfigError`` if
        *settings* name an unsuitable header for tokens.
        """
        callers = guard.calls.callers
        check_token_header(settings, verifies=callers.verifies_tokens)
        self._guard = guard
        self._asserted = asserted
        self._required = callers.requires_verified
        self._header = settings.token_header.lower()
        self._agent_header = settings.agent_token_header.lower()
        self._known: OrderedDict[_Key, SessionScope] = OrderedDict()

    async def identify(self, scope: Scope) -> RequestIdentity:
        """Return the identity of a request's caller. If the request has tokens, they are verified
        for each request.

        The caller's token states the tenant too. A caller without a token belongs to the tenant in
        the settings. Raises ``IdentityError`` if a token is refused, or if there is none although
        the settings require it, and the exceptions of ``Guard.asession``.
        """
        found = self._asserted(scope)
        token = _token_in(scope, self._header)
        own = _token_in(scope, self._agent_header)
        if token is None and self._required:
            raise IdentityError(
                "this request has no access token, and only verified callers are served",
                code="identity.token.missing",
                hint=f"send an access token in the header {self._header}",
            )
        if token is None and own is None:
            return found
        return await self._verified(replace(found, token=token, agent_token=own))

    async def _verified(self, given: RequestIdentity) -> RequestIdentity:
        """Return the identity that the tokens in *given* state."""
        wanted = replace(given, agent=given.program if given.token else given.agent)
        # A caller without a token of its own is the one that a peer or the connection names.
        who = "" if given.token else f"{given.principal.method} {given.principal.id}"
        key = _digest(given.token), _digest(given.agent_token), who, wanted.agent
        session = self._known.get(key)
        if session is None or session.token_refusal is None or session.token_refusal():
            self._known.pop(key, None)
            session = await self._opened(wanted)
        else:
            # The tenant may have been disabled since, and its guard may have been closed.
            await self._guard.aof_tenant(session.session.tenant)
        self._known[key] = session
        self._known.move_to_end(key)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
        opened = session.session
        agent = None if opened.agent.assurance is Assurance.VERIFIED else wanted.agent
        return replace(wanted, principal=opened.principal, agent=agent, session=session)

    async def _opened(self, wanted: RequestIdentity) -> SessionScope:
        """Return a session of the caller. The agent that a token states takes precedence over the
        program that its caller token names.
        """
        try:
            return await self._guard.asession(**wanted.opening)
        except IdentityError as error:
            if error.code != "identity.agent" or wanted.agent is None:
                raise
        return await self._guard.asession(**replace(wanted, agent=None).opening)


_Key = tuple[bytes, bytes, str, Agent | None]


def _digest(token: SecretText | None) -> bytes:
    return b"" if token is None else hashlib.sha256(token.reveal().encode("latin-1")).digest()


def _token_in(scope: Scope, header: str) -> SecretText | None:
    """Return the token in a header of a request, or None if the request does not have it. Raises
    ``IdentityError`` if it has several.
    """
    values = values_of(scope["headers"], header.encode())
    if len(values) > 1:
        raise IdentityError(
            f"the header {header} must appear exactly once", code="identity.several"
        )
    return _text(values[0]) if values else None


def _text(value: bytes) -> SecretText:
    """Return the token in the value of a header, with or without the scheme ``Bearer``."""
    found = _BEARER.match(value)
    return SecretText(value[found.end() if found else 0 :].strip(b" ").decode("latin-1"))
