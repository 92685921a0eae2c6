"""``doctor`` check: the settings file, and the environment variables that override it."""

from __future__ import annotations

from collections.abc import Mapping

from guardrail.config import ENVIRONMENT, Settings
from guardrail.config.redaction_rules import redaction_rules
from guardrail.config.source import with_source
from guardrail.errors import ConfigError
from guardrail.review.doctor.result import Check, CheckState
from guardrail.wiring.missing_policies import RESTORE
from guardrail.wiring.zones import require_known_zones

__all__ = ["released_soon", "settings_read", "settings_refused"]


def settings_read(settings: Settings, environment: Mapping[str, str]) -> Check:
    """Report the file and the environment variables from which *settings* come, or why no guard
    starts with the rules in ``[redaction]`` or the time zones in ``[policy]``.
    """
    try:
        redaction_rules(settings.redaction)
        require_known_zones(settings)
    except ConfigError as error:
        return Check("settings", CheckState.FAIL, error.message, error.hint)
    over = [variable for variable in ENVIRONMENT if environment.get(variable)]
    verb = "overrides" if len(over) == 1 else "override"
    what = "them" if settings.source is None else "it"
    rest = f"; {', '.join(over)} in the environment {verb} {what}" if over else ""
    if settings.source is None:
        found = f"no guardrail.toml in this folder or a parent folder; defaults apply{rest}"
        return Check("settings", CheckState.NOTE, found, _way_to_settings(settings))
    return Check("settings", CheckState.OK, f"{settings.source}{rest}")


def _way_to_settings(settings: Settings) -> str:
    has_policies = all(path.exists() for path in settings.policy.path)
    if not (settings.ledger.path.exists() or settings.key_path.exists() or has_policies):
        return "guardrail init"
    if not has_policies:
        return RESTORE
    return (
        "to change a setting, create guardrail.toml; guardrail init OTHER_FOLDER writes "
        "one with every key"
    )


def released_soon(_: Settings) -> Check:
    """Report that the settings release results before their outcomes are durable."""
    return Check(
        "outcome",
        CheckState.NOTE,
        "results are released before their outcomes are durable: if a process dies, its last calls "
        "are recorded as unknown, although their results may have been used",
        'to wait for each outcome, set outcome = "before_release" in [ledger]',
    )


def settings_refused(error: ConfigError, environment: Mapping[str, str]) -> Check:
    """Report why the settings are rejected. If the message contains a path from an environment
    variable, include the variable's name.
    """
    found = with_source(error.message, environment)
    return Check("settings", CheckState.FAIL, found, error.hint or "correct the file")
