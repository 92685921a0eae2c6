"""Reads the tools in requests to a model, and removes tools that the policy hides. Performs no
I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

from guardrail.model_apis.api import Api
from guardrail.model_apis.request_fields import check_request_fields
from guardrail.model_apis.requested_tools import (
    ModelRequestError,
    RequestedTool,
    ToolEntry,
    check_hosted,
    check_spelling,
    entry_of,
    in_provider_container,
)

__all__ = ["MOST_TOOLS", "ToolRequest", "choices_of", "hosts_shell"]

MOST_TOOLS = 1_024
"""Maximum number of tools in one request."""
_FORCED = frozenset({"any", "required"})
"""Values of ``tool_choice`` that force a call of any tool."""
_LEGACY = "functions"
_ITEMS_WITH_TOOLS = ("additional_tools", "tool_search_output")
_LISTING = (*_ITEMS_WITH_TOOLS, "mcp_list_tools")
_FIELDS_OF_MESSAGE = frozenset({"content", "function_call", _LEGACY, "role", "tool_calls", "tools"})
_FIELDS_OF_ITEM = frozenset(
    {
        "approval_request_id",
        "approve",
        "arguments",
        "call_id",
        "content",
        "execution",
        "id",
        "name",
        "role",
        "server_label",
        "tools",
        "type",
    }
)
"""Fields of input items that guardrail reads."""
_SHELLS = ("local_shell", "shell")
_PARTS_OF_TOOL = frozenset({"input_schema", "tools"})
_TYPED_CHOICES = ("apply_patch", "shell")
"""Types of choices that identify a tool by its type."""


def choices_of(body: Mapping[str, Any]) -> int:
    """Return the number of choices that the request *body* asks for (``n`` in chat completions)."""
    number = body.get("n")
    return number if type(number) is int and number > 0 else 1


def hosts_shell(body: Mapping[str, Any]) -> bool:
    """Return True if the provider, not the program, runs the shells that the request *body* offers
    to the model. This is the case if the request's own list of tools contains a shell in the
    provider's container, and the request does not contain any other shell.
    """
    items = body.get("input")
    owners = [body, *(items if isinstance(items, list) else [])]
    lists = [each.get("tools") for each in owners if isinstance(each, dict)]
    tools = [tool for each in lists if isinstance(each, list) for tool in each]
    tools += [
        inner
        for tool in tools
        if isinstance(tool, dict) and isinstance(tool.get("tools"), list)
        for inner in tool["tools"]
    ]
    found = [tool for tool in tools if isinstance(tool, dict)]
    own = [tool for tool in found if tool.get("type") in _SHELLS]
    given = body.get("tools")
    return (
        bool(own)
        and all(tool.get("type") == "shell" and in_provider_container(tool) for tool in own)
        and isinstance(given, list)
        and any(isinstance(tool, dict) and tool.get("type") in _SHELLS for tool in given)
        and body.get("prompt") is None  # a stored prompt can contain additional tools
    )


class _ToolList(NamedTuple):
    """One list of tools in a request."""

    field: str
    at: int | None
    """Index of the input item that contains the list, or None if the request itself contains it."""
    entries: list[ToolEntry]


class ToolRequest:
    """One request with its tools."""

    def __init__(
        self,
        api: Api,
        body: Mapping[str, Any],
        hosted: Collection[str] = (),
        fields: Collection[str] = (),
    ) -> None:
        """Read the tools in *body*. *hosted* contains the types of tools that the provider may run,
        and *fields* the names of fields that are accepted although guardrail does not know them.
        Raises ``ModelRequestError`` for tools and fields that can't be governed, and for too many
        tools.
        """
        check_request_fields(api, body, hosted, fields)
        self._api = api
        self._body = body
        self.shows_all_tools = body.get("prompt") is None and body.keys().isdisjoint(fields)
        """False if a stored prompt or an unknown field can contain additional tools."""
        self._lists = list(_lists(api, body, hosted))
        _check_provider_side(api, body, hosted)
        self.tools: dict[str, RequestedTool] = {}
        """The tools whose calls the program runs, keyed by name."""
        for tool in self._all_tools():
            known = self.tools.setdefault(tool.name, tool)
            if known is not tool and known.digest != tool.digest:
                raise ModelRequestError(
                    "the request is malformed: two tools have the same name",
                    code="model_request.tool_twice",
                )

    def _all_tools(self) -> Iterator[RequestedTool]:
        for each in self._lists:
            for entry in each.entries:
                yield from entry.tools

    def offering(self, names: Collection[str]) -> Mapping[str, Any]:
        """Return the request with only the tools in *names*. If nothing changes, this is the same
        object. Raises ``ModelRequestError`` if the request forces a call of a tool that was
        removed.
        """
        hidden = self.tools.keys() - set(names)
        made = dict(self._body)
        changed = False
        for each in self._lists:
            before = self._list_at(each)
            sent = [kept for entry in each.entries for kept in _offered(entry, hidden)]
            if sent == before:
                continue
            changed = True
            if each.at is None:
                made[each.field] = sent
            else:
                items = list(made["input"])
                items[each.at] = {**items[each.at], each.field: sent}
                made["input"] = items
        if not changed:
            return self._body
        if hidden:
            self._choose(made, hidden)
        return made

    def _list_at(self, each: _ToolList) -> Any:
        owner = self._body if each.at is None else self._body["input"][each.at]
        return owner[each.field]

    def _choose(self, made: dict[str, Any], hidden: Collection[str]) -> None:
        """Adapt the tool choice in *made*, from which the tools in *hidden* were removed."""
        for field, list_ in (("tool_choice", "tools"), ("function_call", _LEGACY)):
            choice = made.get(field)
            if isinstance(choice, dict):
                made[field] = choice = _allowed(choice, hidden)
                if _name_of(choice) in hidden:
                    raise _demanded()
            if list_ in made and not made[list_]:
                mode = choice.get("type") if isinstance(choice, dict) else choice
                if isinstance(mode, str) and mode in _FORCED:
                    raise _demanded()
                # Providers reject a tool choice, and an empty list of tools, if there are no tools.
                for name in (field, list_, "parallel_tool_calls"):
                    made.pop(name, None)


def _demanded() -> ModelRequestError:
    return ModelRequestError(
        "the request forces a call of a tool that the policy hides",
        code="model_request.hidden_tool",
        hint='let the model choose: tool_choice "auto"',
    )


def _lists(api: Api, body: Mapping[str, Any], hosted: Collection[str]) -> Iterator[_ToolList]:
    count = 0

    def read(field: str, at: int | None, given: object, wrap: Callable[[Any], Any]) -> _ToolList:
        nonlocal count
        if not isinstance(given, list):
            raise ModelRequestError(f"the request is malformed: its field {field} is not a list")
        count += len(given)
        if count > MOST_TOOLS:
            raise _too_many()
        entries = [entry_of(api, wrap(each), hosted) for each in given]
        count += sum(max(0, len(each.tools) - 1) for each in entries)
        if count > MOST_TOOLS:
            raise _too_many()
        return _ToolList(field, at, entries)

    if body.get("tools") is not None:
        yield read("tools", None, body["tools"], lambda tool: tool)
    if api is Api.CHAT and body.get(_LEGACY) is not None:
        found = read(_LEGACY, None, body[_LEGACY], lambda tool: {"function": tool})
        # The tools are sent unchanged, without the wrapper in which they were read.
        entries = [entry._replace(sent=entry.sent["function"]) for entry in found.entries]
        yield found._replace(entries=entries)
    items = body.get("input") if api is Api.RESPONSES else None
    for at, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict) and item.get("type") in _ITEMS_WITH_TOOLS:
            yield read("tools", at, item.get("tools"), lambda tool: tool)


def _too_many() -> ModelRequestError:
    return ModelRequestError(
        f"the request has more than {MOST_TOOLS:,} tools", code="model_request.tools"
    )


def _check_provider_side(api: Api, body: Mapping[str, Any], hosted: Collection[str]) -> None:
    """Raise ``ModelRequestError`` if anything in *body* except its lists of tools lets the provider
    run calls or defines tools.
    """
    _check_items(api, body)
    if api is Api.RESPONSES:
        if body.get("background"):
            raise ModelRequestError(
                "a background response can't be governed, because its calls are not in the HTTP "
                "response",
                code="model_request.background",
                hint="send the request without background",
            )
        if body.get("prompt") is not None:
            check_hosted("prompt", hosted)  # it can contain tools
    if api is Api.MESSAGES:
        if body.get("mcp_servers"):
            check_hosted("mcp_servers", hosted)
        for block in _blocks(body):
            if _defines_tool(block):
                raise _tool_in_message()


def _check_items(api: Api, body: Mapping[str, Any]) -> None:
    """Raise ``ModelRequestError`` if a message or an input item contains tools that guardrail does
    not read, or a field that servers could mistake for a different field.
    """
    if api is Api.CHAT:
        for message in _messages(body):
            check_spelling(message, _FIELDS_OF_MESSAGE)
            if message.get("tools") or message.get(_LEGACY):
                raise _tool_in_message()
    if api is Api.MESSAGES:
        for message in _messages(body):
            if _defines_tool(message) or message.get("tool_changes"):
                raise _tool_in_message()
    if api is Api.RESPONSES:
        given = body.get("input")
        if isinstance(given, dict):
            raise ModelRequestError("the request is malformed: its input is an object")
        for item in given if isinstance(given, list) else ():
            if isinstance(item, dict):
                check_spelling(item, _FIELDS_OF_ITEM)
                if item.get("type") not in _LISTING and item.get("tools"):
                    raise _tool_in_message()


def _messages(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    found = body.get("messages")
    yield from (
        each for each in (found if isinstance(found, list) else ()) if isinstance(each, dict)
    )


def _tool_in_message() -> ModelRequestError:
    return ModelRequestError(
        "a tool that is defined inside a message can't be governed",
        code="model_request.tool_in_message",
        hint="define it in tools, and refer to it in the message",
    )


def _blocks(body: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the content blocks in a request (in the system prompt, the messages and the tool
    results), and the tool changes in these blocks.
    """
    waiting = [each.get("content") for each in _messages(body)]
    waiting.append(body.get("system"))
    while waiting:
        blocks = waiting.pop()
        for block in blocks if isinstance(blocks, list) else ():
            yield block
            if isinstance(block, dict):
                waiting += [block.get("content"), block.get("tool_changes")]


