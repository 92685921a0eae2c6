"""``doctor`` check: the policies load, and pass the tests that run at load time."""

from __future__ import annotations

import time

from guardrail.config import Settings
from guardrail.core.words import counted
from guardrail.errors import PolicyLoadError
from guardrail.review.doctor.result import Check, CheckState
from guardrail.wiring.missing_policies import way_to_policies

__all__ = ["compared_engines", "policies"]


def compared_engines(settings: Settings) -> Check:
    """Compare the decisions of both engines, as a guard with ``[policy] cross_check`` does. Raises
    ``GuardrailError``.
    """
    from guardrail.policy.cross_check.comparison import require_agreement
    from guardrail.policy.opa.program import require_opa
    from guardrail.policy.sources import load_policies

    program = require_opa(settings.trusted_opa.program)
    started = time.perf_counter()
    policy = settings.policy
    require_agreement(load_policies(policy.path, zones=policy.time_zones), program)
    took = (time.perf_counter() - started) * 1000
    return Check(
        "engines", CheckState.OK, f"both make the same decisions; compared in {took:,.0f} ms"
    )


def policies(settings: Settings) -> Check:
    """Load the policies in *settings* as a guard does."""
    if settings.policy.engine == "opa":
        from guardrail.review.doctor.opa import local_policies

        return local_policies(settings)
    from guardrail.policy.embedded.engine import EmbeddedEngine

    missing = [path for path in settings.policy.path if not path.exists()]
    if missing:
        return Check(
            "policies",
            CheckState.FAIL,
            f"there are no policies at {missing[0]}",
            way_to_policies(settings),
        )
    started = time.perf_counter()
    try:
        engine = EmbeddedEngine.load(
            settings.policy.path,
            zones=settings.policy.time_zones,
            eval_limit=settings.policy.eval_limit_ms / 1000,
            memory_limit=settings.policy.memory_mb * 1024 * 1024,
            spare=False,
        )
    except PolicyLoadError as error:
        count = len(error.findings)
        return Check(
            "policies",
            CheckState.FAIL,
            f"refused: {counted(count, 'finding')}; {error.message}",
            error.hint,
        )
    try:
        digest = engine.identity.digest or "?"
    finally:
        engine.close()
    took = (time.perf_counter() - started) * 1000
    return Check(
        "policies",
        CheckState.OK,
        f"loaded and self-tested in {took:,.0f} ms, digest {digest[:16]}…",
    )
