"""Reads the tools in a request: tools that the program runs, and tools that the provider runs.
Performs no I/O.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from guardrail.core.log.record import dumps
from guardrail.errors import GuardrailError, RecordError, UsageError
from guardrail.model_apis.api import Api
from guardrail.model_apis.offered_tools import TOOL_SETS
from guardrail.tools.tool import tool_name

__all__ = [
    "ModelRequestError",
    "RequestedTool",
    "ToolEntry",
    "check_hosted",
    "check_spelling",
    "entry_of",
    "in_provider_container",
    "plain_name",
]

_CUSTOM: Mapping[str, Any] = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
"""The arguments of a custom tool, as the policy sees them."""
_NOTHING: Mapping[str, Any] = {"type": "object", "properties": {}}
"""The schema of a function without arguments."""
_CONTAINERS = ("container_auto", "container_reference")
_DATED = re.compile(r"_(?:\d{8}|\d{4}_\d{2}_\d{2})\Z")

_SAME = {"mcp_toolset": "mcp_servers", "web_search_preview": "web_search"}
"""Types of tools that are covered by a different name in the setting."""
_OPENAI_PROGRAMS = {
    "apply_patch": "apply_patch",
    "computer": "computer",
    "computer_use_preview": "computer",
    "local_shell": "local_shell",
    "shell": "shell",
}
"""The names in calls of tools that the API defines and the program runs, keyed by type."""
_OPENAI_HOSTED = frozenset(
    {
        "code_interpreter",
        "file_search",
        "image_generation",
        "programmatic_tool_calling",
        "web_search",
    }
)
_ANTHROPIC_PROGRAMS = frozenset({"bash", "computer", "memory", "text_editor"})
_ANTHROPIC_HOSTED = frozenset(
    {"advisor", "code_execution", "mcp_servers", "web_fetch", "web_search"}
)
_FIELDS_OF_TOOL = frozenset(
    {
        "allowed_callers",
        "cache_control",
        "configs",
        "custom",
        "default_config",
        "description",
        "environment",
        "execution",
        "format",
        "function",
        "input_examples",
        "input_schema",
        "name",
        "output_schema",
        "parameters",
        "require_approval",
        "server_label",
        "tools",
        "type",
    }
)
"""Fields of tools that guardrail reads, and other fields that do not contain tools."""
_SEARCHES = frozenset({"tool_search", "tool_search_tool_bm25", "tool_search_tool_regex"})
"""Tools that search among the tools of the same request."""


_MARKS = re.compile(r"[_\-. ]")

_checked_name = lru_cache(4_096)(tool_name)


class ModelRequestError(GuardrailError):
    """A request to a model can't be governed, and was not sent."""

    default_code = "model_request"


@dataclass(frozen=True, slots=True)
class RequestedTool:
    """A tool in a request, whose calls the program runs."""

    name: str
    """The name that calls use."""
    form: str
    """``function``, ``custom``, or the type of a tool that the API defines."""
    schema: Mapping[str, Any] | None
    """JSON Schema of the arguments, or None for a tool that the API defines."""
    description: str = ""
    grammar: Any = None
    """The format of a custom tool's text, if it has one."""

    digest: str = field(init=False)
    """SHA-256, as 64 hex characters, over everything that determines which arguments the tool
    accepts, without the name and the description.
    """

    def __post_init__(self) -> None:
        parts = [self.form, self.schema, self.grammar]
        try:
            text = dumps(parts)
        except RecordError:  # large numbers, lone surrogates
            text = _canonical_bytes(parts)
        object.__setattr__(self, "digest", hashlib.sha256(text).hexdigest())


def _canonical_bytes(parts: Any) -> bytes:
    try:
        return json.dumps(parts, sort_keys=True).encode()
    except RecursionError:
        pass
    raise ModelRequestError("the request is malformed: the schema of a tool is nested too deeply")


class ToolEntry(NamedTuple):
    """One entry in a list of tools."""

    tools: tuple[RequestedTool, ...]
    """The tools in the entry that the program runs."""
    sent: Mapping[str, Any]
    """The entry to send to the provider if all its tools are offered."""


