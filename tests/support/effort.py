"""How much the tests try that visit many states: all of it in CI, and less for somebody who waits.

What runs less often here is a sample of the same states, drawn with the same fixed seeds; ``make
soak`` takes many more.
"""

from __future__ import annotations

import os

CI = os.environ.get("CI") == "true"


def effort(full: int, *, part: int) -> int:
    """Return *full* if CI=true, else *part*."""
    return full if CI else part
