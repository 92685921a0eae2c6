"""Identifies the caller of a request by an access token, which guardrail verifies.

A token always takes precedence over a name that is only asserted, and a request with a bad token is
never served under such a name.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from guardrail.config import ProxySettings
from guardrail.core.types import Agent, Assurance
from guardrail.errors import ConfigError, IdentityError
from guardrail.identity.token_text import SecretText
from guardrail.proxy.callers import HEADER_NAME, RESERVED_HEADERS, RequestIdentity
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
    """Raise ``ConfigError`` if access tokens can't be passed in the header that *settings* name.
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
    reserved = name != _AUTHORIZATION and name in RESERVED_HEADERS
    if HEADER_NAME.fullmatch(name) is None or reserved or name == settings.identity_header.lower():
        raise ConfigError(
            "[proxy] token_header: this name can't be used",
            code="config.token_header",
            hint="use a separate header such as x-guardrail-identity, or authorization",
        )


class VerifiedCallers:
    """Determines the identity of each request's caller: from its access token, if it has one."""

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
        self._known: OrderedDict[tuple[bytes, Agent | None], SessionScope] = OrderedDict()

    async def identify(self, scope: Scope) -> RequestIdentity:
        """Return the identity of a request's caller. If the request has a token, it is verified for
        each request.

        The token states the tenant too. A caller without a token belongs to the tenant in the
        settings. Raises ``IdentityError`` if the token is refused, or if there is none although
        the settings require it, and the exceptions of ``Guard.asession``.
        """
        found = self._asserted(scope)
        values = values_of(scope["headers"], self._header.encode())
        if not values:
            if self._required:
                raise IdentityError(
                    "this request has no access token, and only verified callers are served",
                    code="identity.token.missing",
                    hint=f"send an access token in the header {self._header}",
                )
            return found
        if len(values) > 1:
            raise IdentityError(
                f"the header {self._header} must appear exactly once", code="identity.several"
            )
        return await self._verified(_text(values[0]), found)

    async def _verified(self, token: SecretText, asserted: RequestIdentity) -> RequestIdentity:
        agent = asserted.program
        key = hashlib.sha256(token.reveal().encode("latin-1")).digest(), agent
        session = self._known.get(key)
        if session is None or session.token_refusal is None or session.token_refusal():
            self._known.pop(key, None)
            session = await self._opened(token, agent)
        else:
            # The tenant may have been disabled since, and its guard may have been closed.
            await self._guard.aof_tenant(session.session.tenant)
        self._known[key] = session
        self._known.move_to_end(key)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
        opened = session.session
        given = None if opened.agent.assurance is Assurance.VERIFIED else agent
        return RequestIdentity(opened.principal, given, session=session, token=token)

    async def _opened(self, token: SecretText, agent: Agent | None) -> SessionScope:
        """Return a session of the token's principal. The current actor in the token takes
        precedence over *agent*, the program that its caller token names.
        """
        try:
            return await self._guard.asession(token=token.reveal(), agent=agent)
        except IdentityError as error:
            if error.code != "identity.agent":
                raise
        return await self._guard.asession(token=token.reveal())


def _text(value: bytes) -> SecretText:
    """Return the token in the value of a header, with or without the scheme ``Bearer``."""
    found = _BEARER.match(value)
    return SecretText(value[found.end() if found else 0 :].strip(b" ").decode("latin-1"))
