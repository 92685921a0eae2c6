"""Returns the settings that govern calls in the forms that records contain: codes, to compare them,
and redacted values, to show them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from guardrail.config import Settings
from guardrail.config.redaction_rules import redaction_rules
from guardrail.core.log.record import decode, dumps
from guardrail.core.redaction.redactor import Redactor
from guardrail.core.redaction.rules import Rules
from guardrail.core.redaction.session_memory import Memory
from guardrail.core.shown_urls import shown_url
from guardrail.core.types import Json
from guardrail.keys.log_key import Keys
from guardrail.keys.tenant_keys import TenantKeys

__all__ = ["changed_settings", "keyed_profile", "recorded_values", "setting_codes"]

_CODE = 16
"""Number of hex digits of a setting's code. They are enough to distinguish values, but too few to
guess a value without the keys.
"""
MAX_VALUE = 1_024
"""Maximum size of a recorded value in bytes. Of a larger one, only the size is recorded."""
_SIGNER, _KEY_NAMES, _PATTERNS = "keys.signer", "redaction.keys", "redaction.patterns"
_NOT_IN_FORCE: Mapping[str, Json] = {"absent": "not_in_force"}
_NOT_RECORDED: Mapping[str, Json] = {"absent": "not_recorded"}


def setting_codes(settings: Settings, keys: Keys) -> dict[str, str]:
    """Return a code, keyed with the log's keys, for each setting that affects how calls are
    governed. The names have the form ``section.key``.
    """
    tenant = keys.tenant("default")
    return {
        name: tenant.commitment([b"setting", name.encode(), dumps(value)]).hexdigest()[:_CODE]
        for name, value in _governed(settings).items()
    }


def keyed_profile(rules: Rules, keys: Keys) -> str:
    """Return the name of *rules* for records. If the settings have rules of their own, their digest
    in it is keyed with the log's keys: a pattern may spell out a value that it must remove.
    """
    name, plus, digest = rules.profile.partition("+")
    if not plus:
        return name
    keyed = keys.tenant("default").commitment([b"redaction", digest.encode()]).hexdigest()
    return f"{name}+{keyed[:_CODE]}"


def recorded_values(settings: Settings) -> dict[str, dict[str, Json]]:
    """Return the recorded form of the value of each setting that has a code: ``{"value": V}``
    without sensitive values, or ``{"omitted": "size", "bytes": N}`` if it is too large.

    Sensitive values are replaced by random marks: the codes already show whether two are equal.
    """
    shown = {name: _shown(name, value) for name, value in _governed(settings).items()}
    return _redacted(shown, settings)


def changed_settings(
    names: list[str],
    *,
    before: Mapping[str, Any] | None,
    known: Mapping[str, Any],
    now: Mapping[str, dict[str, Json]],
    settings: Settings,
) -> list[dict[str, Json]]:
    """Return the old and the new value of each changed setting in *names*.

    *known* has a key for each setting that was in force at the last start, and *before* has the
    values that this start recorded, or is None if it recorded none. Both come from a proved record.
    *now* are the ``recorded_values`` of *settings*. Their rules are applied to the old values too,
    because those in force at that time may have left a value that is sensitive now.
    """
    recorded = {} if before is None else before
    values = {
        name: _without_url_secrets(recorded[name]["value"])
        for name in names
        if isinstance(recorded.get(name), Mapping) and "value" in recorded[name]
    }
    cleaned = _redacted(values, settings)

    def old(name: str) -> Mapping[str, Json]:
        if name not in known:
            return _NOT_IN_FORCE
        return cleaned.get(name) or _omitted(recorded.get(name)) or _NOT_RECORDED

    return [
        {"name": name, "old": dict(old(name)), "new": dict(now.get(name, _NOT_IN_FORCE))}
        for name in names
    ]


def _governed(settings: Settings) -> dict[str, Any]:
    governed: dict[str, Mapping[str, Any]] = {
        **settings.governed(),
        "keys": {"signer": settings.keys.signer},
    }
    return {
        f"{section}.{name}": value
        for section, values in governed.items()
        for name, value in values.items()
    }


def _shown(name: str, value: Any) -> Any:
    """Return the part of the value of setting *name* that may be shown, in a form in which the
    redactor takes no class of values for the name of a secret.
    """
    hidden = TenantKeys.mark
    if name == _SIGNER:  # an argument may be a PIN; only the program is shown
        return [*value[:1], *(hidden("secret") for _ in value[1:])]
    if name == _KEY_NAMES:
        return [{"class": cls, "names": names} for cls, names in value.items()]
    if name == _PATTERNS:  # a pattern may spell out a value that it must remove
        return [
            {"class": cls, "patterns": [hidden("secret") for _ in patterns]}
            for cls, patterns in value.items()
        ]
    return _without_url_secrets(value)


def _without_url_secrets(value: Any) -> Any:
    """Return *value*, in which each URL has the form in which it may be shown."""
    if isinstance(value, str):
        return shown_url(value)
    if isinstance(value, Mapping):
        return {name: _without_url_secrets(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_url_secrets(item) for item in value]
    return value


def _redacted(values: Mapping[str, Any], settings: Settings) -> dict[str, dict[str, Json]]:
    mark: Callable[[str], str] = TenantKeys.mark
    redactor = Redactor(
        token=lambda cls, _: mark(cls), mark=mark, rules=redaction_rules(settings.redaction)
    )
    memory = Memory()
    plain = {name: decode(dumps({"value": value}))["value"] for name, value in values.items()}
    # All of them are examined first, so that a secret that one of them shows to be one is removed
    # from the others as well.
    inspected = {
        name: redactor.inspect({name: value}, schema=None, declared=True, memory=memory)
        for name, value in plain.items()
        if len(dumps(value)) <= MAX_VALUE
    }
    found: dict[str, dict[str, Json]] = {}
    for name, value in plain.items():
        if name not in inspected:
            found[name] = {"omitted": "size", "bytes": len(dumps(value))}
            continue
        view: Any = inspected[name].view().value
        shown = view.get(name) if isinstance(view, dict) else None
        left = redactor.gate(_texts(shown), memory)
        if left is not None:
            shown = mark(left)
        size = len(dumps(shown))
        found[name] = {"value": shown} if size <= MAX_VALUE else {"omitted": "size", "bytes": size}
    return found


def _omitted(recorded: object) -> dict[str, Json] | None:
    """Return the recorded form of a value that was too large, or None."""
    if isinstance(recorded, Mapping) and type(recorded.get("bytes")) is int:
        return {"omitted": "size", "bytes": recorded["bytes"]}
    return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
