"""The caller and the session of a request."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import hmac
import secrets
import sys
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from guardrail.call.scope import SessionScope
from guardrail.model_apis.claims import ResultClaim, is_legacy
from guardrail.model_apis.kept_names import kept_name
from guardrail.model_apis.open_calls import Owner
from guardrail.proxy.callers import RequestIdentity
from guardrail.proxy.headers import Headers, credentials_in

if TYPE_CHECKING:
    from guardrail.guard import Guard

__all__ = ["CallerSessions", "ProxyCaller", "call_name", "call_names", "credential_digest"]

_MOST = 8_192
"""Maximum number of stored names (of responses, conversations, calls and sessions)."""
_KEY = secrets.token_bytes(32)


@dataclass(frozen=True, slots=True)
class ProxyCaller:
    """The caller of a request."""

    identity: RequestIdentity
    credential: str
    """The result of ``credential_digest`` for the request."""

    @property
    def key(self) -> Owner:
        """A key that identifies this caller. The credential includes the caller token, but not the
        access token, which the caller renews.
        """
        principal, session = self.identity.principal, self.identity.session
        who = principal.issuer or "", principal.id, self.credential
        if session is None:
            return who
        opened, agent = session.session, session.session.agent
        return (*who, opened.tenant, agent.id, agent.assurance, agent.issuer or "")


def credential_digest(headers: Headers, query: str, identity: frozenset[str] = frozenset()) -> str:
    """Return a digest of everything in a request that may be a credential. The credentials
    themselves are never stored. The digest is meaningful only in this process. The arguments are
    those of ``credentials_in``.
    """
    code = hmac.new(_KEY, digestmod=hashlib.sha256)
    for each in credentials_in(headers, query, identity):
        code.update(each.encode())
    return sys.intern(code.hexdigest())  # thousands of stored calls and names refer to it


def call_name(key: str) -> str:
    """Return a name for a call that differs from every name of a response."""
    return f"call\n{key}"


def call_names(claims: Iterable[ResultClaim]) -> list[str]:
    """Return the names of the calls whose results a request reports, newest first."""
    return [call_name(claim.key) for claim in claims if not is_legacy(claim.key)][::-1]


_Place = tuple[Owner, str]


def _key(caller: ProxyCaller, name: str) -> _Place:
    return caller.key, kept_name(name)


class CallerSessions:
    """The callers' sessions. Their number is limited: the oldest sessions are forgotten, and a
    request that continues a forgotten session gets a new session.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._known: OrderedDict[_Place, SessionScope | None] = OrderedDict()

    async def named(self, caller: ProxyCaller, name: str) -> SessionScope:
        """Return the session specified in a request. Raises ``IdentityError`` if the session
        belongs to a different caller.
        """
        place = _key(caller, f"session\n{name}")
        found = self._known.get(place)
        if found is None:
            # The session may have records from an earlier process.
            found = await self._entered(caller, name)
        else:
            found = await self._current(caller, found)
        self._keep(place, found)
        return found

    async def continued(self, caller: ProxyCaller, names: Iterable[str]) -> SessionScope | None:
        """Return the session of the first known name in *names*, or None if no name is known."""
        for name in names:
            found = self._known.get(_key(caller, name))
            if found is not None:
                return await self._current(caller, found)
        return None

    def new(self, caller: ProxyCaller) -> SessionScope:
        """Return a new session.

        The caller's access token was verified when the request arrived. If it has expired or must
        be confirmed while the model answered, the calls in the session notice.
        """
        opened = caller.identity.session
        if opened is None:
            return self._guard.session(**caller.identity.opening)
        return self._guard.another_session(opened)

    async def _current(self, caller: ProxyCaller, found: SessionScope) -> SessionScope:
        """Return *found*, entered with the access token of this request if the caller has one: an
        earlier token may have expired.
        """
        own = caller.identity.session
        if own is None or own.token_refusal == found.token_refusal:
            return found
        return await self._entered(caller, found.id)

    async def _entered(self, caller: ProxyCaller, id_: str) -> SessionScope:
        # The thread reads the ledger, if this process does not know the session.
        enter = functools.partial(self._guard.session, **caller.identity.opening, id=id_)
        return await asyncio.to_thread(enter)

    def note(self, caller: ProxyCaller, names: Iterable[str], session: SessionScope) -> None:
        """Remember *session* for requests that continue any of *names*."""
        for name in names:
            place = _key(caller, name)
            known = self._known.get(place, session)
            # Servers that number their calls reuse names in different conversations.
            is_same = known is not None and known.id == session.id
            self._keep(place, session if is_same else None)

    def _keep(self, place: _Place, session: SessionScope | None) -> None:
        self._known[place] = session
        self._known.move_to_end(place)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)
