"""Loads the policies into the engine that the settings name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from guardrail.config import Settings
from guardrail.core.types import Json
from guardrail.errors import ConfigError, PolicyLoadError
from guardrail.policy.embedded.engine import EmbeddedEngine
from guardrail.policy.sources import PolicySet, load_policies
from guardrail.wiring.missing_policies import way_to_policies
from guardrail.wiring.zones import require_known_zones

if TYPE_CHECKING:
    from guardrail.policy.engine import LoadedEngine

__all__ = ["load_engine"]


def load_engine(settings: Settings, policy_data: Mapping[str, Json] | None = None) -> LoadedEngine:
    """Load the policies and start their workers or a private OPA, or connect to the server that has
    them.

    Raises ``PolicyLoadError`` or ``ConfigError``, and ``PolicyError`` if the engine can't be
    started or the server does not serve the expected policies.
    """
    policy = settings.policy
    require_known_zones(settings)
    if policy.cross_check:
        _cross_check(settings, policy_data)
    if policy.engine == "opa":
        return _connect(settings, policy_data)
    _require_policies(settings)
    return EmbeddedEngine.load(
        policy.path,
        data=policy_data,
        zones=policy.time_zones,
        workers=policy.workers,
        eval_limit=policy.eval_limit_ms / 1000,
        memory_limit=policy.memory_mb * 1024 * 1024,
        # One of many tenants must not keep a second process for a case that is rare.
        spare=not settings.tenant_table,
    )


def _cross_check(settings: Settings, policy_data: Mapping[str, Json] | None) -> None:
    """Raise ``PolicyLoadError`` unless both engines load the policies and make the same
    decisions.
    """
    from guardrail.policy.cross_check.comparison import require_agreement
    from guardrail.policy.opa.program import require_opa

    _require_policies(settings)
    program = require_opa(settings.trusted_opa.program)
    policy = settings.policy
    require_agreement(
        load_policies(policy.path, data=policy_data, zones=policy.time_zones), program
    )


def _connect(settings: Settings, policy_data: Mapping[str, Json] | None) -> LoadedEngine:
    from guardrail.policy.opa.engine import OpaEngine

    opa = settings.opa
    if opa.url and (opa.revisions or opa.unsafe_unpinned_policy):
        return OpaEngine.connect(
            settings.trusted_opa,
            local=_served_sources(settings, policy_data),
            zones=settings.policy.time_zones,
        )
    _require_policies(settings)
    return OpaEngine.connect(
        settings.trusted_opa,
        local=load_policies(settings.policy.path, data=policy_data),
        zones=settings.policy.time_zones,
    )


def _served_sources(settings: Settings, policy_data: Mapping[str, Json] | None) -> PolicySet | None:
    """Return the policies at the path in the settings if one of the accepted revisions identifies
    them, so that they can be kept. Otherwise, this machine does not have the policies that the
    server serves.
    """
    from guardrail.policy.opa.revision import Revision

    named = {each.policy for each in map(Revision.parse, settings.opa.revisions) if each}
    try:
        found = load_policies(settings.policy.path, data=policy_data) if named else None
    except PolicyLoadError:
        return None
    return found if found is not None and found.digest in named else None


def _require_policies(settings: Settings) -> None:
    for path in settings.policy.path:
        if not path.exists():
            raise ConfigError(
                f"{path}: there are no policies at this path",
                code="config.policies",
                hint=way_to_policies(settings),
            )