def entry_of(api: Api, tool: object, hosted: Collection[str]) -> ToolEntry:
    """Return the entry for *tool*. Raises ``ModelRequestError`` unless the program runs the tool,
    each call of the tool is returned for a decision, or *hosted* contains the tool's type.
    """
    found = _object(tool, "tool")
    check_spelling(found, _FIELDS_OF_TOOL)
    entry = _READERS[api](found, hosted)
    if entry.tools:
        # Some providers identify a tool that they run by a field next to the type.
        for name, value in found.items():
            if isinstance(value, dict | list) and name not in _FIELDS_OF_TOOL:
                raise _unknown(name)
    return entry


@lru_cache(4_096)
def plain_name(name: str) -> str:
    """Return *name* in a form that is the same for all spellings of a name."""
    return _MARKS.sub("", name.casefold()) if len(name) <= 256 else name


@lru_cache(16)
def _spellings(names: frozenset[str]) -> Mapping[str, str]:
    return {plain_name(name): name for name in names}


def check_spelling(names: Iterable[str], known: frozenset[str]) -> None:
    """Raise ``ModelRequestError`` if any of *names* is a different spelling of a known name. Some
    servers ignore case, and would read a field that guardrail does not see.
    """
    spellings = _spellings(known)
    for name in names:
        meant = spellings.get(plain_name(name))
        if meant is not None and name not in known:
            raise ModelRequestError(
                f"the field {_display_name(name)} is a different spelling of {meant}",
                code="model_request.field",
                hint=f"write {meant}",
            )


def check_hosted(type_: str, hosted: Collection[str]) -> None:
    """Raise ``ModelRequestError`` unless *hosted* contains *type_*, the type of a tool that the
    provider runs.
    """
    base = _base(type_)
    if type_ not in hosted and base not in hosted:
        raise ModelRequestError(
            f"{_display_name(base)} runs at the provider, where its calls can't be decided",
            code="model_request.hosted_tool",
            hint=f'[proxy] hosted_tools = ["{_display_name(base)}"] lets the provider run it',
        )


def _base(type_: str) -> str:
    """Return a type without its version."""
    base = _DATED.sub("", type_)
    return _SAME.get(base, base)


def _display_name(text: str) -> str:
    return text[:64] if text.isprintable() else "a tool"


