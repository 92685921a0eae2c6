"""A proxy on this machine, served by a real web server, in front of any upstream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import anthropic
import openai

from guardrail.config import ProxySettings
from guardrail.guard import Guard
from guardrail.proxy.app import Proxy
from guardrail.proxy.limits import ProxyLimits
from guardrail.proxy.listening import api_refusal
from guardrail.system.asgi_server import Listener
from guardrail.system.listener import ListenAddress, ListenerRules
from tests.support.waiting import PATIENCE


class RunningProxy:
    """A proxy that serves."""

    def __init__(self, app: Any, port: int) -> None:
        self.app = app
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._clients = ExitStack()

    def openai(self, *, asynchronous: bool = False, **options: Any) -> Any:
        """Return an official client of the proxy, which is closed with it. An asynchronous one must
        be closed by the test.
        """
        given = {"base_url": f"{self.url}/v1", "api_key": "key-of-alice", "max_retries": 0}
        if asynchronous:
            return openai.AsyncOpenAI(**{**given, **options})
        return self._clients.enter_context(openai.OpenAI(**{**given, **options}))

    def anthropic(self, **options: Any) -> Any:
        """Return an official client of the proxy, which is closed with it."""
        given = {"base_url": self.url, "api_key": "key-of-alice", "max_retries": 0}
        return self._clients.enter_context(anthropic.Anthropic(**{**given, **options}))

    def close(self) -> None:
        """Close the clients."""
        self._clients.close()

    def session(self, name: str, **options: Any) -> Any:
        """Return an official client whose requests are in the session *name*."""
        return self.openai(default_headers={"x-guardrail-session": name}, **options)


@contextmanager
def serving(app: Any) -> Iterator[RunningProxy]:
    """Serve an ASGI application on a free port of the loopback address, as the command does."""
    rules = ListenerRules(stop_s=PATIENCE)
    close = getattr(app, "aclose", None)
    listener = Listener(app, rules, ListenAddress("127.0.0.1", 0), reply=api_refusal, close=close)
    with listener, closing(RunningProxy(app, listener.address.port)) as proxy:
        yield proxy


@contextmanager
def proxied(
    guard: Guard,
    upstream: str,
    *,
    limits: ProxyLimits | None = None,
    notify: Callable[[str], None] = lambda _: None,
    **settings: Any,
) -> Iterator[RunningProxy]:
    """Serve a proxy of *guard* in front of the URL *upstream*. Calls that need an approval do not
    wait for it, unless *settings* say so.
    """
    made = ProxySettings(**{"approval_wait_s": 0, **settings})
    with serving(Proxy(guard, upstream, made, limits=limits, notify=notify)) as proxy:
        yield proxy