def _defines_tool(block: Any) -> bool:
    """Return True if *block* can define a tool that is not in the request's list of tools."""
    if not isinstance(block, dict):
        return False
    if not _PARTS_OF_TOOL.isdisjoint(block):
        return True
    if block.get("type") != "tool_addition" and "tool" not in block:
        return False
    tool = block.get("tool")
    return not isinstance(tool, dict) or not str(tool.get("type", "")).endswith("_reference")


def _offered(entry: ToolEntry, hidden: Collection[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the parts of *entry* to send, or nothing if the entry is hidden."""
    if not any(tool.name in hidden for tool in entry.tools):
        yield entry.sent
    elif entry.sent.get("type") == "namespace":
        space = entry.sent["name"]
        kept = [each for each in entry.sent["tools"] if f"{space}.{each.get('name')}" not in hidden]
        if kept:
            yield {**entry.sent, "tools": kept}


def _name_of(choice: Mapping[str, Any]) -> str | None:
    """Return the name of the tool that *choice* forces the model to call, if there is one."""
    inner = choice.get("function") or choice.get("custom")
    found = inner.get("name") if isinstance(inner, dict) else choice.get("name")
    if found is None and choice.get("type") in _TYPED_CHOICES:
        found = choice["type"]
    return found if isinstance(found, str) else None


def _allowed(choice: dict[str, Any], hidden: Collection[str]) -> dict[str, Any]:
    """Return *choice*, without the hidden tools if it is a list of allowed tools."""
    if choice.get("type") != "allowed_tools":
        return choice
    nested = choice.get("allowed_tools")
    inner = nested if isinstance(nested, dict) else choice
    tools = inner.get("tools")
    if not isinstance(tools, list):
        return choice
    kept = [each for each in tools if not (isinstance(each, dict) and _name_of(each) in hidden)]
    if len(kept) == len(tools):
        return choice
    if not kept:
        raise _demanded()
    made = {**inner, "tools": kept}
    return {**choice, "allowed_tools": made} if inner is nested else made
