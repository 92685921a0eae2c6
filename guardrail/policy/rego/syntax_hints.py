"""Hints for syntax errors, based on the parser's message and the source line that it refers to."""

from __future__ import annotations

import re

__all__ = ["syntax_hint"]

_KEYWORD = re.compile(r"`(?:if|contains)` keyword is required")
_IMPORT = re.compile(r"\s*import\b")
_KEYWORDS = re.compile(r"\s*import\s+(?:rego\.v1|future\.keywords)\b")
_TEMPLATE = re.compile(r"\$[\"`]")
_ESCAPE = re.compile(r"\\[^\"\\/bfnrtu]")


def syntax_hint(message: str, text: str, line: int, file: str) -> str:
    """Return a hint for the parser's error *message* at *line* of *text*, which is from *file*, or
    an empty string if there is no hint.
    """
    lines = text.splitlines()
    shown = lines[line - 1] if 0 < line <= len(lines) else ""
    if _KEYWORD.search(message):
        return (
            "write if before the body, and name contains x instead of name[x]; to "
            f"convert old (v0) syntax, run opa fmt --v0-v1 -w {file}"
        )
    if "shadows" in message and _IMPORT.match(shown):
        if _KEYWORDS.match(shown):
            return (
                "remove this import: another one above, such as rego.v1, provides the same keywords"
            )
        return "rename this import, as in import data.x as y, or remove it"
    if "import" in message and _IMPORT.match(shown):
        return "move the import to the top, below the package line and above all rules"
    if "invalid character" in message and _TEMPLATE.search(shown):
        return 'write sprintf("... %v", [x]) instead of $"... {x}"; the server engine supports this'
    if "escape sequence" in message:
        wrong = _ESCAPE.search(shown)
        return (
            (
                f"{wrong.group()} is not a valid escape in a double-quoted string: write the "
                f"pattern in backquotes, as in `{wrong.group()}`, or double the backslash"
            )
            if wrong is not None
            else "write the pattern in backquotes (`...`), or double the backslash"
        )
    return ""
