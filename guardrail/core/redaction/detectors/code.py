"""Finds secrets that are literals in code, such as defaults and fallbacks, after a call, a lookup
or a variable.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from guardrail.core.redaction.expressions import is_name, is_reference
from guardrail.core.redaction.key_names import classify
from guardrail.core.redaction.spans import Hit, before

__all__ = ["fallbacks", "literals"]

_MOST = 32
_FAR = 400
_TOKEN = re.compile(
    r"(?P<space>[ \t]{0,24})(?:"
    r"[bfruBFRU]{0,2}(?:\\?\"(?P<two>(?:[^\"\n\\\x00\x01]|\\[^\"\n\x00\x01])*)\\?\"|\\?'(?P<one>(?:[^'\n\\\x00\x01]|\\[^'\n\x00\x01])*)\\?'|`(?P<tick>[^`\n\x00\x01]*)`)"
    r"|(?P<name>[A-Za-z_$@][\w$]*(?:(?:\.|\?\.|->|::)[A-Za-z_$][\w$]*)*)"
    r"|(?P<open>[(\[{])|(?P<close>[)\]}])"
    r"|(?P<sign>\|\||\?\?=?|\?:|[=!]==?|=>|&&|[<>]=?|[+\-*/%:?=|&!.])|(?P<comma>,)|(?P<number>\d[\w.]*)|(?P<line>\\?\r?\n\s{0,64}))"
)
# Operators and keywords before a fallback value, or before a value that is appended to another.
_TAKES = frozenset({"or", "||", "??", "??=", "?:", "else", ":", "?", "+", "return", "and", "&&"})
_NOT_VALUES = frozenset(
    {"==", "===", "!=", "!==", "in", "is", "not", "<", ">", "<=", ">=", "%", "!"}
)
_BEGINS = frozenset({"", "literal"})
_DEFAULTS = frozenset(
    "default default_value defaultvalue fallback or_else orelse if_none ifnone value initial".split()  # noqa: SIM905
)
# The last part of the name of a function that takes a name and then a default value.
_GETTERS = re.compile(
    r"(?:get|get_?or_?(?:default|else)|get_?env(?:_var)?|env(?:_var)?|fetch|get_?property|get_?string|get_?value|pop|set_?default|environ|config|setting|lookup|dig|opt_?string|value_?or|coalesce|nvl|if_?null|unwrap_?or|or_?else|str|cast)\Z",
    re.IGNORECASE,
)
_ENVIRONMENT = re.compile(r"env|property|\bos\b|process|coalesce|nvl|null|else", re.IGNORECASE)
# The first argument of these functions is the value itself.
_WRAPPERS = re.compile(
    r"(?:secret|secret_?str|secret_?bytes|secret_?key|secure_?string|password|passwd|credential|token|str|string|bytes|bytearray|from|b64decode|b64encode|base64_?decode|atob|btoa|decode|encode|unescape|quote|from_?string|value_?of|of|just|some|lit|literal|text|raw|ok|unwrap_?or|or_?else|value_?or|to_?string|to_?char_?array)\Z",
    re.IGNORECASE,
)
_SCHEMES = frozenset({"bearer", "basic", "token", "digest", "apikey", "key", "utf-8", "utf8", "ascii", "base64", "hex", "latin-1"})  # fmt: skip
_PLACEHOLDERS = frozenset(
    {"true", "false", "null", "none", "undefined", "nil", "string", "required", "optional", "str", "missing", "unset", "not set", "empty", "n/a", "yes", "no", "unknown"}
)  # fmt: skip
_WORDY = re.compile(r"\w")


def literals(text: str, start: int, before: str = "") -> Iterator[Hit]:
    """Yield the literals of the expression that begins at *start* and is assigned to the name of a
    secret.

    Keys, names in lookups, and compared values are not yielded. *before* is the character before
    *start*.
    """
    reader = _Expression(before)
    match = _TOKEN.match(text, start, start + _FAR)
    for _ in range(_MOST):
        if match is None:
            return
        kind = match.lastgroup or ""
        if kind in _QUOTES:
            if reader.takes(match.group(kind)):
                yield Hit(*match.span(kind), "secret", "literal")
        elif kind == "name":
            reader.name(match.group("name"))
        elif kind == "sign":
            if not reader.operator(match.group("sign")):
                return
        elif not reader.mark(kind, match.group(0).strip()):
            return
        match = _TOKEN.match(text, match.end(), start + _FAR)


_QUOTES = frozenset({"one", "two", "tick"})


class _Expression:
    """The parser's state within an expression."""

    __slots__ = ("asked", "called", "frames", "keyword", "sign")

    def __init__(self, before: str) -> None:
        self.frames: list[tuple[str, str, int]] = []
        """For each open bracket: the bracket, the called function, and the number of commas so
        far.
        """
        self.called = ""
        self.sign = before
        self.keyword = ""
        self.asked = False

    def takes(self, literal: str) -> bool:
        """Return True if a literal is the secret or a part of it."""
        is_value = _is_value_position(self.frames, self.sign, self.keyword) and _is_value(
            literal, self.frames
        )
        self.called, self.sign, self.keyword = "", "literal", ""
        return is_value

    def name(self, word: str) -> None:
        lower = word.lower()
        if lower in _TAKES or lower in _NOT_VALUES or lower == "if":
            self.called, self.sign, self.keyword = "", lower, ""
        else:
            self.called, self.sign = word, "name"

    def operator(self, sign: str) -> bool:
        """Process an operator; return False if the expression ends."""
        self.sign = sign
        self.asked = self.asked or sign == "?"
        if sign == ":" and not self.frames and not self.asked:
            return False
        self.keyword = self.called if sign in {"=", ":"} and self.frames else ""
        self.called = self.called if sign in {".", "?"} else ""
        return True

    def mark(self, kind: str, sign: str) -> bool:
        """Process a bracket, a comma, a number or the end of a line.

        Return False if the expression ends.
        """
        if kind == "open":
            self.frames.append((sign, self.called, 0))
            self.called, self.sign, self.keyword = "", "", ""
        elif kind == "number":
            self.sign = "name"
        elif not self.frames:
            return False
        elif kind == "close":
            self.frames.pop()
            self.called, self.sign = ")", "name"
        elif kind == "comma":
            bracket, callee, count = self.frames[-1]
            self.frames[-1] = (bracket, callee, count + 1)
            self.called, self.sign, self.keyword = "", "", ""
        return True


