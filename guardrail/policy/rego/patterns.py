"""Checks that regular expressions and glob patterns have the same meaning in both engines."""

from __future__ import annotations

import re

__all__ = ["glob_problem", "regex_problem", "template_problem"]

_PUNCTUATION = frozenset("\\.+*?()|[]{}^$-/#&~!@%_=:;,'\"` ")
_SIMPLE_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "f": "\f", "v": "\v"}
_ASSERTIONS = frozenset("Azb")
_INSTEAD = {
    "w": "[A-Za-z0-9_] for \\w",
    "W": "[^A-Za-z0-9_] for \\W",
    "d": "[0-9] for \\d",
    "D": "[^0-9] for \\D",
    "s": "[\\t\\n\\f\\r ] for \\s",
    "S": "[^\\t\\n\\f\\r ] for \\S",
    "B": "[A-Za-z0-9_] for \\B on the side on which the word continues",
}
"""Explicit alternatives to character classes and word boundaries, for hints."""
_FLAGS = frozenset("imsU-")
_MAX_REPEAT = 1000
_MAX_DEPTH = 50
_REPEAT = re.compile(r"\{([0-9]+)(,([0-9]*))?\}")
_OPERATORS = re.compile(r"&&|--|~~")
_FOLDING = re.compile(r"\(\?[msU]*i")
"""Matches a group that enables the flag ``i``. Flags after a dash are disabled."""
_REFERENCE = re.compile(r"\$(?:\$|\{([A-Za-z0-9_]+)\}|([A-Za-z0-9_]+))")
_CLASS_NAME = re.compile(r"\[:\^?([a-z]+):\]")
_CLASSES = frozenset(
    [
        "alnum",
        "alpha",
        "ascii",
        "blank",
        "cntrl",
        "digit",
        "graph",
        "lower",
        "print",
        "punct",
        "space",
        "upper",
        "word",
        "xdigit",
    ]
)
_GLOB_CLASS = re.compile(r"\[!?(?:[A-Za-z0-9]-[A-Za-z0-9]|[A-Za-z0-9]+)\]")
"""OPA refuses a range with other members, and reads the dash in ``[ab-d]`` as itself."""
_GLOB_RANGE = re.compile(r"(.)-(.)")
_BRACES = re.compile(r"(?:[^{}]|\{[^{},]+(?:,[^{},]+)*\})*", re.DOTALL)
_NAME = re.compile(r"P?<([A-Za-z_][A-Za-z0-9_]*)>")


class _Problem(Exception):
    """The reason why a pattern might match differently."""


def regex_problem(pattern: str) -> str | None:
    """Return the reason why *pattern* might be invalid in OPA or match differently there, or None
    if both engines agree.
    """
    if "\b" in pattern:
        return (
            "the pattern contains a backspace character, which is the meaning of \\b in double "
            "quotes: write the pattern between backquotes, or \\\\b"
        )
    try:
        _Regex(pattern).read()
    except _Problem as problem:
        return str(problem)
    if not pattern.isascii() and _FOLDING.search(pattern):
        return (
            "the pattern combines (?i) with non-ASCII letters, and OPA's Unicode version does "
            "not know the other case of every letter: write both cases, as in [éÉ]"
        )
    return None


def template_problem(text: str) -> str | None:
    """Return the reason why the replacement *text* for a regular expression might give a different
    result in OPA, or None if both engines agree.
    """
    rest = text
    while "$" in rest:
        rest = rest[rest.index("$") :]
        found = _REFERENCE.match(rest)
        if found is None:
            # A literal dollar sign. OPA accepts letters from any script in a name.
            following = rest[1:2]
            if following == "{" or not following.isascii():
                return (
                    "the replacement contains a $ that is not followed by the number or name of "
                    "a group: write $$ for a dollar sign"
                )
            rest = rest[1:]
            continue
        name = found[1] or found[2] or ""
        following = rest[found.end() : found.end() + 1] if found[2] else ""
        zero = name.isdigit() and len(name) > 1 and name[0] == "0"
        if zero or not following.isascii():
            return f"the engines interpret {found[0]} differently: write ${{{name.lstrip('0')}}}"
        rest = rest[found.end() :]
    return None


