"""Parses an OPA server's response to a decision request.

All functions are pure, except that each question contains a random token that identifies its
answer.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import orjson

from guardrail.errors import PolicyError
from guardrail.system.http import HttpReply

__all__ = ["DECISION_PATH", "LISTING_PATH", "OpaQuestion", "OpaReply", "read_answer"]

_OPTIONS = "strict-builtin-errors=true&provenance=true"
DECISION_PATH = f"/v1/data/guardrail/main/answer?{_OPTIONS}"
LISTING_PATH = f"/v1/data/guardrail/main/listed?{_OPTIONS}"
"""The paths for decision and listing requests. They request strict errors: otherwise, a failure of
a built-in function would make its rule undefined, and a deny rule could silently fail to fire.
"""
_MAX_ID = 200


@dataclass(frozen=True, slots=True)
class OpaReply:
    """A parsed response, whose document has not been checked yet."""

    document: object
    version: str
    """OPA's version, or an empty string if the response does not contain it."""
    revisions: tuple[tuple[str, str], ...]
    """Names and revisions of all active bundles, sorted by name."""
    decision_id: str | None
    milliseconds: float = 0.0


@dataclass(frozen=True, slots=True)
class OpaQuestion:
    """The body of a decision request, and the random token that only its answer repeats."""

    body: bytes
    echo: str

    @classmethod
    def about(cls, policy_input: bytes) -> OpaQuestion:
        """Create a request from *policy_input*. The bytes of the input are not changed.

        The random token is outside the policy's input (see ``guardrail.main``), so policies do not
        read it and records do not contain it.
        """
        echo = os.urandom(16).hex()
        return cls(
            b'{"input":{"echo":"%b","question":%b}}' % (echo.encode("ascii"), policy_input), echo
        )


def read_answer(reply: HttpReply, echo: str, name: str = "decision") -> OpaReply:
    """Return the document *name* from *reply*, the response to the question with the token *echo*.

    Raises ``PolicyError`` if the status is not 200, if the body is not an object with a result, or
    if the response belongs to a different question.
    """
    if reply.status != 200:
        raise _refusal(reply)
    try:
        document = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        raise _malformed("not_json", "the OPA server's response is not JSON") from None
    if not isinstance(document, dict):
        raise _malformed("not_object", "the OPA server's response is not an object")
    if "result" not in document:
        raise PolicyError(
            "the policy has no decision for this call",
            cause="undefined",
            detail="no_decision",
            hint="check that the server has a bundle built by guardrail policy bundle -o FILE",
        )
    result = document["result"]
    if not isinstance(result, dict) or result.keys() != {name, "echo"} or result["echo"] != echo:
        raise _malformed("echo", "the OPA server's response belongs to a different request")
    provenance = document.get("provenance", {})
    if not isinstance(provenance, dict):
        raise _malformed("provenance", "the OPA server's response does not identify its policies")
    return OpaReply(
        document=result[name],
        version=_text(provenance.get("version")) or "",
        revisions=_revisions(provenance.get("bundles")),
        decision_id=_text(document.get("decision_id")),
    )


def _revisions(bundles: Any) -> tuple[tuple[str, str], ...]:
    if bundles is None:
        return ()
    if not isinstance(bundles, dict):
        raise _malformed("provenance", "the OPA server's response does not identify its policies")
    found = []
    for name, about in bundles.items():
        revision = about.get("revision", "") if isinstance(about, dict) else None
        if not isinstance(revision, str):
            raise _malformed("provenance", "the OPA server's response does not contain a revision")
        found.append((name, revision))
    return tuple(sorted(found))


def _text(value: Any) -> str | None:
    if isinstance(value, str) and len(value) <= _MAX_ID and value.isprintable():
        return value or None
    return None


def _refusal(reply: HttpReply) -> PolicyError:
    status = reply.status
    if 300 <= status < 400:
        # The redirect's target is not the configured server.
        return _malformed("redirect", "the OPA server returned a redirect")
    if status in {401, 403}:
        return PolicyError(
            "the OPA server rejected this guard's credentials",
            cause="error",
            detail="unauthorized",
            hint="set [opa] token_file, or cert and key",
        )
    if status == 500:
        place = _builtin_error(reply.body)
        if place is not None:
            return PolicyError(
                f"the policy failed with an error{place}",
                cause="error",
                detail="evaluation",
                hint="guardrail policy test",
            )
    if status == 400:
        return PolicyError(
            "the OPA server can't read the policy input", cause="error", detail="input"
        )
    if status in {429, 502, 503, 504}:
        return PolicyError(
            f"the OPA server, or a proxy in front of it, is not available (status {status})",
            cause="unreachable",
            detail=f"status_{status}",
        )
    return PolicyError(
        f"the OPA server returned status {status}", cause="error", detail=f"status_{status}"
    )


def _builtin_error(body: bytes) -> str | None:
    """Return the location at which the policy failed, or None if the response does not report such
    a failure. OPA's message is not returned, because it can quote values.
    """
    try:
        first = orjson.loads(body)["errors"][0]
        location = first.get("location") or {}
        file, row = location.get("file"), location.get("row")
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        return None
    if isinstance(file, str) and type(row) is int and file.isprintable() and len(file) < _MAX_ID:
        return f" at {file}, line {row}"
    return ""


def _malformed(detail: str, message: str) -> PolicyError:
    return PolicyError(message, cause="malformed", detail=detail)
