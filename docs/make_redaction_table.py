"""Writes the table of classes and forms in docs/redaction.md, as the redactor finds them.

``make api`` runs it; a test compares what it makes with the page.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from guardrail.core.redaction.redactor import Redactor  # noqa: E402 - needs the path above
from guardrail.core.redaction.session_memory import Memory  # noqa: E402
from guardrail.keys.tenant_keys import TenantKeys  # noqa: E402
from tests.support.sensitive_values import CLASSES, FORMS, Form, ValueClass, is_gone  # noqa: E402

__all__ = ["found", "main", "page", "table"]

PAGE = ROOT / "docs" / "redaction.md"
BEGIN = "<!-- forms: written by docs/make_redaction_table.py -->\n"
END = "<!-- end of forms -->\n"
VALUES = 10
"""Number of values per cell."""
_WIDTH = 7


def found(cls: ValueClass, form: Form, redactor: Redactor) -> int:
    """Return how many of ``VALUES`` values of *cls* in *form* are removed."""
    rng = random.Random(f"{cls.title}/{form.title}")  # noqa: S311 - invented values
    count = 0
    for _ in range(VALUES):
        value = cls.make(rng)
        args = form.args(cls, value)
        view = redactor.inspect(args, schema=None, declared=True, memory=Memory()).view()
        count += is_gone(form.hidden(cls, value), view.value)
    return count


def table() -> str:
    """Return the tables: forms as rows, classes as columns, at most seven of them."""
    keys = TenantKeys(b"\x00" * 32, "default")
    redactor = Redactor(token=keys.value_token, mark=lambda cls: f"gr1:{cls}:-:{'a' * 24}")
    return "\n".join(_parts(redactor))


def _parts(redactor: Redactor) -> Iterator[str]:
    for first in range(0, len(CLASSES), _WIDTH):
        part = CLASSES[first : first + _WIDTH]
        yield "| form | " + " | ".join(cls.title for cls in part) + " |"
        yield "|---|" + "---|" * len(part)
        for form in FORMS:
            cells = (_cell(found(cls, form, redactor)) for cls in part)
            yield f"| {form.title} | " + " | ".join(cells) + " |"
        yield ""


def _cell(count: int) -> str:
    if count == VALUES:
        return "all"
    return f"{100 * count // VALUES} %" if count else "none"


def page() -> str:
    """Return the page with the tables."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}{table()}{END}{after}"


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
