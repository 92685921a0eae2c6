"""The proxy's listener, as configured in ``[proxy]``."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import replace

from guardrail.config import ProxySettings
from guardrail.errors import ConfigError
from guardrail.guard import Guard
from guardrail.proxy.app import Proxy
from guardrail.proxy.callers import CallerIdentity
from guardrail.proxy.errors import Failure
from guardrail.proxy.headers import decoded
from guardrail.proxy.notices import Notices
from guardrail.proxy.refusals import RefusedRequests
from guardrail.proxy.routes import format_of
from guardrail.proxy.seen_tools import SeenTools
from guardrail.system.asgi_server import Listener, ServerTls, server_tls
from guardrail.system.caller_tokens import CALLERS_FILE, CallerTokens
from guardrail.system.listener import (
    Headers,
    ListenAddress,
    ListenerRefusal,
    ListenerRules,
    check_binding,
    host_names,
)

__all__ = ["api_refusal", "client_urls", "listener_rules", "listener_tls", "proxy_listener"]

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|[a-z][a-z0-9+.-]*://[A-Za-z0-9.-]+")


_SETTINGS = {421: "hosts", 403: "origins"}
"""The setting that can prevent a refusal, keyed by HTTP status."""


def listener_rules(
    settings: ProxySettings,
    log: Callable[[str], None] = lambda _: None,
    *,
    verified: bool = False,
) -> tuple[ListenAddress, ListenerRules]:
    """Return the address and the rules for the proxy's listener. *log* receives a line if the
    callers file later becomes unusable. *verified* is True if the proxy serves only callers with a
    verified access token. Raises ``ConfigError`` for settings that would serve unidentified
    callers.
    """
    address = ListenAddress.parse(settings.listen)
    tokens = None if settings.callers is None else CallerTokens(settings.callers, log=log)
    authenticated = verified or tokens is not None
    check_binding(address, tls=settings.tls_cert is not None, authenticated=authenticated)
    if address.wildcard and not settings.hosts:
        raise ConfigError(
            f"{address} can't be the Host of a request, so every request would be refused",
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
        authenticate=None if tokens is None else tokens.authenticate,
        app_authenticates=verified,
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
    return server_tls(settings.tls_cert, settings.tls_key)


def api_refusal(
    path: str, headers: Headers, refusal: ListenerRefusal
) -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Return the response to a request that the listener refuses, in the format of the request's
    API.
    """
    retry = False if refusal.code == CALLERS_FILE else None
    failure = Failure(refusal.status, f"listener.{refusal.code}", refusal.message, retry)
    body = failure.body(format_of(path, decoded(headers)))
    return [(name.encode(), value.encode()) for name, value in failure.headers], body


def _with_setting(refusal: ListenerRefusal) -> ListenerRefusal:
    """Return *refusal*, with a hint about the setting that can prevent it, if there is one."""
    if refusal.status not in _SETTINGS:
        return refusal
    setting = f"the proxy's operator can add it to [proxy] {_SETTINGS[refusal.status]}"
    return replace(refusal, message=f"{refusal.message}; {setting}")


def proxy_listener(
    guard: Guard,
    upstream: str,
    settings: ProxySettings,
    *,
    seen: SeenTools | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> Listener:
    """Return the server for a proxy in front of *upstream*, bound to the proxy's address. *seen*
    collects the tools that have not been accepted. *log* is called with lines for the operator.
    Raises ``ConfigError``.
    """
    verified = guard.calls.callers.requires_verified
    address, rules = listener_rules(settings, log, verified=verified)
    identity = CallerIdentity(settings)
    notices = Notices(log)
    refused = RefusedRequests(guard.record_admin)
    app = Proxy(
        guard,
        upstream,
        settings,
        identify=identity.identify,
        seen=seen,
        notify=log,
        notices=notices,
        refused=refused.note,
    )

    def reply(
        path: str, headers: Headers, refusal: ListenerRefusal
    ) -> tuple[list[tuple[bytes, bytes]], bytes]:
        refused.note(refusal.code)
        notices.tell(refusal.code, f"a request was refused: {refusal.status} {refusal.message}")
        return api_refusal(path, headers, _with_setting(refusal))

    async def close() -> None:
        await app.aclose()
        await asyncio.to_thread(refused.close)

    return Listener(
        app,
        rules,
        address,
        tls=listener_tls(settings),
        reply=reply,
        close=close,
        log=log,
    )


def client_urls(listener: Listener, settings: ProxySettings) -> dict[str, str]:
    """Return the base URLs for clients, keyed by the environment variables that the clients
    read.
    """
    base = listener.url
    if listener.address.wildcard:
        scheme, _, _ = base.partition("://")
        name = settings.hosts[0]
        base = f"{scheme}://{name if ':' in name else f'{name}:{listener.address.port}'}"
    return {"OPENAI_BASE_URL": f"{base}/v1", "ANTHROPIC_BASE_URL": base}
