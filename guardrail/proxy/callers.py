"""Identifies the caller of a request by a header from a peer, by the operating-system user of a
loopback connection, or by the caller's token.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from guardrail.config import ProxySettings
from guardrail.core.types import Agent, Assurance, Principal
from guardrail.errors import ConfigError, IdentityError
from guardrail.identity.principal import check_id
from guardrail.identity.token_text import SecretText
from guardrail.system.asgi_rules import ConnectionFacts, Scope, caller_of, facts_of
from guardrail.system.listener import values_of
from guardrail.system.os_user import user_named
from guardrail.system.socket_owner import socket_user

if TYPE_CHECKING:
    from guardrail.call.scope import SessionScope

__all__ = ["HEADER_NAME", "RESERVED_HEADERS", "CallerIdentity", "RequestIdentity"]

_NOBODY = Principal(id="", assurance=Assurance.ABSENT, method="none")
_USER, _TOKEN = "os_user", "token"
HEADER_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,64}")
"""Matches the names of headers that settings can name, in lower case."""
RESERVED_HEADERS = frozenset(
    {
        "authorization",
        "x-api-key",
        "api-key",
        "host",
        "cookie",
        "connection",
        "content-length",
        "transfer-encoding",
        "x-guardrail-session",
        "x-guardrail-token",
    }
)
"""Headers that already have a different meaning or that clients set themselves."""


@dataclass(frozen=True, slots=True)
class RequestIdentity:
    """The identity of a request's caller."""

    principal: Principal
    agent: Agent | None = None
    """The program, identified by its caller token, if the principal is identified in a different
    way and no access token states the agent.
    """
    session: SessionScope | None = None
    """A session of the caller that has no calls, if a token states the caller or the agent."""
    token: SecretText | None = None
    """The access token that states the caller, or None."""
    agent_token: SecretText | None = None
    """The agent's own token, or None."""

    @property
    def program(self) -> Agent | None:
        """The program that a caller token identifies, or None."""
        if self.agent is None and self.principal.method == _TOKEN:
            return Agent(id=self.principal.id, method=_TOKEN)
        return self.agent

    @property
    def opening(self) -> dict[str, Any]:
        """The arguments with which ``Guard.session`` opens a session of the caller."""
        made: dict[str, Any] = {"agent": self.agent}
        if self.token is None:
            made["principal"] = self.principal
        else:
            made["token"] = self.token.reveal()
        if self.agent_token is not None:
            made["agent_token"] = self.agent_token.reveal()
        return made


class CallerIdentity:
    """Determines the identity of each request's caller. Never guesses."""

    def __init__(self, settings: ProxySettings) -> None:
        """Read *peers* and *identity_header* from the settings. Raises ``ConfigError`` if either is
        malformed, or if only one of them is set.
        """
        self._peers = frozenset(_peer(text) for text in settings.peers)
        self._header = settings.identity_header.lower()
        if bool(self._peers) != bool(self._header):
            raise ConfigError(
                "[proxy] peers and identity_header are only useful together",
                code="config.identity_header",
                hint="set both: the peers that may specify the caller, and the header that they "
                "use",
            )
        usable = HEADER_NAME.fullmatch(self._header) and self._header not in RESERVED_HEADERS
        if self._header and not usable:
            raise ConfigError(
                "[proxy] identity_header: this name can't be used",
                code="config.identity_header",
                hint="use the name of a separate header, for example x-forwarded-user",
            )

    def identify(self, scope: Scope) -> RequestIdentity:
        """Return the identity of a request's caller. If the caller is unknown, the principal is
        absent.

        The user of a loopback connection is the principal even if the request has a token:
        otherwise, this user could approve calls made by the user's own programs. The token then
        identifies the agent.

        Raises ``IdentityError`` if a peer specifies the caller twice or in a malformed way, or if a
        client that is not a peer sends the peers' header.
        """
        facts = facts_of(scope)
        peer = _address_of(facts)
        named = values_of(scope["headers"], self._header.encode()) if self._header else []
        if peer is not None and peer in self._peers:
            # The peer's own user and token identify the peer, not the caller.
            return RequestIdentity(self._principal_from(named))
        if named:
            raise IdentityError(
                "only configured peers may specify the caller in this header",
                code="identity.peer",
                hint="add the address to [proxy] peers, or do not send this header",
            )
        caller = caller_of(scope)
        if peer is not None and peer.is_loopback:
            user = _user_of(facts)
            if user is not None:
                return RequestIdentity(
                    Principal(id=check_id(user_named(user), "user name"), method=_USER),
                    None if caller is None else Agent(id=caller, method=_TOKEN),
                )
        return RequestIdentity(_NOBODY if caller is None else Principal(id=caller, method=_TOKEN))

    @staticmethod
    def _principal_from(values: list[bytes]) -> Principal:
        if not values:
            return _NOBODY
        if len(values) > 1:
            raise IdentityError("the caller is specified twice", code="identity.several")
        try:
            text = values[0].decode("utf-8")
        except UnicodeDecodeError:
            raise IdentityError(
                "the name of the caller is not UTF-8", code="identity.characters"
            ) from None
        return Principal(id=check_id(text, "the name of the caller"), method="peer_header")


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _peer(text: str) -> _Address:
    try:
        return _plain(text)
    except ValueError:
        raise ConfigError(
            "[proxy] peers: each must be an IP address",
            code="config.peers",
            hint="for example 10.0.0.7; a client of a Unix socket has no address, so it can't be a "
            "peer (docs/proxy.md)",
        ) from None


def _address_of(facts: ConnectionFacts) -> _Address | None:
    """Return the address of the client, or None if it has none, as on a Unix socket."""
    try:
        return None if facts.client is None else _plain(facts.client[0])
    except ValueError:  # some servers pass the path of the socket
        return None


def _plain(text: str) -> _Address:
    """Return the address in *text*. An IPv4-mapped IPv6 address is returned as IPv4."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def _user_of(facts: ConnectionFacts) -> int | None:
    """Return the user at the other end of the connection. The user is looked up once per
    connection.
    """
    if facts.client is None or facts.server is None:
        return None
    if _USER not in facts.known:
        facts.known[_USER] = socket_user(facts.client, facts.server)
    found: int | None = facts.known[_USER]
    return found