def _is_value_position(frames: list[tuple[str, str, int]], sign: str, keyword: str) -> bool:
    """Return True if a literal is in the position of a value."""
    if sign in _NOT_VALUES:
        return False
    if not frames:
        return sign in _TAKES or sign in _BEGINS
    bracket, callee, count = frames[-1]
    if bracket != "(":
        return False
    if keyword:
        return keyword.lower() in _DEFAULTS
    if sign in _TAKES:
        return True
    if sign not in _BEGINS:
        return False
    last = callee.replace("::", ".").replace("->", ".").rpartition(".")[2]
    if count == 0:
        return not callee or _WRAPPERS.match(last) is not None
    # a pair such as ("user", "password")
    return _GETTERS.match(last) is not None or (not callee and len(frames) == 1)


def _is_value(literal: str, frames: list[tuple[str, str, int]]) -> bool:
    value = literal.strip()
    low = value.lower().strip(": ()[]")
    if low in _SCHEMES or low in _PLACEHOLDERS or _WORDY.search(value) is None:
        return False
    if is_reference(value):
        return False
    # The second argument after a section names a secret but is not one: config.get("db",
    # "password")
    inside = bool(frames) and frames[-1][2] > 0 and _ENVIRONMENT.search(frames[-1][1]) is None
    return not inside or classify(value).cls != "secret" or not is_name(value)


# --- by the name that is looked up ---

