"""Runs an ASGI app under the rules of ``guardrail.system.listener``, on uvicorn with h11.

The socket is bound before the server starts, so its port is known, and no child process inherits
the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import ssl
from collections.abc import Awaitable, Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guardrail.core.words import counted
from guardrail.errors import ConfigError, os_reason
from guardrail.system.asgi_rules import App, GuardedApp, RefusalReply, plain_refusal
from guardrail.system.listener import ListenAddress, ListenerRules, check_binding
from guardrail.system.signals import ENDING, handled
from guardrail.system.threads import BackgroundThread, OnceEvent

if TYPE_CHECKING:
    import uvicorn

__all__ = ["Listener", "ServerTls", "require_server", "server_tls"]

ServerTls = ssl.SSLContext
"""TLS settings: see ``server_tls``."""
_BACKLOG = 256
"""Number of connections that the system queues until they are accepted."""
_AT_ONCE = 16
_START_S = 30.0
_CLOSE_S = 10.0
"""Maximum number of seconds that cancelled requests and the app may take to end."""


def server_tls(cert: Path, key: Path, *, code: str = "listener.tls") -> ServerTls:
    """Return the TLS settings for a server with the certificate *cert*: TLS 1.2 or later. Raises
    ``ConfigError`` with *code*.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2

    def no_password() -> str:
        # This is called only for an encrypted key, for which OpenSSL would otherwise prompt on the
        # terminal.
        raise ValueError

    try:
        context.load_cert_chain(cert, key, password=no_password)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"certificate or key can't be used ({type(error).__name__})",
            code=code,
            hint="use two PEM files, with an unencrypted key",
        ) from None
    return context


class Listener:
    """Serves one app on one address. Use ``run`` to serve in this thread, or a ``with`` block,
    whose value is the URL, to serve in another thread.
    """

    def __init__(
        self,
        app: App,
        rules: ListenerRules,
        address: ListenAddress,
        *,
        tls: ServerTls | None = None,
        reply: RefusalReply = plain_refusal,
        close: Callable[[], Awaitable[None]] | None = None,
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Bind *address*. Connections are accepted from now on, and served once the server runs.

        When the server has stopped, *close* is awaited, so that the app can end its remaining work.
        *log* is called with lines for the operator, about failed requests and requests that delay
        the shutdown. Raises ``ConfigError`` if other machines can reach the address without TLS or
        without authentication, if it can't be bound, and if uvicorn is not installed.
        """
        authenticated = rules.authenticate is not None or rules.app_authenticates
        check_binding(address, tls=tls is not None, authenticated=authenticated)
        require_server()
        self._socket = _bound_socket(address)
        self.address = ListenAddress(address.host, int(self._socket.getsockname()[1]))
        """The address with the port that the server listens on."""
        self._rules = replace(rules, address=self.address)
        self.app = GuardedApp(app, self._rules, reply=reply, log=log)
        self._tls = tls
        self._reply = reply
        self._close = close
        self._log = log
        self._server: uvicorn.Server | None = None
        self._stopped = False
        """True if the server must stop as soon as it has started."""
        self._thread: BackgroundThread | None = None
        self._ready = OnceEvent()
        self._failure: BaseException | None = None

    @property
    def url(self) -> str:
        """The URL of the server for clients on this machine."""
        scheme = "https" if self._tls is not None else "http"
        host = self.address
        if host.wildcard:
            host = ListenAddress("::1" if ":" in host.host else "127.0.0.1", host.port)
        return f"{scheme}://{host}"

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until SIGTERM or Ctrl-C, and call *ready* as soon as requests are answered.

        Requests in progress then have ``stop_s`` seconds to end; a second signal ends them at once.
        """
        with handled(ENDING, lambda *_: self.stop()):
            asyncio.run(self._serve(ready))

    def __enter__(self) -> str:
        """Start the server in a thread, and return its URL once it accepts requests."""
        self._thread = BackgroundThread(self._serve_here, "guardrail-listener")
        try:
            self._thread.start()
            in_time = self._ready.wait(_START_S)
        except BaseException:  # an interrupt: __exit__ is not called
            self.__exit__()
            raise
        if not in_time or self._failure is not None:
            self.stop()
            raise ConfigError(
                f"the server on {self.address} did not start", code="listener.start"
            ) from self._failure
        return self.url

    def __exit__(self, *_: object) -> None:
        """Stop the server as SIGTERM does, and wait until it has stopped."""
        self.stop()
        if self._thread is not None:
            self._thread.join(self._rules.stop_s + 2 * _CLOSE_S)
            if not self._thread.has_begun:
                self._socket.close()

    def stop(self) -> None:
        """Ask the server to stop. After a second call, it does not wait for requests in
        progress.
        """
        server = self._server
        if server is None:
            self._stopped = True
        elif server.should_exit:
            server.force_exit = True
        else:
            server.should_exit = True

    def _serve_here(self) -> None:
        try:
            asyncio.run(self._serve(self._ready.set))
        except BaseException as error:  # noqa: BLE001 - raised in the waiting thread
            self._failure = error
        finally:
            self._ready.set()

    async def _serve(self, ready: Callable[[], None]) -> None:
        self._server = server = _make_server(
            self.app,
            self._rules,
            self._tls,
            self._reply,
            ready=ready,
            stopping=self._log_stop,
        )
        server.should_exit = self._stopped
        try:
            await server.serve(sockets=[self._socket])
        finally:
            tasks = set(server.server_state.tasks)
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=_CLOSE_S)
            if self._close is not None:
                await self._close()

    def _log_stop(self) -> None:
        count = self.app.streams
        if not count:
            return
        with contextlib.suppress(OSError):  # the server stops even if nobody reads the log
            self._log(
                f"stopping: {counted(count, 'request')} in progress, up to"
                f" {self._rules.stop_s:g} s; Ctrl-C again ends {'it' if count == 1 else 'them'}"
            )


