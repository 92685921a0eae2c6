"""Governs a client, so that its responses contain only decided tool calls."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeVar, cast

from guardrail.call.scope import SessionScope
from guardrail.errors import UsageError

try:
    import openai
except ImportError as missing:
    raise ImportError(
        "guardrail.integrations.openai needs the OpenAI client:"
        " install guardrail with the 'openai' extra (README.md)"
    ) from missing

from guardrail.integrations.openai.turns import ClientTurns
from guardrail.model_apis.api import Api
from guardrail.model_apis.openai.routes import check_socket, refuse, route_of

if TYPE_CHECKING:
    from guardrail.guard import Guard

__all__ = ["govern_client"]

C = TypeVar("C", openai.OpenAI, openai.AsyncOpenAI)


def govern_client(
    client: C,
    guard: Guard,
    *,
    session: SessionScope | None = None,
    wait_for_approval: float | None = None,
) -> C:
    """Return a governed version of *client*, whose responses contain a tool call only after a
    durable, well-formed ``allow``.

    The returned client has the same class and shares the connections of *client*. Every method is
    governed, and so are clients created with ``copy`` and ``with_options``. A refused call is
    replaced with a refusal. Routes that can carry tool calls but can't be governed raise
    ``UsageError``. The records contain ``enforcement: release``, and the outcomes are the results
    reported in later requests.

    Calls are decided in *session*, or in the session that is current when the request is made.
    *wait_for_approval* is the number of seconds that a response waits for a person to approve one
    of its calls. Raises ``UsageError`` if *client* is not a client from the openai package, or is
    governed by a different guard.
    """
    _check_client(client)
    shared = getattr(client, "_guardrail", None)
    if isinstance(shared, ClientTurns):
        if shared.guard is guard and session is None and wait_for_approval is None:
            return client
        raise UsageError(
            "this client is already governed",
            code="usage.governed",
            hint="pass the ungoverned client",
        )
    hooks = _AsyncHooks if issubclass(type(client), openai.AsyncOpenAI) else _SyncHooks
    base = type(client)
    space = {
        "_guardrail": ClientTurns(guard, session, wait_for_approval),
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
    }
    kind = cast("type[C]", type(base.__name__, (hooks, base), space))
    # ``copy`` creates a client of the same class, so it is sufficient to store the options in this
    # class.
    options = object.__new__(kind)
    options.__dict__.update(client.__dict__)
    return options.copy()


def _check_client(client: object) -> None:
    kind = type(client)
    if not isinstance(client, openai.OpenAI | openai.AsyncOpenAI):
        raise UsageError(
            (
                "expected a client from the openai package, not "
                f"{kind.__module__}.{kind.__qualname__}"
            ),
            code="usage.client",
            hint="govern_client(OpenAI(), guard)",
        )
    if not hasattr(kind, "_send_request"):
        raise UsageError(
            (f"openai {openai.__version__} has no hook that lets guardrail govern all requests"),
            code="usage.client",
            hint="pip install --upgrade openai",
        )


class _Hooks:
    """The methods that a governed client overrides, sync and async."""

    _guardrail: ClassVar[ClientTurns]

    def _route(self, request: Any) -> Api | None:
        base = cast("Any", self).base_url.path
        return route_of(request.method, request.url.path, base)

    @functools.cached_property
    def responses(self) -> Any:
        return _without_socket(super().responses, "responses over a WebSocket")  # type: ignore[misc]

    @functools.cached_property
    def beta(self) -> Any:
        found = super().beta  # type: ignore[misc]
        _without_socket(found.responses, "responses over a WebSocket")
        _without_socket(found.realtime, "the realtime API")
        return found

    @property
    def realtime(self) -> NoReturn:
        raise refuse("the realtime API")

    @property
    def live(self) -> NoReturn:
        raise refuse("the live API")


def _without_socket(resource: Any, name: str) -> Any:
    def connect(*_: object, **__: object) -> NoReturn:
        raise refuse(name)

    resource.connect = connect
    return resource


class _SyncHooks(_Hooks):
    def _prepare_options(self, options: Any) -> Any:
        check_socket(options.url)
        return super()._prepare_options(options)  # type: ignore[misc]

    def _send_request(self, request: Any, *, stream: bool, **options: Any) -> Any:
        send = super()._send_request  # type: ignore[misc]
        api = self._route(request)
        if api is None:
            return send(request, stream=stream, **options)
        turn = self._guardrail.begin(api, request)
        turn.settle()
        return turn.answer(send(turn.request(request), stream=stream, **options))


class _AsyncHooks(_Hooks):
    async def _prepare_options(self, options: Any) -> Any:
        check_socket(options.url)
        return await super()._prepare_options(options)  # type: ignore[misc]

    async def _send_request(self, request: Any, *, stream: bool, **options: Any) -> Any:
        send = super()._send_request  # type: ignore[misc]
        api = self._route(request)
        if api is None:
            return await send(request, stream=stream, **options)
        turn = self._guardrail.begin(api, request)
        await turn.asettle()
        return await turn.aanswer(await send(turn.request(request), stream=stream, **options))