_LOOKUP = re.compile(
    r"\(\s{0,16}\\?(?P<q>[\"'])(?P<n>[\w.\-/:]{2,64})\\?(?P=q)\s{0,16},\s{0,32}(?:(?P<kw>[A-Za-z_]{1,20})\s?=\s?)?[bfru]?\\?(?P<p>[\"'`])(?P<v>[^\"'`\n\\\x00\x01]{1,256})\\?(?P=p)"
)
_SETTERS = re.compile(
    r"(?:(?:set|put|add|append|define|with)_?(?:request_?)?(?:header|property|env|item|config|secret|option|param|parameter|variable|attribute|string|value)?|header|insert)\Z",
    re.IGNORECASE,
)
_SETS = re.compile(r"(?:set|with)(?:_(?=[a-z])|(?=[A-Z]))(?P<n>\w{2,40})\Z")
_ONLY = re.compile(
    r"\((?<=\w\()\s{0,16}[bru]?\\?(?P<q>[\"'])(?P<v>[^\"'`\n\\\x00\x01]{1,256})\\?(?P=q)\s{0,16}\)"
)
_SECURE = re.compile(
    r"ConvertTo-SecureString\s{1,8}(?:-String\s{1,8})?(?P<q>[\"'])(?P<v>[^\"'\n\x00\x01]{1,256})(?P=q)",
    re.IGNORECASE,
)
_CALLEE_BACK = re.compile(r"[\w.:>\-]{1,64}")
_LITERAL = r"=?\s{0,16}[bfru]?\\?(?P<q>[\"'`])(?P<v>[^\"'`\n\\\x00\x01]{1,256})\\?(?P=q)"
_ELSE_BARS = re.compile(r"\|\|" + _LITERAL)
_ELSE_ASKED = re.compile(r"\?[?:]" + _LITERAL)
_OR = (
    re.compile(
        r"\"(?:(?<=\bor \")|(?<=\belse \")|(?<=\bor \\\")|(?<=\belse \\\"))(?P<v>[^\"'`\n\\\x00\x01]{1,256})\\?\""
    ),
    re.compile(r"'(?:(?<=\bor ')|(?<=\belse '))(?P<v>[^\"'`\n\\\x00\x01]{1,256})'"),
)
# A name that ends at a quote must be in a look-up: os.environ["TOKEN"] or "x", but not
# print("token" or "x")
_NAMED = r"(?P<lead>[A-Za-z]{0,12} ?)(?<![\w])(?P<n>(?:[A-Za-z_$][\w$]*(?:\.|->|\?\.)){0,6}[A-Za-z_$][\w$]*)(?P<end>(?:(?:\\?[\"'])?[)\]]{1,2})?)\s{0,8}"
_NAME_BEFORE = re.compile(_NAMED + r"\Z")
_NAME_BEFORE_IF = re.compile(_NAMED + r"(?<=\s)if\s[^\n\x00\x01]{1,64}\Z")
# Values that are compared are ignored: "a" in token or "b" in token
_COMPARED = re.compile(r"\\?[\"'`]\s{0,4}(?:[=!]==?|(?:not )?in\b|[<>])")
_BEFORE = frozenset(
    {"return", "yield", "await", "lambda", "if", "else", "and", "or", "not", "const", "let", "var"}
)
_SHELL = re.compile(
    r"\$\{(?:(?P<n>[A-Za-z_][\w.\-]{0,63}):[\-=]?|(?P<m>[A-Z_][A-Z0-9_]{0,63})[\-=])(?P<v>(?![?+])[^{}\n\x00\x01]{1,256})\}"
)
_SLICE = re.compile(r"[\s\d:\-]+\Z")
_FILTER = re.compile(
    r"\|(?<=[\w\])\" ]\|)\s{0,4}default(?:\(\s{0,4}|\s{1,4})\\?(?P<q>[\"'])(?P<v>[^\"'\n\\\x00\x01]{1,256})\\?(?P=q)"
)