def _object(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ModelRequestError(f"the request is malformed: its {name} is not an object")
    return value


def _type_of(tool: Mapping[str, Any]) -> str:
    kind = tool.get("type")
    if not isinstance(kind, str):
        raise ModelRequestError("the request is malformed: a tool has no type")
    return kind


def _unknown(kind: str) -> ModelRequestError:
    return ModelRequestError(
        f"guardrail does not know the tool type {_display_name(kind)}",
        code="model_request.unknown_tool",
    )


def _make_tool(
    name: object, form: str, schema: Mapping[str, Any] | None, about: Mapping[str, Any]
) -> RequestedTool:
    try:
        checked = _checked_name(name) if isinstance(name, str) else tool_name(name)
    except UsageError as error:
        failure = ModelRequestError(f"the request is malformed: {error.message}")
    else:
        said = about.get("description")
        return RequestedTool(
            checked, form, schema, said if isinstance(said, str) else "", about.get("format")
        )
    raise failure


def _function(about: Mapping[str, Any], field: str, prefix: str = "") -> RequestedTool:
    schema = about.get(field)
    name = about.get("name")
    if prefix and isinstance(name, str):
        name = f"{prefix}.{name}"
    found = _NOTHING if schema is None else _object(schema, "schema")
    return _make_tool(name, "function", found, about)


def _custom(about: Mapping[str, Any], prefix: str = "") -> RequestedTool:
    name = about.get("name")
    return _make_tool(f"{prefix}.{name}" if prefix else name, "custom", _CUSTOM, about)


def _of_chat(tool: Mapping[str, Any], hosted: Collection[str]) -> ToolEntry:
    kind = _type_of(tool) if "type" in tool else "function"
    if kind == "function":
        return ToolEntry((_function(_object(tool.get(kind), kind), "parameters"),), tool)
    if kind == "custom":
        return ToolEntry((_custom(_object(tool.get(kind), kind)),), tool)
    if _base(kind) in _OPENAI_HOSTED:
        check_hosted(kind, hosted)
        return ToolEntry((), tool)
    raise _unknown(kind)


def _of_response(tool: Mapping[str, Any], hosted: Collection[str], space: str = "") -> ToolEntry:
    kind = _type_of(tool)
    base = _base(kind)
    if kind == "function":
        return ToolEntry((_function(tool, "parameters", space),), tool)
    if kind == "custom":
        return ToolEntry((_custom(tool, space),), tool)
    if kind == "namespace" and not space:
        return _of_namespace(tool, hosted)
    if kind == "shell" and _runs_elsewhere(tool):
        check_hosted(kind, hosted)
        return ToolEntry((), tool)
    if kind in _OPENAI_PROGRAMS:
        return ToolEntry((_make_tool(_OPENAI_PROGRAMS[kind], kind, None, {}),), tool)
    if kind == "mcp":
        # Each call then arrives as an approval request, which is decided.
        return ToolEntry((), {**tool, "require_approval": "always"})
    if kind in _SEARCHES:
        if tool.get("execution") not in (None, "server"):
            raise ModelRequestError(
                "a tool search that the program runs can't be governed",
                code="model_request.client_search",
                hint='remove execution from the tool_search tool, or set it to "server"',
            )
        return ToolEntry((), tool)
    if base in _OPENAI_HOSTED:
        check_hosted(kind, hosted)
        return ToolEntry((), tool)
    raise _unknown(kind)


def _runs_elsewhere(tool: Mapping[str, Any]) -> bool:
    """Return True unless the program runs the commands of a shell *tool*."""
    environment = tool.get("environment")
    return environment is not None and (
        not isinstance(environment, dict) or environment.get("type") != "local"
    )


def in_provider_container(tool: Mapping[str, Any]) -> bool:
    """Return True if the provider certainly runs the commands of a shell *tool*, because the tool
    has a container of a known type.
    """
    environment = tool.get("environment")
    return isinstance(environment, dict) and environment.get("type") in _CONTAINERS


def _of_namespace(tool: Mapping[str, Any], hosted: Collection[str]) -> ToolEntry:
    space = tool.get("name")
    inner = tool.get("tools")
    if not isinstance(space, str) or not space or not isinstance(inner, list):
        raise ModelRequestError("the request is malformed: a namespace has no name or no tools")
    entries = [_of_response(_object(each, "tool"), hosted, space) for each in inner]
    tools = [found for each in entries for found in each.tools]
    return ToolEntry(tuple(tools), {**tool, "tools": [each.sent for each in entries]})


def _of_message(tool: Mapping[str, Any], hosted: Collection[str]) -> ToolEntry:
    kind = tool.get("type")
    if kind is None or kind == "custom":
        return ToolEntry((_function(tool, "input_schema"),), tool)
    kind = _type_of(tool)
    base = _base(kind)
    if base in _ANTHROPIC_PROGRAMS:
        return ToolEntry((_make_tool(tool.get("name"), kind, None, {}),), tool)
    if base in TOOL_SETS:
        return ToolEntry((_make_tool(TOOL_SETS[base], kind, None, {}),), tool)
    if base in _SEARCHES:
        return ToolEntry((), tool)
    if base in _ANTHROPIC_HOSTED:
        check_hosted(kind, hosted)
        return ToolEntry((), tool)
    raise _unknown(kind)


_READERS: dict[Api, Callable[[Mapping[str, Any], Collection[str]], ToolEntry]] = {
    Api.CHAT: _of_chat,
    Api.RESPONSES: _of_response,
    Api.MESSAGES: _of_message,
}
