"""Changes to a policy's text that remove a finding. Each is mechanical: it needs no decision by the
author.

A change returns None if it does not apply. The caller checks the changed policies.
"""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import TypeAlias

from guardrail.authoring.fixes.code_text import CodeText, Written
from guardrail.authoring.fixes.packages import fix_package
from guardrail.errors import ConfigError, Finding
from guardrail.policy.opa.program import OpaProgram
from guardrail.policy.sources import whole_exponent

__all__ = ["FixContext", "can_fix", "fix", "removes_line"]


@dataclass(frozen=True, slots=True)
class FixContext:
    """What a change may depend on besides the file."""

    texts: Mapping[str, str]
    """The text of each of the authors' files, tests included, keyed by path."""
    opa: OpaProgram | None
    """The program that converts old syntax."""


Change: TypeAlias = Callable[[CodeText, Finding, FixContext], str | None]

_NOW = re.compile(r"(?<![\w.])time\s*\.\s*now_ns\s*\(\s*\)")
_TIME = "time.parse_rfc3339_ns(input.context.time)"
_EXPONENT = re.compile(r"(?<![\w.])\d+(?:\.\d+)?[eE][+-]?\d+(?![\w.])")
_OLD_SYNTAX = "opa fmt --v0-v1"
_KEYWORDS = re.compile(r"\s*import\s+(?:rego\.v1|future\.keywords(?:\.\w+)?)\s*$")
_ESCAPE = re.compile(r"\\(.)")
_VALID_ESCAPES = '"\\/bfnrtu'
_DEFAULT = re.compile(r"default\s+(\w+)\s*:?=\s*(true|false|set\(\s*\)|\{\s*\}|\[\s*\])\s*$")
_HEAD = re.compile(r"(allow|deny|require_approval|hide)(\s*:?=\s*)?")
_IF = re.compile(r"\s+if\b|\s*$")
_NAME = re.compile(r"[A-Za-z_]\w*")
_CONSTANTS = frozenset({"false", "null", "set", "not", "if"})
_UNKNOWN_KEY = re.compile(r"has the unknown key ('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")")
_MEANT = re.compile(r"did you mean (\w+)\?")
_NO_POINTER = re.compile(r"'([\w-]{1,64})' in .* is not a pointer .*: it must begin with a slash")


def fix(text: str, finding: Finding, context: FixContext) -> str | None:
    """Return *text* with a change that may remove *finding*, or None if there is none."""
    change = _CHANGES.get(finding.code)
    changed = change(CodeText(text), finding, context) if change is not None else None
    return None if changed == text else changed


def can_fix(text: str, finding: Finding, context: FixContext) -> bool:
    """Return True if there is a change that may remove *finding*. Runs no program."""
    if _OLD_SYNTAX in finding.hint:
        return context.opa is not None
    return fix(text, finding, context) is not None


def removes_line(finding: Finding) -> bool:
    """Return True if the change for *finding* removes its line, so the lines below it move."""
    return finding.hint.startswith(("remove the default", "remove this import"))


def _fix_syntax(code: CodeText, finding: Finding, context: FixContext) -> str | None:
    if _OLD_SYNTAX in finding.hint:
        return _converted(code.text, context.opa)
    start, end = code.line(finding.line)
    if "remove this import" in finding.hint and _KEYWORDS.match(code.code[start:end]):
        return code.without_line(finding.line)
    if "escape sequence" in finding.message:
        text = code.text
        for string in reversed(code.strings_in(start, end)):
            if string.text.startswith('"'):
                plain = _ESCAPE.sub(_doubled, string.text)
                text = text[: string.start] + plain + text[string.end :]
        return text
    return None


def _doubled(found: re.Match[str]) -> str:
    return found[0] if found[1] in _VALID_ESCAPES else "\\" + found[0]


def _converted(text: str, opa: OpaProgram | None) -> str | None:
    """Return *text* as ``opa fmt`` converts it from v0 to v1, with the same kind of line breaks."""
    if opa is None:
        return None
    try:
        found = opa.convert(text)
    except ConfigError:
        return None
    windows = "\r\n" in text and not re.search(r"(?<!\r)\n", text)
    return found.replace("\n", "\r\n") if found and windows else found


def _fix_form(code: CodeText, finding: Finding, context: FixContext) -> str | None:
    """Remove the default of a set, or make a rule with the value true add a member to the set.

    ``default deny := true`` stays: without it, calls would be allowed that no other rule denies.
    """
    start, end = code.line(finding.line)
    default = _DEFAULT.match(code.code, start, end)
    if default is not None:
        stops = default[1] != "allow" and default[2] == "true"
        if stops or _is_read(default[1], context) or _has_metadata(code, finding.line):
            return None
        return code.without_line(finding.line)
    head = _HEAD.match(code.code, start, end)
    if head is None or _is_read(head[1], context):
        return None
    begin = head.end()
    member = f'"{_new_id(head[1], context)}"'
    if head[2] is not None:
        begin = head.end(1) + len(head[2].rstrip(" \t"))
        value = _value(code, begin, end)
        if value is None:
            return None
        begin += len(value)
        value = value.strip()
        member = member if value == "true" else value
    if not _IF.match(code.code, begin, end) or (head[2] is None and begin == end):
        return None
    return code.replace(head.end(1), begin, f" contains {member}")


