"""A count and its noun agree, everywhere: no message says "1 records"."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import guardrail
from guardrail.core.words import agree, counted, numbers, plural_of

NOUNS = [
    "anchors",
    "approvals",
    "approvers",
    "arguments",
    "attempts",
    "bytes",
    "calls",
    "characters",
    "checks",
    "columns",
    "copies",
    "days",
    "entries",
    "failures",
    "files",
    "findings",
    "folders",
    "gaps",
    "hashes",
    "heads",
    "hours",
    "items",
    "keys",
    "levels",
    "lines",
    "members",
    "minutes",
    "modules",
    "others",
    "parts",
    "policies",
    "processes",
    "reasons",
    "records",
    "remarks",
    "requests",
    "rows",
    "rules",
    "seconds",
    "segments",
    "sessions",
    "signatures",
    "statements",
    "tests",
    "times",
    "tokens",
    "tools",
    "uses",
    "values",
    "warnings",
    "witnesses",
]
VERBS = [
    "has",
    "have",
    "hold",
    "holds",
    "of",
    "without",
    "with",
    "no",
    "more",
    "are",
    "is",
    "that",
    "the",
    "as",
    "never",
    "uses an",
]
"""What makes the value before it the subject, or another noun: ``{table} holds values``."""
_NOUN = re.compile(rf" (?!(?:{'|'.join(VERBS)}) )(?:[a-z]+ )?(?:{'|'.join(NOUNS)})\b")
_WORDS = Path("core") / "words.py"


@cache
def sources() -> list[tuple[Path, ast.Module]]:
    """Every module of the package but the one that has the rule."""
    folder = Path(guardrail.__file__).parent
    return [
        (path.relative_to(folder), ast.parse(path.read_text("utf-8")))
        for path in sorted(folder.rglob("*.py"))
        if path.relative_to(folder) != _WORDS
    ]


def is_fixed(value: ast.expr) -> bool:
    """Whether it is a constant of the module, which is more than one and says so where it
    stands.
    """
    names = [node for node in ast.walk(value) if isinstance(node, ast.Name | ast.Attribute)]
    last = [node.id if isinstance(node, ast.Name) else node.attr for node in names]
    return bool(last) and all(name.strip("_").isupper() for name in last)


def is_text(value: ast.expr) -> bool:
    """Whether it is words and no number: a name, or what a helper returned."""
    return isinstance(value, ast.Call) and isinstance(value.func, ast.Name)


def texts(tree: ast.Module) -> Iterator[tuple[int, str, ast.expr, str]]:
    """Each value in a text with a place for it: its line, what is before, the value, what is
    behind.
    """
    for node in ast.walk(tree):
        if not isinstance(node, ast.JoinedStr):
            continue
        for index, part in enumerate(node.values):
            if isinstance(part, ast.FormattedValue):
                around = [
                    str(each.value) if isinstance(each, ast.Constant) else ""
                    for each in (
                        node.values[index - 1] if index else None,
                        node.values[index + 1] if index + 1 < len(node.values) else None,
                    )
                ]
                yield part.lineno, around[0], part.value, around[1]


def named(tree: ast.Module) -> Iterator[str]:
    """Every word that is given to a helper as it stands."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        last = node.args[-1] if node.args else None
        if node.func.id not in {"agree", "counted", "numbers"} or not isinstance(
            last, ast.Constant
        ):
            continue
        if isinstance(last.value, str):
            yield last.value


@pytest.mark.parametrize(
    ("count", "words", "told"),
    [
        (1, "record", "1 record"),
        (0, "record", "0 records"),
        (2, "open call", "2 open calls"),
        (1, "other process", "1 other process"),
        (12_345, "copy", "12,345 copies"),
    ],
)
def test_a_count_has_its_noun(count: int, words: str, told: str) -> None:
    """Only one is one."""
    assert counted(count, words) == told


def test_a_verb_agrees_and_one_record_is_no_range() -> None:
    """Which records is told by number."""
    assert (agree(1, "is"), agree(2, "is"), agree(1.0, "item")) == ("is", "are", "item")
    assert numbers(137, 137) == "record 137"
    assert numbers(0, 11) == "records 0 to 11"
    assert numbers(1, 2, "Record") == "Records 1 to 2"


def test_no_text_puts_a_plural_behind_a_number_by_itself() -> None:
    """``counted`` does: a number that is one comes sooner or later."""
    wrong = [
        f"{path}:{line}: {ast.unparse(value)}{after[:40]!r}"
        for path, tree in sources()
        for line, _, value, after in texts(tree)
        if _NOUN.match(after) and not is_fixed(value) and not is_text(value)
    ]
    assert wrong == []


def test_no_text_names_a_range_of_records_by_itself() -> None:
    """``numbers`` does: from 137 to 137 is one record."""
    wrong = [
        f"{path}:{line}: {before[-30:]!r}{ast.unparse(value)}{after[:20]!r}"
        for path, tree in sources()
        for line, before, value, after in texts(tree)
        if re.search(r"[Rr]ecords (?:from )?$|[Rr]ecords \d+ to $", before)
        and (after.startswith(" to ") or before.endswith("to "))
    ]
    assert wrong == []


def test_no_text_makes_a_plural_of_its_own() -> None:
    """No ``'s' if n != 1``, and no "(s)"."""
    wrong = []
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.IfExp):
                ends = {
                    each.value
                    for each in (node.body, node.orelse)
                    if isinstance(each, ast.Constant)
                }
                if ends & {"s", "es", "ies"}:
                    wrong.append(f"{path}:{node.lineno}")
            if isinstance(node, ast.JoinedStr) and any(
                isinstance(each, ast.Constant) and re.search(r"[a-z]\(e?s\)", str(each.value))
                for each in node.values
            ):
                wrong.append(f"{path}:{node.lineno}")
    assert wrong == []


def test_every_word_that_is_counted_has_a_plural() -> None:
    """A verb, or a noun that ends in s, ch or y, has none by rule: it is written down."""
    words = {each.rsplit(" ", 1)[-1] for _, tree in sources() for each in named(tree)}
    assert "record" in words
    for word in words:
        if re.search(r"(s|x|z|ch|sh|[^aeiou]y)$", word):
            assert plural_of(word) != f"{word}s", word
