"""Extracts, from a record about a call, the part that changes the states of its caller. Pure."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import Any, Final

from guardrail.core.folding import folded
from guardrail.core.log.record import MALFORMED, dumps
from guardrail.core.state_reads import (
    AGENT,
    PRINCIPAL,
    SECTIONS,
    SESSION,
    CallDecided,
    CallEnded,
    StateKey,
)
from guardrail.core.types import Effect, Json
from guardrail.errors import RecordError

__all__ = ["caller_keys", "change_of", "decided_call", "subject_names"]

_MOST_RULES: Final = 8
"""Maximum number of rules of one call in ``recent``."""
_LONG: Final = 200
"""Maximum length of a target in ``recent``, in bytes. A longer one, and one that is a list or an
object, is replaced by its hash.
"""
_folded = functools.lru_cache(4_096)(folded)


def caller_keys(fields: Mapping[str, Any]) -> tuple[StateKey, StateKey, StateKey]:
    """Return the keys of the session, the principal and the agent in *fields*, the fields of a
    record about a call. Raises ``LookupError``, ``TypeError`` or ``AttributeError`` if a field is
    missing or malformed.

    Spellings of an id that look alike have one state, because this can only count more calls.
    """
    tenant, principal, agent = fields["tenant"], fields["principal"], fields["agent"]
    id_, name = principal["id"], agent["id"]
    return (
        (SESSION, tenant, fields["session"]),
        (PRINCIPAL, tenant, principal.get("issuer") or "", _folded(id_) or id_),
        (AGENT, tenant, _folded(name) or name),
    )


def subject_names(
    forms: Iterable[Mapping[str, Any]],
) -> dict[str, tuple[StateKey, ...]]:
    """Return the keys of one caller in records of each of *forms*, by section. *forms* holds the
    fields of such records.
    """
    found = [caller_keys(fields) for fields in forms]
    return {
        section: tuple(dict.fromkeys(keys[place] for keys in found))
        for place, section in enumerate(SECTIONS)
    }


def change_of(record: Mapping[str, Any]) -> CallDecided | CallEnded | None:
    """Return the change that *record*, a decoded record of any type, makes to the states, or None
    if it makes none. A malformed record makes none: ``verify`` reports it.
    """
    type_ = record.get("type")
    try:
        if type_ == "call.decision":
            inner = ((record.get("input") or {}).get("resource") or {}).get("properties") or {}
            return decided_call(record, inner.get("labels") or ())
        if type_ == "call.outcome":
            return CallEnded(record["call"], record["status"])
    except (*MALFORMED, RecordError):
        pass
    return None


def decided_call(fields: Mapping[str, Any], tool_labels: Collection[str]) -> CallDecided:
    """Return the change that the decision with *fields* makes. *tool_labels* are the labels of the
    tool in its recorded input. Raises one of ``MALFORMED`` if a field is missing or malformed.
    """
    decision, effect = fields["decision"], fields["decision"]["effect"]
    admitted = effect == Effect.ALLOW
    labels = sorted({*(decision.get("labels") or ()), *tool_labels}) if admitted else []
    amounts = dict(fields.get("amounts") or {})
    # The recent calls are JSON objects in the form of ``dumps``, with their keys in order.
    begin = dumps({"amounts": amounts, "effect": effect, "labels": labels})
    shown = {
        "rules": [rule["rule"] for rule in decision["rules"][:_MOST_RULES]],
        "target": [_short(each) for each in fields["target"]],
    }
    return CallDecided(
        str(fields["call"]),
        caller_keys(fields),
        str(fields["tool"]["name"]),
        str(effect),
        labels,
        {place: Decimal(str(value)) for place, value in amounts.items()},
        begin[:-1] + b',"outcome":',
        b"," + dumps(shown)[1:-1] + b',"time":',
    )


def _short(target: Json) -> Json:
    if not isinstance(target, str | list | dict):
        return target
    written = dumps(target)
    if isinstance(target, str) and len(written) <= _LONG:
        return target
    return "sha256:" + hashlib.sha256(written).hexdigest()
