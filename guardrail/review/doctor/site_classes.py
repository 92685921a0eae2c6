"""``doctor`` check: the classes of values that the site's own redaction rules name."""

from __future__ import annotations

from difflib import get_close_matches

from guardrail.config import Settings
from guardrail.core.redaction.key_names import CLASSES
from guardrail.review.doctor.result import Check, CheckState
from guardrail.review.terminal import escape

__all__ = ["site_classes"]

_ALIKE = 0.75


def site_classes(settings: Settings) -> Check:
    """Report a class that is probably a misspelt class of guardrail's own.

    Any name can be a class, so a typing error makes a new class: its values are removed, but a
    search by the class that was meant does not find them.
    """
    rules = settings.redaction
    own = sorted({name for name, _ in (*rules.keys, *rules.patterns)}.difference(CLASSES))
    for name in own:
        near = get_close_matches(name, CLASSES, n=1, cutoff=_ALIKE)
        if near:
            return Check(
                "classes",
                CheckState.NOTE,
                f"[redaction] makes a new class {escape(name)}",
                f"if you mean the class {near[0]}, write that name",
            )
    named = ", ".join(map(escape, own))
    found = f"new classes of this site: {named}" if own else "the site's rules use known classes"
    return Check("classes", CheckState.OK, found)
