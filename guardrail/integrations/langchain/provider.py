"""Handles tools and calls that never reach a tool body: tools that the model's provider runs, and
calls that the framework could not parse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from guardrail.errors import UsageError
from guardrail.integrations.langchain.rejections import arecord_rejection, record_rejection

if TYPE_CHECKING:
    from langchain.agents.middleware import ModelRequest

    from guardrail.guard import Guard

__all__ = ["ProviderTools", "areject_invalid_calls", "reject_invalid_calls"]

PROVIDER_TOOL = "provider_tool"
"""Reason in ``call.rejected``: the model's provider would run the tool, outside the guard."""
NOT_JSON = "not_json"
"""Reason in ``call.rejected``: the framework could not parse the arguments."""

_LOCAL_TYPES = frozenset({"function", "custom"})
_LOCAL_KEYS = (("name", "description"), ("name", "parameters"), ("name", "input_schema"))
_SCHEMA_KEYS = ("title", "properties")


class ProviderTools:
    """Finds tools in model requests that a guard can't govern, and records or rejects them."""

    def __init__(self, guard: Guard, *, strict: bool) -> None:
        """If *strict* is True, such tools are rejected."""
        self._guard = guard
        self._strict = strict

    @staticmethod
    def named(request: ModelRequest[Any]) -> list[str]:
        """Return the names of the tools that the provider runs: those in *request* itself, and
        those that the request's settings or model add.

        A mapping that only describes a tool is not a provider tool: its calls would reach the
        program, which has no such tool.
        """
        model = request.model
        bound = (
            request.model_settings,
            getattr(model, "kwargs", None),
            getattr(model, "model_kwargs", None),
        )
        offered = [*request.tools]
        for settings in bound:
            found = settings.get("tools") if isinstance(settings, Mapping) else None
            offered.extend(found if isinstance(found, list | tuple) else ())
        return [_name(tool) for tool in offered if isinstance(tool, Mapping) and not _local(tool)]

    def record(self, names: Sequence[str]) -> None:
        """Record each of *names* as ``call.rejected``. Raises ``LedgerError``, and then
        ``UsageError`` if *strict* is set.
        """
        for name in names:
            record_rejection(self._guard, name, PROVIDER_TOOL, None)
        self._refuse(names)

    async def arecord(self, names: Sequence[str]) -> None:
        """Async version of ``record``."""
        for name in names:
            await arecord_rejection(self._guard, name, PROVIDER_TOOL, None)
        self._refuse(names)

    def _refuse(self, names: Sequence[str]) -> None:
        if self._strict:
            raise UsageError(
                (
                    f"{', '.join(names)}: the model's provider runs this tool, so guardrail can't "
                    "govern it"
                ),
                code="usage.provider_tool",
                hint="remove it, or use a local tool instead",
            )


def _local(tool: Mapping[Any, Any]) -> bool:
    kind = tool.get("type")
    if kind in _LOCAL_TYPES:
        return True
    # LangChain's own formats: a function description, or a JSON Schema of type object.
    if kind is None and any(all(key in tool for key in keys) for keys in _LOCAL_KEYS):
        return True
    return kind in (None, "object") and all(key in tool for key in _SCHEMA_KEYS)


def _name(tool: Mapping[Any, Any]) -> str:
    names = [tool.get("type"), tool.get("name"), *tool]
    return next((name for name in names if isinstance(name, str) and name), "provider_tool")


def reject_invalid_calls(guard: Guard, response: object) -> None:
    """Record the calls in *response* whose arguments the framework could not parse as JSON. The
    framework answers them itself. Raises ``LedgerError``.
    """
    for call in _invalid_calls(response):
        record_rejection(guard, call.get("name"), NOT_JSON, call.get("id"))


async def areject_invalid_calls(guard: Guard, response: object) -> None:
    """Async version of ``reject_invalid_calls``."""
    for call in _invalid_calls(response):
        await arecord_rejection(guard, call.get("name"), NOT_JSON, call.get("id"))


def _invalid_calls(response: object) -> Iterator[Mapping[str, Any]]:
    for message in getattr(response, "result", None) or ():
        yield from getattr(message, "invalid_tool_calls", None) or ()
