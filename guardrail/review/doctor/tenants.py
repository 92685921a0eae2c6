"""``doctor`` checks: whether the guards of the other tenants could work."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from guardrail.config import Settings
from guardrail.core.words import counted
from guardrail.review.doctor.result import Check, CheckState

__all__ = ["other_tenants"]

_MOST = 32
"""Maximum number of tenants that are examined, because loading policies takes time."""
_NAMED = 10
"""Maximum number of tenants that the check names."""

Checks = Iterable[tuple[str, Callable[[Settings], Check]]]


def other_tenants(settings: Settings, checks: Checks, run: Callable[..., Check]) -> Iterator[Check]:
    """Yield one check for each tenant with a table in *settings* that does not pass *checks*, and
    one for all others. *run* carries out a check.

    Nothing is yielded if no tenant has a table. Disabled tenants are not examined.
    """
    if not settings.tenants:
        return
    named = [name for name, each in sorted(settings.tenants.items()) if not each.disabled]
    passed = []
    for name in named[:_MOST]:
        bad = _first_bad(settings.tenants[name], checks, run)
        if bad is None:
            passed.append(name)
        else:
            found = f"tenant {name}: {bad.name}: {bad.found}"
            fix = f"guardrail doctor --tenant {name} shows more"
            yield Check("tenants", bad.state, found, f"{bad.fix}; {fix}" if bad.fix else fix)
    more = len(named) - _MOST
    words = ", ".join(what for what, _ in checks)
    listed = ", ".join(passed[:_NAMED])
    listed += f" and {len(passed) - _NAMED} more" if len(passed) > _NAMED else ""
    left = f"; not examined: {counted(more, 'tenant')}" if more > 0 else ""
    off = len(settings.tenants) - len(named)
    left += f"; disabled: {counted(off, 'tenant')}" if off else ""
    yield Check(
        "tenants",
        CheckState.NOTE,
        f"only {words} examined for tenants {listed or '(none)'}{left}",
        "guardrail doctor --tenant NAME checks everything for one of them; guardrail suspensions"
        " --all-tenants lists the suspensions of each",
    )


def _first_bad(settings: Settings, checks: Checks, run: Callable[..., Check]) -> Check | None:
    for name, check in checks:
        found = run(name, check, settings)
        if found.state in {CheckState.FAIL, CheckState.UNKNOWN}:
            return found
    return None
