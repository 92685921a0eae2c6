"""The ToolBox for an Anthropic client."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from guardrail.core.call_context import CallContext
from guardrail.errors import UsageError
from guardrail.integrations.model_calls import CallBatch, listed
from guardrail.integrations.toolbox import ToolBoxBase
from guardrail.model_apis.calls import AskedCall, Refusal, ToolAnswer, text_or_none

try:
    import anthropic
    from anthropic.types import Message
    from anthropic.types.beta import BetaMessage
except ImportError as missing:
    raise ImportError(
        "guardrail.integrations.anthropic needs the Anthropic client:"
        " install guardrail with the 'anthropic' extra (README.md)"
    ) from missing

if TYPE_CHECKING:
    from guardrail.call.scope import SessionScope

__all__ = ["AnthropicToolBox"]

_ENDED = frozenset({"end_turn", "pause_turn", "stop_sequence", "tool_use"})
"""Stop reasons that mean that a message and its calls are complete."""
_HOSTED = frozenset({"server_tool_use", "mcp_tool_use"})
"""Content blocks for tools that the provider runs."""


class AnthropicToolBox(ToolBoxBase):
    """Functions that a model may call through an Anthropic client. A body runs only after a
    durable, well-formed ``allow``.

    Thread-safe once every function is registered.
    """

    _adapter = "anthropic"
    _names = re.compile(r"[a-zA-Z0-9_-]{1,128}")

    def tools(self) -> list[dict[str, Any]]:
        """Return the list of tools to pass as ``tools`` in a request."""
        made = []
        for entry, schema in self._specified():
            tool = {"name": entry.tool.name, "description": entry.tool.description}
            strict = {"strict": True} if entry.strict else {}
            made.append({**tool, "input_schema": schema, **strict})
        return made

    def run(
        self, message: Any, *, replayed: bool = False, session: SessionScope | None = None
    ) -> list[dict[str, Any]]:
        """Decide and run each tool use in *message*. Return the messages to append after the
        model's message: one message with a ``tool_result`` per tool use, in order, or an empty list
        if there are none.

        *message* must be a message that was not streamed, or the result of
        ``stream.get_final_message()``. Several calls run concurrently, each in a thread. A refusal,
        or an exception from a body, becomes a result that the model can read, with ``is_error``
        set. Calls that the provider has already run are recorded as ``call.rejected`` with the
        reason ``provider_tool``. Set *replayed* if this message has been run before in the same
        session: a call that has already succeeded is then denied instead of run again. Raises
        ``LedgerError`` after every call has ended, and ``UsageError``.
        """
        return self._run(_batch(message), session=session, replayed=replayed)

    async def arun(
        self, message: Any, *, replayed: bool = False, session: SessionScope | None = None
    ) -> list[dict[str, Any]]:
        """Async version of ``run``. Coroutine functions run as tasks, other functions in threads.
        If the caller is cancelled, every outcome is recorded before this method returns.
        """
        return await self._arun(_batch(message), session=session, replayed=replayed)


def _batch(message: object) -> CallBatch:
    if not isinstance(message, Message | BetaMessage):
        kind = type(message)
        hint = "pass the result of client.messages.create"
        if "Stream" in kind.__name__:
            hint = "use client.messages.stream, and pass stream.get_final_message()"
        elif hasattr(message, "parse"):
            hint = "pass raw.parse()"
        raise UsageError(
            "expected a Message from the anthropic package, not "
            f"{kind.__module__}.{kind.__qualname__}",
            code="usage.response",
            hint=hint,
        )
    context = CallContext(
        model=message.model,
        response=message.id,
        framework="anthropic",
        framework_version=anthropic.__version__,
    )
    return CallBatch(list(_calls(message)), context, compose=_compose)


def _compose(results: list[Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": results}]


def _calls(message: Message | BetaMessage) -> Iterator[AskedCall]:
    refusal = None
    if text_or_none(message.stop_reason) not in _ENDED:
        refusal = Refusal.incomplete("stop_reason", message.stop_reason)
    for block in listed(message.content, "content"):
        kind = str(getattr(block, "type", ""))
        name, given = getattr(block, "name", None), getattr(block, "input", None)
        id_ = getattr(block, "id", None)
        call_id = text_or_none(id_)
        if kind == "tool_use":
            yield AskedCall(name, given, call_id, _result(id_), refusal=refusal)
        elif kind in _HOSTED:
            server = getattr(block, "server_name", None) or "anthropic"
            ran = Refusal("provider_tool", kind)
            yield AskedCall(name, None, call_id, None, server=server, refusal=ran)
        elif kind.endswith("_use"):
            unknown = Refusal("unknown_kind", f"a tool can't have the type {kind}")
            yield AskedCall(name, None, call_id, _result(id_), refusal=unknown)


def _result(id_: object) -> Callable[[ToolAnswer], dict[str, Any]]:
    def made(answer: ToolAnswer) -> dict[str, Any]:
        result = {"type": "tool_result", "tool_use_id": id_, "content": answer.content}
        return {**result, "is_error": True} if answer.failed else result

    return made