def require_server() -> None:
    """Raise ``ConfigError`` if the packages that an HTTP server needs are not installed."""
    try:
        import guardrail.system.h11_limits  # noqa: F401
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the HTTP server needs the package {error.name}, which is not installed",
            code="listener.extra",
            hint="install guardrail with the 'server' extra (README.md)",
        ) from None


def _bound_socket(address: ListenAddress) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # asyncio disables Nagle's algorithm only for sockets that specify TCP. With the algorithm,
    # parts of a response wait up to 40 ms for the client's acknowledgement.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address.host, address.port))
        made.listen(_BACKLOG)
    except OSError as error:
        made.close()
        raise ConfigError(
            f"can't listen on {address} ({os_reason(error)})",
            code="listener.listen",
            hint="choose a different address or port: --listen 127.0.0.1:0 selects a free port",
        ) from None
    made.setblocking(False)
    return made


def _make_server(
    app: App,
    rules: ListenerRules,
    tls: ServerTls | None,
    reply: RefusalReply,
    *,
    ready: Callable[[], None],
    stopping: Callable[[], None],
) -> uvicorn.Server:
    import uvicorn

    from guardrail.system.h11_limits import HANDSHAKE_S, protocol_factory

    protocol: Any = protocol_factory(rules, reply)

    class QuietServer(uvicorn.Server):
        """A server that leaves signal handling to ``Listener``, and reports when it accepts
        requests.
        """

        @contextlib.contextmanager
        def capture_signals(self) -> Generator[None]:
            yield

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            """Accept connections. uvicorn's own method sets no limit for a TLS handshake."""
            loop = asyncio.get_running_loop()
            make: Any = functools.partial(
                protocol,
                config=self.config,
                server_state=self.server_state,
                app_state={},
                _loop=loop,
            )
            self.servers = [
                await loop.create_server(
                    make,
                    sock=each,
                    ssl=tls,
                    ssl_handshake_timeout=None if tls is None else HANDSHAKE_S,
                    # The event loop accepts up to this many connections before it processes any of
                    # them.
                    backlog=_AT_ONCE,
                )
                for each in sockets or []
            ]
            for each in sockets or []:
                each.listen(_BACKLOG)
            self.started = True
            ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            """Wait for requests in progress to end."""
            stopping()
            await super().shutdown(sockets)

    return QuietServer(_configuration(app, rules, protocol))


def _configuration(app: App, rules: ListenerRules, protocol: Any) -> uvicorn.Config:
    import uvicorn

    config = uvicorn.Config(
        app,
        http=protocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        # X-Forwarded-For would replace the address that shows who is calling
        proxy_headers=False,
        server_header=False,
        workers=1,
        backlog=_BACKLOG,
        h11_max_incomplete_event_size=rules.max_head,
        timeout_keep_alive=max(1, round(rules.idle_s)),
        timeout_graceful_shutdown=max(1, round(rules.stop_s)),
    )
    config.load()
    return config
