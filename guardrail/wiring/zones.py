"""The time zones whose offsets policies get with each call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from guardrail.config import Settings
from guardrail.errors import ConfigError
from guardrail.policy.named_zones import TIME_ZONES, nearest_zone
from guardrail.system.zones import ZoneTable, is_zone

if TYPE_CHECKING:
    from guardrail.policy.engine import Engine

__all__ = ["require_known_zones", "zone_table"]


def zone_table(settings: Settings, engine: Engine) -> ZoneTable:
    """Return the zones that the policies of *engine* name, and those in the settings."""
    sources = getattr(engine, "sources", None)
    named = () if sources is None else sources.zones
    return ZoneTable([*named, *settings.policy.time_zones])


def require_known_zones(settings: Settings) -> None:
    """Raise ``ConfigError`` if a time zone in the settings does not exist."""
    for name in settings.policy.time_zones:
        if not is_zone(name):
            message, hint = nearest_zone(name)
            raise ConfigError(f"{TIME_ZONES}: {message}", code="config.time_zones", hint=hint)