def fallbacks(text: str) -> list[Hit]:
    """Return the literals used as fallbacks if a secret is not found under its name."""
    hits: list[Hit] = []
    if "(" in text:
        hits += _lookups(text)
        hits += _setters(text)
    if "|" in text:
        hits += _fallback_literals(text, _ELSE_BARS)
        hits += _fallback_literals(text, _FILTER)
    # The text is searched before a generator is created, because creating one costs as much as the
    # search.
    if "?" in text and _ELSE_ASKED.search(text) is not None:
        hits += _fallback_literals(text, _ELSE_ASKED)
    if '"' in text and _OR[0].search(text) is not None:
        hits += _fallback_literals(text, _OR[0])
    if "'" in text and _OR[1].search(text) is not None:
        hits += _fallback_literals(text, _OR[1])
    if "ecure" in text:
        for match in _SECURE.finditer(text):
            if _is_value(match.group("v"), []):
                hits.append(Hit(*match.span("v"), "secret", "literal"))
    if "$" in text and "{" in text:
        for match in _SHELL.finditer(text):
            name, value = match.group("n") or match.group("m"), match.group("v")
            if _opens_argument(name) and _SLICE.match(value) is None and _is_value(value, []):
                hits.append(Hit(*match.span("v"), "secret", "literal"))
    return hits


def _lookups(text: str) -> Iterator[Hit]:
    for match in _LOOKUP.finditer(text):
        if not _opens_argument(match.group("n")):
            continue
        callee = _callee(text, match.start())
        last = re.split(r"[.:>]", callee)[-1]
        keyword = match.group("kw")
        if keyword and keyword.lower() not in _DEFAULTS:
            continue
        sets = _SETTERS.match(last) is not None and not _is_label(match.group("v"))
        if (sets or _GETTERS.match(last)) and _is_value(match.group("v"), [("(", callee, 1)]):
            yield Hit(*match.span("v"), "secret", "literal")


def _setters(text: str) -> Iterator[Hit]:
    """Yield the arguments of a function that sets a secret, such as ``setPassword("x")``."""
    for match in _ONLY.finditer(text):
        callee, value = _callee(text, match.start()), match.group("v")
        sets = _SETS.match(re.split(r"[.:>]", callee)[-1])
        if sets is None or not _opens_argument(sets.group("n")) or _is_label(value):
            continue
        if _is_value(value, [("(", callee, 1)]):
            yield Hit(*match.span("v"), "secret", "literal")


def _callee(text: str, at: int) -> str:
    """Return the name before a bracket."""
    back = _CALLEE_BACK.match(before(text, at, 64)[::-1])
    return back.group()[::-1] if back is not None else ""


def _is_label(value: str) -> bool:
    """Return True if a literal is a human-readable label, as in
    ``add("password", "Your password")``.
    """
    return " " in value and not any(map(str.isdigit, value))


def _fallback_literals(text: str, pattern: re.Pattern[str]) -> Iterator[Hit]:
    worded = pattern in _OR
    for match in pattern.finditer(text):
        start, named = match.start(), _NAME_BEFORE
        start -= worded and text.startswith("\\", start - 1)
        if worded and text.startswith("else", start - 5):
            start, named = start - 5, _NAME_BEFORE_IF
        elif worded:
            start -= 3
        name = named.search(text, max(0, start - _BACK), start)
        if name is None or not _opens_argument(_LINKS.split(name.group("n"))[-1]):
            continue
        if _COMPARED.match(text, match.end("v")) is not None:
            continue
        if not (worded and _is_prose(name)) and _is_value(match.group("v"), []):
            yield Hit(*match.span("v"), "secret", "literal")


_BACK = 96
_LINKS = re.compile(r"\.|->|\?\.")


def _is_prose(name: re.Match[str]) -> bool:
    """Return True if there are words before ``or``, as in ``the token or "key"``."""
    lead, word = name.group("lead").strip(), name.group("n")
    return (
        bool(lead)
        and lead.lower() not in _BEFORE
        and not name.group("end")
        and word.islower()
        and word.isalpha()
    )


def _opens_argument(name: str) -> bool:
    info = classify(re.split(r"[./:]", name)[-1])
    return info.cls == "secret"