def _value(code: CodeText, start: int, end: int) -> str | None:
    """Return the string, ``true`` or the variable at *start*, with the spaces before it."""
    space = len(code.text[start:end]) - len(code.text[start:end].lstrip(" \t"))
    for string in code.strings_in(start + space, end):
        if string.start == start + space:
            return code.text[start : string.end]
    name = _NAME.match(code.code, start + space, end)
    if name is None or name[0] in _CONSTANTS:
        return None
    return code.text[start : name.end()]


def _is_read(name: str, context: FixContext) -> bool:
    """Return True if a policy or test mentions *name* anywhere but in the head of a rule, and not
    all of its rules define a set. There, the set would always be true.
    """
    heads = re.compile(rf"^(?:default\s+)?{name}\b", re.MULTILINE)
    others = re.compile(rf"^{name}\b(?!\s+contains\b)", re.MULTILINE)
    mentions = re.compile(rf"\b{name}\b")
    codes = [CodeText(text) for text in context.texts.values()]
    if not any(others.search(code.code) for code in codes):
        return False
    return any(
        len(mentions.findall(code.code)) > len(heads.findall(code.code))
        or any(_is_index(code, string, name) for string in code.strings)
        for code in codes
    )


def _is_index(code: CodeText, string: Written, name: str) -> bool:
    """Return True if *string* may be *name* in brackets, ``policy["deny"]``."""
    return code.code[: string.start].rstrip().endswith("[") and _unquoted(string.text) == name


def _unquoted(text: str) -> str:
    """Return the value of a string, or its text if it is not valid."""
    try:
        return text[1:-1] if text.startswith("`") else str(json.loads(text))
    except ValueError:
        return text


def _new_id(name: str, context: FixContext) -> str:
    """Return an id that no policy contains. An approval covers an id, so each rule needs its
    own.
    """
    stem = name.replace("_", "-")
    written = re.compile(rf'"{stem}-(\d{{1,9}})"')
    used = {int(number) for text in context.texts.values() for number in written.findall(text)}
    return f"{stem}-{next(number for number in count(1) if number not in used)}"


def _has_metadata(code: CodeText, line: int) -> bool:
    """Return True if an annotation above *line* would apply to the next statement without it."""
    for number in range(line - 1, 0, -1):
        written = code.text[slice(*code.line(number))]
        if not written.startswith("#"):
            return False
        if written.strip("# \t") == "METADATA":
            return True
    return False


def _fix_time(code: CodeText, finding: Finding, _: FixContext) -> str | None:
    if not finding.message.startswith("time.now_ns "):
        return None
    return code.sub_in_line(finding.line, _NOW, lambda _: _TIME)


def _fix_exponent(code: CodeText, finding: Finding, _: FixContext) -> str | None:
    return code.sub_in_line(
        finding.line,
        _EXPONENT,
        lambda written: str(int(Decimal(written))) if whole_exponent(written) else written,
    )


def _fix_entry(code: CodeText, finding: Finding, _: FixContext) -> str | None:
    """Rename a misspelled key of a member, or add the slash at the beginning of a pointer."""
    strings = code.strings_in(*code.statement(finding.line))
    key, meant = _UNKNOWN_KEY.search(finding.message), _MEANT.search(finding.hint)
    if key is not None and meant is not None:
        keys = [each for each in strings if code.is_key(each)]
        wrong = [each for each in keys if each.text == f'"{ast.literal_eval(key[1])}"']
        if len(wrong) != 1 or any(each.text == f'"{meant[1]}"' for each in keys):
            return None
        return code.replace(wrong[0].start, wrong[0].end, f'"{meant[1]}"')
    pointer = _NO_POINTER.match(finding.message)
    if pointer is not None:
        wrong = [e for e in strings if e.text == f'"{pointer[1]}"' and not code.is_key(e)]
        if len(wrong) == 1:
            return code.replace(wrong[0].start, wrong[0].end, f'"/{pointer[1]}"')
    return None


def _fix_id(code: CodeText, finding: Finding, context: FixContext) -> str | None:
    """Remove control, formatting and invisible characters from the strings in a rule's head, unless
    a string of the policies is equal then: an approval covers an id, so each rule needs its own.
    """
    start, end = code.statement(finding.line)
    body = re.compile(r"\sif\b").search(code.code, start, end)
    text = code.text
    for string in reversed(code.strings_in(start, body.start() if body else end)):
        shown = "".join(_visible(string.text))
        if shown != string.text and (shown in {'""', "``"} or _is_written(shown, context)):
            return None
        text = text[: string.start] + shown + text[string.end :]
    return text


def _is_written(text: str, context: FixContext) -> bool:
    wanted = _unquoted(text)
    strings = (each.text for other in context.texts.values() for each in CodeText(other).strings)
    return any(_unquoted(each) == wanted for each in strings)


def _visible(text: str) -> Iterator[str]:
    for character in text:
        category = unicodedata.category(character)
        if category[0] != "C" and category not in {"Zl", "Zp"}:
            yield character


def _fix_package(code: CodeText, finding: Finding, context: FixContext) -> str | None:
    return fix_package(code, finding.file, finding.line, context.texts)


_CHANGES: Mapping[str, Change] = {
    "syntax": _fix_syntax,
    "rego_parse_error": _fix_syntax,
    "package-name": _fix_package,
    "set-form": _fix_form,
    "set-entry": _fix_entry,
    "rule-id": _fix_id,
    "impure-builtin": _fix_time,
    "exponent": _fix_exponent,
}