class _Regex:
    """Parses a regular expression, and accepts only syntax that has the same meaning in both
    engines.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.index = 0
        self.depth = 0
        self.repeats = 1
        """Maximum number of repetitions of the innermost counted group."""
        self.names: set[str] = set()
        self.atom = False
        """True if the previous item can be repeated."""

    @property
    def rest(self) -> str:
        return self.pattern[self.index :]

    def read(self) -> None:
        """Parse the whole expression. Raises ``_Problem``."""
        while self.index < len(self.pattern):
            character = self.pattern[self.index]
            if character == "\\":
                self._escape()
            elif character == "[":
                self._class()
            elif character == "(":
                self._open()
            elif character in "*+?{":
                self._repetition()
            else:
                self.index += 1
                self.depth -= character == ")"
                if self.depth < 0:
                    raise _Problem("the pattern has an unmatched closing parenthesis")
                self.atom = character not in "|^$"
        if self.depth:
            raise _Problem("the pattern has an unmatched opening parenthesis")

    def _escape(self) -> None:
        character = self.rest[1:2]
        if character and character in _INSTEAD:
            raise _Problem(
                f"\\{character} matches more characters (all of Unicode) in the "
                f"embedded engine than in OPA: write {_INSTEAD[character]}"
            )
        if not character or character not in _PUNCTUATION | set(_SIMPLE_ESCAPES) | _ASSERTIONS:
            raise _Problem(f"the engines may interpret the escape \\{character} differently")
        self.atom = character not in _ASSERTIONS
        self.index += 2

    def _open(self) -> None:
        self.index += 1
        self.depth += 1
        self.atom = False
        if self.depth > _MAX_DEPTH:
            raise _Problem(f"the pattern nests groups more than {_MAX_DEPTH} deep")
        if not self.rest.startswith("?"):
            return
        self.index += 1
        if self.rest.startswith(("<=", "<!")):
            raise _Problem("the pattern uses look-behind, which neither engine supports")
        name = _NAME.match(self.rest)
        if name is not None:
            if name[1] in self.names:
                raise _Problem(f"the pattern has two groups named {name[1]}")
            self.names.add(name[1])
            self.index += name.end()
            return
        flags = re.match(r"[A-Za-z-]*", self.rest)
        assert flags is not None
        end = self.rest[flags.end() : flags.end() + 1]
        unset = flags[0].partition("-")[2]
        wrong = set(flags[0]) - _FLAGS or ("-" in flags[0] and not unset) or "-" in unset
        if wrong or end not in {")", ":"} or (end == ")" and not flags[0]):
            raise _Problem("the pattern has a group that the engines may interpret differently")
        self.index += flags.end() + 1
        self.depth -= end == ")"

    def _repetition(self) -> None:
        if not self.atom:
            raise _Problem(
                "the pattern repeats nothing, or repeats a repetition, which OPA rejects"
            )
        if self.rest[0] == "{":
            repeat = _REPEAT.match(self.rest)
            if repeat is None:
                raise _Problem(
                    "the pattern has a brace that does not begin a repetition: escape it"
                )
            least, most = int(repeat[1]), int(repeat[3] or repeat[1])
            # OPA multiplies the counts of nested repetitions.
            self.repeats *= max(least, most, 1)
            if self.repeats > _MAX_REPEAT or least > _MAX_REPEAT:
                raise _Problem(
                    f"the pattern's nested repetitions multiply to more than {_MAX_REPEAT}, which "
                    "OPA rejects"
                )
            if least > most:
                raise _Problem("the pattern has a repetition whose limits are reversed")
            self.index += repeat.end()
        else:
            self.index += 1
        if self.rest.startswith("?"):
            self.index += 1
        self.atom = False

    def _class(self) -> None:
        opening = re.match(r"\[\^?\]?", self.rest)
        assert opening is not None
        self.index += opening.end()
        start, ranged = self.index, False
        while self.rest and self.rest[0] != "]":
            ranged = self._member(ranged)
        if not self.rest:
            raise _Problem("the pattern has an unterminated character class")
        # This applies at any position in the class: the engine interprets the second half of [+--]
        # as a set difference.
        operator = _OPERATORS.search(self.pattern, start, self.index)
        if operator is not None:
            raise _Problem(
                f"a character class contains {operator[0]}, which OPA interprets as literal "
                "characters"
            )
        self.index += 1
        self.atom = True

    def _member(self, ranged: bool) -> bool:
        """Parse one member of a character class. Return True if it is a range."""
        rest = self.rest
        name = _CLASS_NAME.match(rest)
        if name is not None:
            if name[1] not in _CLASSES:
                raise _Problem(f"OPA does not support the character class {name[0]}")
            self.index += name.end()
            return True
        if rest[0] == "[":
            raise _Problem("a character class contains a bracket: escape it")
        if ranged and rest[0] == "-" and rest[1:2] != "]":
            raise _Problem("a dash follows a range or a class: escape it")
        first = self._single()
        if not (self.rest.startswith("-") and self.rest[1:2] not in {"]", ""}):
            return False
        self.index += 1
        if self.rest[0] == "[":
            raise _Problem("a character class contains a bracket: escape it")
        if self._single() < first:
            raise _Problem("a character class has a range whose ends are reversed")
        return True

    def _single(self) -> str:
        """Parse one character of a character class, and return it."""
        rest = self.rest
        if rest[0] != "\\":
            self.index += 1
            return rest[0]
        self._escape()
        if not self.atom:
            raise _Problem(f"a character class contains {rest[:2]}")
        return _SIMPLE_ESCAPES.get(rest[1], rest[1])


def glob_problem(pattern: str) -> str | None:
    """Return the reason why *pattern* might match differently in OPA, or None if both engines
    agree.
    """
    rest = _GLOB_CLASS.sub("x", pattern)
    for found in _GLOB_CLASS.finditer(pattern):
        if any(first > last for first, last in _GLOB_RANGE.findall(found[0])):
            return "the pattern has a range whose end precedes its start"
    if "\\" in rest:
        return "the pattern contains a backslash"
    if "[" in rest or "]" in rest:
        return (
            "the pattern has a character class that contains more than letters and digits, or "
            "one range, and a leading !"
        )
    if not _BRACES.fullmatch(rest):
        return (
            "the pattern has braces that are nested or unbalanced, or that contain an "
            "empty alternative"
        )
    return None
