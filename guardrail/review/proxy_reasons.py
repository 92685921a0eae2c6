"""Explains decisions about calls that came through the proxy. Programs that use the proxy neither
declare tools nor open sessions, so the next steps differ.
"""

from __future__ import annotations

import re

from guardrail.core.types import Cause
from guardrail.review.reasons import CauseExplanation

__all__ = [
    "NOT_IN_REQUEST",
    "PROXY",
    "TEST_AND_RELOAD",
    "accept_command",
    "reason_through_proxy",
    "rejection",
    "way_to_accept",
]

PROXY = "proxy"
"""The adapter in the records of `guardrail proxy` and `guardrail run`."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
"""Matches a tool name that a shell passes on unchanged and that does not look like an option."""
_SCHEMA = frozenset({"", "missing", "unknown_argument", "schema"})
"""Details of calls whose arguments do not fit the accepted schema."""

_UPSTREAM = CauseExplanation(
    "The proxy could not use the upstream's answer, so the program received an error and no call.",
    "Check `[proxy] upstream`, or the option --upstream.",
)
_UNREADABLE = CauseExplanation(
    "The proxy can't tell which call the model's response contains, so the program did not "
    "receive the response.",
    "If it happens again, look at the response itself: the record does not contain values from it.",
)
_REJECTIONS = {
    "incomplete": CauseExplanation(
        "The answer ended before this call was complete, so the policy was not"
        " asked, and the program did not receive the call.",
        "Let the program send its request again. If the model stopped at its limit, raise the"
        " maximum number of tokens.",
    ),
    "provider_tool": CauseExplanation(
        "The provider ran this call itself, so it could not be decided first.",
        "Nothing, if `[proxy] hosted_tools` permits this tool on purpose (docs/proxy.md).",
    ),
    "unknown_namespace": CauseExplanation(
        "The call named a namespace, or a set of tools, in which the request offered no such tool."
        " The program might have run another tool with the same name, so it did not get the call.",
        "If the tool exists, send it in `tools` of each request, inside of its namespace.",
    ),
    "model_request.approval": CauseExplanation(
        "A request approved a call to an MCP server that was not allowed for this caller in this"
        " session, so the proxy refused the request.",
        "Let the model request the call again (docs/proxy.md).",
    ),
}
_GROUPS = {
    "proxy.": _UPSTREAM,
    "model_answer": _UNREADABLE,
    "missing_id": _UNREADABLE,
    "repeated_id": _UNREADABLE,
    "unknown_": _UNREADABLE,
}
"""Explanations by the beginning of the reason."""
_OTHER_REASON = CauseExplanation(
    "The proxy recorded this call without asking the policy.",
    "Look for the reason in docs/proxy.md and docs/record-format.md.",
)


def rejection(reason: str) -> CauseExplanation:
    """Return the explanation of a ``call.rejected`` by the proxy with this *reason*."""
    if reason in _REJECTIONS:
        return _REJECTIONS[reason]
    return next(
        (made for start, made in _GROUPS.items() if reason.startswith(start)), _OTHER_REASON
    )


_NOBODY = CauseExplanation(
    "The proxy could not determine who made the call, and calls without a principal are denied, "
    "so the policy was not asked. A peer in `[proxy] peers` did not name the caller, or the "
    "program was no longer running.",
    "Let the peer name the caller in the header of `[proxy] identity_header`, or give the caller a"
    " token: `guardrail proxy token NAME`.",
)
_OTHER_SESSION = (
    "Send a different `x-guardrail-session` for each caller, or leave the header out: then each"
    " conversation gets its own session."
)


def accept_command(tool: str) -> str:
    """Return the command that accepts *tool*. The command names no tool if the model may have
    invented the name, or if the record contains a token instead of the name.
    """
    plain = _PLAIN_NAME.fullmatch(tool) is not None
    return f"guardrail proxy accept {tool}" if plain else "guardrail proxy accept"


def reason_through_proxy(
    cause: str, detail: str, tool: str, found: CauseExplanation
) -> CauseExplanation:
    """Return *found*, the usual explanation, with the steps that help for a call to *tool* through
    the proxy.
    """
    if cause == Cause.ARGUMENTS and detail in _SCHEMA:
        return CauseExplanation(
            found.sentence,
            "The arguments are checked against the schema that was accepted. If the call is right,"
            " correct the schema in the program's requests, and then accept the new one:"
            f" `{accept_command(tool)}`.",
        )
    if cause == Cause.IDENTITY and detail == "absent":
        return _NOBODY
    if cause == Cause.IDENTITY and detail == "session":
        return CauseExplanation(found.sentence, _OTHER_SESSION)
    return found


NOT_IN_REQUEST = (
    "The request did not contain this tool: the model invented it, or the program renamed it."
)
"""Explanation of a call to such a tool."""


def way_to_accept(tool: str) -> str:
    """Return how to accept *tool*, which nobody has accepted with this schema."""
    return (
        "Nobody has accepted this tool with this schema. If such calls should run, accept it:"
        f" `{accept_command(tool)}`."
    )


TEST_AND_RELOAD = (
    "Then run `guardrail policy test`, and, if a proxy is running, `guardrail policy reload`"
    " (docs/proxy.md)."
)
"""The last step after a change of the policy."""
