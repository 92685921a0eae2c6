"""A proxy that runs in this process and serves one program. The program finds the proxy's address,
which contains a secret, in its environment.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from guardrail.proxy.app import FailedRequests, Proxy
from guardrail.proxy.asgi import Outgoing
from guardrail.proxy.errors import ErrorFormat, ProxyError, failure_of
from guardrail.proxy.headers import decoded
from guardrail.proxy.listening import api_refusal
from guardrail.proxy.refusals import RefusedRequests
from guardrail.proxy.routes import format_of
from guardrail.proxy.seen_tools import SeenTools
from guardrail.system.asgi_rules import Receive, Scope, Send
from guardrail.system.asgi_server import Listener
from guardrail.system.listener import Headers, ListenAddress, ListenerRefusal, ListenerRules

if TYPE_CHECKING:
    from guardrail.config import ProxySettings
    from guardrail.guard import Guard

__all__ = ["UNGOVERNED", "EmbeddedProxy", "anthropic_api", "upstream_in"]

OPENAI_NAMES = ("OPENAI_BASE_URL", "OPENAI_API_BASE")
"""Variables for a base URL that ends with ``/v1``."""
ANTHROPIC_NAMES = ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_BASE", "ANTHROPIC_API_URL")
"""Variables for a base URL that clients add ``/v1`` to."""
UNGOVERNED = (
    "AZURE_OPENAI_ENDPOINT",
    "ANTHROPIC_AWS_BASE_URL",
    "ANTHROPIC_BEDROCK_BASE_URL",
    "ANTHROPIC_FOUNDRY_BASE_URL",
    "ANTHROPIC_VERTEX_BASE_URL",
    "AWS_BEDROCK_BASE_URL",
)
"""Variables that direct clients to an API with different paths, which the proxy does not serve."""
_DEFAULTS = {
    ErrorFormat.OPENAI: "https://api.openai.com/v1",
    ErrorFormat.ANTHROPIC: "https://api.anthropic.com",
}
_STOP_S = 1.0
"""Seconds that requests in progress have to finish after their program has ended."""


def upstream_in(environment: Mapping[str, str], provider: ErrorFormat) -> str | None:
    """Return the URL of the API that a program with this environment uses, or None if no variable
    specifies it.
    """
    names = OPENAI_NAMES if provider is ErrorFormat.OPENAI else ANTHROPIC_NAMES
    return next((environment[name] for name in names if environment.get(name)), None)


def anthropic_api(base: str | None) -> str | None:
    """Return the URL of the API at *base*, a base URL for Anthropic's clients, which append
    ``/v1``.
    """
    if base is None or base.rstrip("/").endswith("/v1"):
        return base
    return f"{base.rstrip('/')}/v1"


class EmbeddedProxy:
    """Serves one program from a separate thread, inside a ``with`` block.

    Only requests whose path begins with the secret of this object are served. The secret is never
    logged, recorded or forwarded.
    """

    def __init__(
        self,
        guard: Guard,
        settings: ProxySettings,
        *,
        openai: str | None = None,
        anthropic: str | None = None,
        seen: SeenTools | None = None,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        """*openai* and *anthropic* are the URLs of the APIs (default: the providers' own). *seen*
        collects the tools that have not been accepted. *notify* is called with lines for the
        operator. Raises ``ConfigError`` if any of the URLs can't be reached safely.
        """
        self.requests = 0
        """Number of requests that contained the secret."""
        self._secret = secrets.token_urlsafe(32)
        given = {ErrorFormat.OPENAI: openai, ErrorFormat.ANTHROPIC: anthropic}
        self._refused = RefusedRequests(guard.record_admin)
        self._apps = {
            provider: Proxy(
                guard,
                url or _DEFAULTS[provider],
                settings,
                seen=seen,
                notify=notify,
                refused=self._refused.note,
            )
            for provider, url in given.items()
        }
        rules = ListenerRules(
            max_body=settings.max_body_mb << 20,
            max_streams=settings.max_streams,
            idle_s=settings.idle_s,
            stop_s=_STOP_S,
        )
        self._listener = Listener(
            self._serve,
            rules,
            ListenAddress("127.0.0.1", 0),
            reply=self._reply,
            close=self._close,
        )

    def environment(self, outside: Mapping[str, str]) -> dict[str, str]:
        """Return the environment for the program: *outside*, with the addresses of the APIs
        replaced by this proxy's address.
        """
        base = f"{self._listener.url}/{self._secret}"
        # A client that uses an HTTP proxy from its environment would use that proxy for loopback
        # addresses too.
        direct = ",".join(
            filter(None, (outside.get("NO_PROXY") or outside.get("no_proxy"), "127.0.0.1"))
        )
        return {
            **outside,
            **dict.fromkeys(OPENAI_NAMES, f"{base}/v1"),
            **dict.fromkeys(ANTHROPIC_NAMES, base),
            "NO_PROXY": direct,
            "no_proxy": direct,
        }

    @property
    def unanswered(self) -> dict[ErrorFormat, tuple[int, str]]:
        """The number of requests to which the upstream did not respond, and the reason for the most
        recent of them, keyed by provider. Contains only providers with such requests.
        """
        return {
            provider: (app.unanswered, app.problem)
            for provider, app in self._apps.items()
            if app.unanswered
        }

    @property
    def failed(self) -> list[FailedRequests]:
        """The requests that ended with a different error: one entry per error code and provider."""
        return [each for app in self._apps.values() for each in app.failed.values()]

    def __enter__(self) -> Self:
        """Start serving. Raises ``ConfigError``."""
        self._listener.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop serving, and end the requests in progress."""
        self._listener.__exit__(kind, error, trace)

    async def _close(self) -> None:
        for app in self._apps.values():
            await app.aclose()
        await asyncio.to_thread(self._refused.close)

    def _reply(
        self, path: str, headers: Headers, refusal: ListenerRefusal
    ) -> tuple[list[tuple[bytes, bytes]], bytes]:
        self._refused.note(refusal.code)
        return api_refusal(path, headers, refusal)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that contains the secret, after removing the secret from its path."""
        first, _, rest = scope["raw_path"][1:].partition(b"/")
        path = b"/" + rest
        provider = format_of(path.decode("latin-1"), decoded(scope["headers"]))
        if not hmac.compare_digest(first, self._secret.encode()):
            failure = failure_of(ProxyError(404, "there is no such path", code="proxy.route"))
            self._refused.note(failure.code)
            body = failure.body(provider)
            await Outgoing(send).whole(failure.status, failure.headers, body)
            return
        self.requests += 1
        if path != b"/" and not path.startswith(
            b"/v1/"
        ):  # Vercel's client does not append /v1 to Anthropic's base URL
            path = b"/v1" + path
        inner = {**scope, "raw_path": path, "path": path.decode("latin-1")}
        await self._apps[provider](inner, receive, send)
