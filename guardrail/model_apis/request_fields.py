"""Checks the fields of a request. A field that guardrail does not know could make the provider run
its own tools. Performs no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from guardrail.model_apis.api import Api
from guardrail.model_apis.requested_tools import (
    ModelRequestError,
    check_hosted,
    check_spelling,
    plain_name,
)

__all__ = ["check_completion", "check_request_fields"]

_COMMON = frozenset(
    {
        "cache_control",
        "client_metadata",
        "logit_bias",
        "max_tokens",
        "metadata",
        "model",
        "models",
        "parallel_tool_calls",
        "provider",
        "reasoning",
        "service_tier",
        "stop",
        "stream",
        "stream_options",
        "temperature",
        "thinking",
        "top_p",
        "usage",
        "user",
    }
)
"""Fields that several APIs, or services that route requests to providers, use."""
_SERVERS = frozenset(
    {
        "allowed_token_ids",
        "bad_words",
        "chat_template_kwargs",
        "guided_choice",
        "guided_json",
        "json_schema",
        "mm_processor_kwargs",
        "stop_token_ids",
        "structured_outputs",
        "transforms",
    }
)
"""Fields with objects or lists that servers for open models add, and that do not run tools."""
_OPENAI = frozenset(
    {
        "moderation",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "store",
        "tool_choice",
        "tools",
        "top_logprobs",
    }
)
_COMPLETION = _COMMON | _SERVERS | {"best_of", "logprobs", "n", "prompt", "suffix"}
_CHAT = (
    _COMMON
    | _SERVERS
    | _OPENAI
    | {
        "audio",
        "fallbacks",
        "frequency_penalty",
        "function_call",
        "functions",
        "logprobs",
        "max_completion_tokens",
        "messages",
        "modalities",
        "n",
        "prediction",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "tags",
        "tool_stream",
        "verbosity",
    }
)
_RESPONSES = (
    _COMMON
    | _OPENAI
    | {
        "access_programs",
        "background",
        "background_options",
        "context_management",
        "conversation",
        "image",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "previous_response_id",
        "prompt",
        "text",
        "truncation",
    }
)
_MESSAGES = _COMMON | {
    "billing_policy",
    "betas",
    "compaction",
    "container",
    "context_management",
    "diagnostics",
    "fallback_credit_token",
    "fallbacks",
    "inference_geo",
    "mcp_servers",
    "messages",
    "output_config",
    "output_format",
    "speed",
    "stop_sequences",
    "system",
    "thread",
    "tool_choice",
    "tools",
    "top_k",
    "user_profile_id",
    "workspace_id",
}
_KNOWN: Mapping[Api | None, frozenset[str]] = {
    None: _COMPLETION,
    Api.CHAT: _CHAT,
    Api.RESPONSES: _RESPONSES,
    Api.MESSAGES: _MESSAGES,
}
_HOSTED = {
    "plugins": "plugins",
    "search_parameters": "search_parameters",
    "web_search_options": "web_search",
}
"""Fields that make providers run their own tools, with the names for the setting."""
_ROUTING = frozenset({"fallbacks", "models", "provider", "reasoning", "thinking", "usage"})
"""Known fields whose objects could contain a request to a different model."""
_SUSPECT = re.compile(
    r"tool|function|plugin|mcp|search|brows|source|retriev|connector|agent|assistant|skill|memory"
    r"|internet|online|ground|knowledge|crawl|fetch|interpreter|codeexec|sandbox|extra|promptid"
    r"|action|workflow|apikey|credential|apibase|url|webhook|callback|endpoint"
)
"""Matches a field name (without underscores) that suggests that the provider may run a tool, or
send the request or the response to a different address.
"""
_SEARCHES = re.compile(r":online(?![a-z0-9])|-search-(?:preview|api)", re.IGNORECASE)
"""Matches the name of a model for which the provider searches the web in each request."""


def check_request_fields(
    api: Api | None, body: Mapping[str, Any], hosted: Collection[str], allowed: Collection[str]
) -> None:
    """Raise ``ModelRequestError`` if a field of the request *body* could make the provider run its
    own tools. *api* is None for completions without messages.

    Known fields are accepted, and so are unknown fields whose value is a string, a number or a
    boolean, unless the name suggests a tool or a different address. *hosted* contains the types of
    tools that the provider may run, and *allowed* the names of additional fields.
    """
    known = _KNOWN[api]
    for name, value in body.items():
        if name in allowed:
            continue
        if name in _HOSTED:
            # An empty object is enough for a web search.
            if value or (name == "web_search_options" and value is not None):
                check_hosted(_HOSTED[name], hosted)
        elif name in known:
            if name in _ROUTING:
                _check_routing(name, value)
        else:
            check_spelling([name], known | frozenset(_HOSTED))
            if not _is_harmless(name, value):
                raise _unknown(name)
    for model in _models(body):
        if _SEARCHES.search(model):
            check_hosted("web_search", hosted)


def check_completion(
    body: Mapping[str, Any], hosted: Collection[str], allowed: Collection[str]
) -> None:
    """Check the request *body* of a completion without messages, whose response contains only text.
    Raises ``ModelRequestError``.
    """
    check_request_fields(None, body, hosted, allowed)


def _is_harmless(name: str, value: object) -> bool:
    if value is None or value is False or value in ("", []):
        return True
    if isinstance(value, dict | list):
        return False
    return _SUSPECT.search(plain_name(name)) is None


def _check_routing(field: str, value: object) -> None:
    """Raise ``ModelRequestError`` if an object in *value* has a field that suggests a tool."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, list):
            waiting += found
        elif isinstance(found, dict):
            for name, inner in found.items():
                # An empty object is enough for a web search.
                is_set = inner is not None and inner is not False and inner not in ("", [])
                if is_set and _SUSPECT.search(plain_name(name)):
                    raise _unknown(f"{field}.{name}", field)
                waiting.append(inner)


def _models(body: Mapping[str, Any]) -> list[str]:
    """Return the names of the models that may answer the request *body*."""
    waiting = [body.get("model"), body.get("models"), body.get("fallbacks")]
    found = []
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            found.append(each)
        elif isinstance(each, list):
            waiting += each
        elif isinstance(each, dict):
            waiting.append(each.get("model"))
    return found


def _unknown(name: str, setting: str = "") -> ModelRequestError:
    return ModelRequestError(
        f"guardrail does not know the request field {_display_name(name)}, which could make the"
        " provider run tools whose calls can't be decided",
        code="model_request.field",
        hint="remove the field or, if it does not make the provider run tools, set [proxy]"
        f' allow_fields = ["{_display_name(setting or name)}"] and start the proxy again',
    )


def _display_name(name: str) -> str:
    return name[:64] if name.isprintable() and '"' not in name else "with an unusual name"
