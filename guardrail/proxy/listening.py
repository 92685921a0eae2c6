"""The listener of the proxy, as ``[proxy]`` in the settings describes it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from guardrail.config import ProxySettings
from guardrail.errors import ConfigError
from guardrail.system.caller_tokens import CallerTokens
from guardrail.system.listener import ListenAddress, ListenerRules, check_binding, host_names

if TYPE_CHECKING:
    from guardrail.system.asgi_server import ServerTls

__all__ = ["listener_rules", "listener_tls"]

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|[a-z][a-z0-9+.-]*://[A-Za-z0-9.-]+")


def listener_rules(settings: ProxySettings) -> tuple[ListenAddress, ListenerRules]:
    """Return the address of the proxy, and its rules. Raises ``ConfigError`` for settings that
    would serve callers whom nobody knows.
    """
    address = ListenAddress.parse(settings.listen)
    tokens = None if settings.callers is None else CallerTokens(settings.callers)
    check_binding(address, tls=settings.tls_cert is not None, authenticated=tokens is not None)
    if address.wildcard and not settings.hosts:
        raise ConfigError(
            f"no request could name {address} as its Host, so every one would be refused",
            code="listener.hosts",
            hint="set [proxy] hosts to the names of this machine",
        )
    for origin in settings.origins:
        if _ORIGIN.fullmatch(origin) is None:
            raise ConfigError(
                "[proxy] origins: each must be a web origin, without a path",
                code="listener.origins",
                hint="for example https://chat.example.com",
            )
    return address, ListenerRules(
        hosts=host_names(settings.hosts),
        origins=frozenset(settings.origins),
        max_body=settings.max_body_mb << 20,
        max_streams=settings.max_streams,
        idle_s=settings.idle_s,
        stop_s=settings.stop_s,
        authenticate=None if tokens is None else tokens.caller,
    )


def listener_tls(settings: ProxySettings) -> ServerTls | None:
    """Return the TLS settings of the proxy, or None if it serves plain HTTP. Raises
    ``ConfigError``.
    """
    if settings.tls_cert is None and settings.tls_key is None:
        return None
    if settings.tls_cert is None or settings.tls_key is None:
        raise ConfigError(
            "[proxy] tls_cert and tls_key must be set together",
            code="listener.tls",
            hint="set both, or neither on loopback",
        )
    from guardrail.system.asgi_server import server_tls

    return server_tls(settings.tls_cert, settings.tls_key)
