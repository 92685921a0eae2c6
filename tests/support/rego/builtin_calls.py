"""How generated policies call built-in functions."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.rego.unusual_values import ADDRESSES, INTEGERS, WORDS, word, written

CALLS: dict[str, tuple[list[str], str]] = {
    "abs": (["num"], "num"),
    "array.concat": (["anys", "anys"], "anys"),
    "array.reverse": (["anys"], "anys"),
    "array.slice": (["anys", "int", "int"], "anys"),
    "base64.encode": (["str"], "str"),
    "base64url.encode": (["str"], "str"),
    "base64url.encode_no_pad": (["str"], "str"),
    "bits.and": (["int", "int"], "int"),
    "bits.or": (["int", "int"], "int"),
    "bits.xor": (["int", "int"], "int"),
    "ceil": (["num"], "int"),
    "concat": (["str", "strs"], "str"),
    "contains": (["str", "str"], "bool"),
    "count": (["any"], "int"),
    "endswith": (["str", "str"], "bool"),
    "floor": (["num"], "int"),
    "format_int": (["num", "int"], "str"),
    "hex.encode": (["str"], "str"),
    "is_array": (["any"], "bool"),
    "is_boolean": (["any"], "bool"),
    "is_null": (["any"], "bool"),
    "is_number": (["any"], "bool"),
    "is_object": (["any"], "bool"),
    "is_set": (["any"], "bool"),
    "is_string": (["any"], "bool"),
    "json.filter": (["obj", "strs"], "obj"),
    "json.remove": (["obj", "strs"], "obj"),
    "lower": (["str"], "str"),
    "max": (["ints"], "int"),
    "min": (["anys"], "any"),
    "net.cidr_contains": (["ip", "ip"], "bool"),
    "net.cidr_is_valid": (["ip"], "bool"),
    "object.filter": (["obj", "strs"], "obj"),
    "object.get": (["obj", "str", "any"], "any"),
    "object.keys": (["obj"], "sets"),
    "object.remove": (["obj", "strs"], "obj"),
    "object.union": (["obj", "obj"], "obj"),
    "replace": (["str", "str", "str"], "str"),
    "round": (["num"], "int"),
    "semver.compare": (["str", "str"], "int"),
    "sort": (["anys"], "anys"),
    "split": (["str", "str"], "strs"),
    "startswith": (["str", "str"], "bool"),
    "strings.any_prefix_match": (["strs", "strs"], "bool"),
    "strings.any_suffix_match": (["str", "strs"], "bool"),
    "strings.reverse": (["str"], "str"),
    "sum": (["ints"], "int"),
    "time.parse_rfc3339_ns": (["str"], "int"),
    "trim": (["str", "str"], "str"),
    "trim_left": (["str", "str"], "str"),
    "trim_prefix": (["str", "str"], "str"),
    "trim_right": (["str", "str"], "str"),
    "trim_space": (["str"], "str"),
    "trim_suffix": (["str", "str"], "str"),
    "type_name": (["any"], "str"),
    "upper": (["str"], "str"),
    "urlquery.encode": (["str"], "str"),
    "to_number": (["str"], "num"),
    "strings.count": (["str", "str"], "int"),
    "json.marshal": (["any"], "str"),
    "json.unmarshal": (["str"], "any"),
    "object.subset": (["obj", "obj"], "bool"),
    "units.parse": (["str"], "num"),
    "json.is_valid": (["str"], "bool"),
    "base64.decode": (["str"], "str"),
    "time.now_ns": ([], "int"),
}  # fmt: skip
"""By name: types of the arguments and of the result."""

DOUBTFUL = frozenset(
    [
        "to_number",
        "strings.count",
        "json.marshal",
        "json.unmarshal",
        "units.parse",
        "json.is_valid",
        "base64.decode",
        "time.now_ns",
        "sum",
        "json.filter",
        "json.remove",
        "array.slice",
    ]
)
"""What is refused, or mostly refused, and must be."""

_ATOMS = ["a", "b", "é", ".", "[a-z]", "[^a]", "[A-Za-z0-9_]", "[0-9]", "\\.", "\\d", "\\w", "(a|b)", "(?:ab)", "(?i)", "^", "$", "(a)", "[[:alpha:]]", "[[:foo:]]", "\\b",
          "a|b", "(|a)", "(?i:k)", "(?P<n>a)", "[]a]", "[a\\]b]", "\\z", "\\n", "@", "[αβ]", "[+--]", "[!--a]", "[a,--]", "[a-~~]", "[%-&&b]", "[+\\--a]", "(?i)Ᲊ", "(?i:é)", "(?i)[^a-z]", "\\x41", "\\pL", "(?s:.)", "[[:^digit:]]", "(?m)", "{", "}", "]", "/", "-", "[a-]", "[z-a]"]  # fmt: skip
_TAME = [
    "a",
    "b",
    "é",
    ".",
    "[a-z]",
    "[^a]",
    "[A-Za-z0-9_]",
    "[0-9]",
    "\\.",
    "(a|b)",
    "(?:ab)",
    "(a)",
    "[[:alpha:]]",
    "(?i:k)",
    "@",
    "[αβ]",
    "(?:a|b|)",
    "(|a)",
    "/",
    "-",
]
_REPEATS = [
    "",
    "",
    "",
    "*",
    "+",
    "?",
    "*?",
    "+?",
    "{2}",
    "{1,3}",
    "{2,}",
    "++",
    "**",
    "{2}{3}",
    "{,2}",
    "{2,1}",
    "??",
    "{0}",
    "+*",
    "{1001}",
]
_GLOBS = [
    "a",
    "*",
    "**",
    ".",
    "/",
    "example",
    "com",
    "é",
    "b",
    "api",
    "{a,b}",
    "{api,www}",
    "{é,b}",
    "{a,ab}",
    "{*,b}",
    "😀",
    ":",
    "{a,}",
    "{,a}",
    "{api,www}",
    "{é,b}",
    "?",
    "[a-z]",
    "[!a]",
    "{*,b}",
    "{a,ab}",
    "{}",
    "{a}",
    "\\*",
    "😀",
    ":",
]


@dataclass
class Writer:
    """How to write what is inside a call."""

    r: random.Random
    wild: bool
    expression: Callable[[str], str]
    """Returns an expression of the type that it is given."""


def pattern(w: Writer) -> str:
    """Return a regular expression, some of them wrong."""
    atoms, repeats = (_ATOMS, _REPEATS) if w.wild else (_TAME, _REPEATS[:10])
    return "".join(w.r.choice(atoms) + w.r.choice(repeats) for _ in range(w.r.randrange(1, 4)))


def literal_call(w: Writer, kind: str) -> str | None:
    """Return a call with arguments that must be written out, or None where there is none of type
    *kind*.
    """
    makers = [maker for maker, own in _LITERAL.items() if kind in {own, "any"}]
    return w.r.choice(makers)(w) if makers else None


def _raw(w: Writer, text: str) -> str:
    return f"`{text}`" if "`" not in text and w.r.random() < 0.8 else written(w.r, text)


def _match(w: Writer) -> str:
    return f"regex.match({_raw(w, pattern(w))}, {w.expression('str')})"


def _times(w: Writer) -> str:
    """Return how many matches to look for."""
    odd = ["1e30", "18446744073709551615", "9223372036854775808", "1.0", "-5", w.expression("int")]
    return w.r.choice(["-1", "1", "2", "0", *(odd if w.wild else [])])


def _find(w: Writer) -> str:
    return f"regex.find_n({_raw(w, pattern(w))}, {w.expression('str')}, {_times(w)})"


def _submatch(w: Writer) -> str:
    return (
        f"regex.find_all_string_submatch_n({_raw(w, pattern(w))}, {w.expression('str')},"
        f" {_times(w)})"
    )


def _replace(w: Writer) -> str:
    plain = ["", "x", "$1", "${1}b", "$1b", "$n", "$$", "$", "$0", "é", "$-1", "${n}", "$$1", "$1-"]
    odd = ["${}", "${n x}", "$01", "${01}", "$é", "$1é", "${1.}", "${1", "$00", "$$é"]
    by = _raw(w, w.r.choice(plain + (odd if w.wild else [])))
    if w.wild and w.r.random() < 0.2:
        by = w.expression("str")
    return f"regex.replace({w.expression('str')}, {_raw(w, pattern(w))}, {by})"


def _emptied(w: Writer) -> str:
    """Return a replacement of what is often nothing."""
    return (
        f"replace({w.expression('str')}, {w.r.choice([chr(34) * 2, w.expression('str')])},"
        f" {w.expression('str')})"
    )


def _near(w: Writer) -> str:
    """Return a function of a number whose fraction it takes."""
    name = w.r.choice(["ceil", "floor", "round"])
    return f"{name}({w.r.choice(['-0.5', '-0.25', '0.5', '-1.5', w.expression('num')])})"


def _glob(w: Writer) -> str:
    text = "".join(
        w.r.choice(_GLOBS if w.wild else _GLOBS[:17]) for _ in range(w.r.randrange(1, 5))
    )
    between = w.r.choice(['["."]', "[]", "null", '["/"]', '[".", "/"]', '["é"]', '[":"]'])
    subject = (
        w.expression("str")
        if w.r.random() < 0.5
        else written(
            w.r,
            "".join(
                w.r.choice(["a", "b", ".", "/", "é", "api", "example", "com", "*", "😀"])
                for _ in range(w.r.randrange(5))
            ),
        )
    )
    return f"glob.match({_raw(w, text)}, {between}, {subject})"


def _sprintf(w: Writer) -> str:
    parts = [
        w.r.choice(
            ["%v", "a", "%%", "é ", "%s", "%d", "%5d", "%x", "%t", "%.2f", "%q", "%c"][
                : 4 if not w.wild else None
            ]
        )
        for _ in range(w.r.randrange(1, 4))
    ]
    size = (
        sum(part.startswith("%") and part != "%%" for part in parts)
        + (w.r.random() < 0.05)
        - (w.r.random() < 0.05)
    )
    return (
        f"sprintf({written(w.r, ' '.join(parts))},"
        f" [{', '.join(w.expression(w.r.choice(['any', 'any', 'num', 'int', 'str'])) for _ in range(size))}])"
    )


def _substring(w: Writer) -> str:
    return (
        f"substring({w.expression('str')}, {w.r.choice([0, 1, 2, 5, -1][: 5 if w.wild else 4])},"
        f" {w.r.choice([-1, 0, 1, 2, 9])})"
    )


def _indexof(w: Writer) -> str:
    return f"indexof({w.expression('str')}, {written(w.r, word(w.r))})"


def _indexes(w: Writer) -> str:
    return f"indexof_n({w.expression('str')}, {written(w.r, word(w.r))})"


def _range(w: Writer) -> str:
    first = w.r.randrange(-3, 6)
    if w.r.random() < 0.5:
        return f"numbers.range({first}, {w.r.randrange(-3, 8)})"
    return f"numbers.range_step({first}, {w.r.randrange(-3, 8)}, {w.r.choice([1, 2, 3, 0, -1])})"


def _shift(w: Writer) -> str:
    if w.r.random() < 0.5:
        return f"bits.lsh({w.r.choice(INTEGERS)}, {w.r.choice([0, 1, 8, 63, 64])})"
    return f"bits.rsh({w.expression('int')}, {w.r.choice([0, 1, 8, 63, 64])})"


def _clock(w: Writer) -> str:
    at = w.r.choice(
        ["time.parse_rfc3339_ns(input.context.time)", "1767323045123456000", w.expression("int")]
    )
    return f"time.{w.r.choice(['clock', 'date'])}({w.r.choice([at, f'[{at}, {chr(34)}UTC{chr(34)}]'])})"


def _weekday(w: Writer) -> str:
    return f"time.weekday({w.r.choice(['time.parse_rfc3339_ns(input.context.time)', '1767323045123456000', w.expression('int')][: 3 if w.wild else 2])})"


def _duration(w: Writer) -> str:
    return f"time.parse_duration_ns({written(w.r, w.r.choice(['1h', '1.5s', '-2m3s', '1d', '', '5', '1us', '1µs', '.5s', '1e3s', '9999999h', '+1h']))})"


_TIMES = [text for text in WORDS if text.startswith("2026")]


def _time(w: Writer) -> str:
    return f"time.parse_rfc3339_ns({w.r.choice(['input.context.time', written(w.r, w.r.choice(_TIMES if w.wild else _TIMES[:1]))])})"


def _paths(w: Writer) -> str:
    path = (
        w.r.choice(['"a"', '"b"', '["n"]', '"k"', '"é"'])
        if not w.wild
        else w.r.choice(
            [
                '"a"',
                '"/a"',
                '"a/b"',
                '"a~1b"',
                '"/xs/0"',
                '["a"]',
                '["a", "b"]',
                '["xs", 0]',
                '""',
                '"a/"',
                "[]",
                '["xs", "0"]',
                '"o/a"',
                '"é"',
            ]
        )
    )
    return f"json.{w.r.choice(['filter', 'remove'])}({w.expression('obj')}, [{path}])"


def _get(w: Writer) -> str:
    return (
        f"object.get({w.expression('obj')},"
        f" {w.r.choice([written(w.r, 'a'), '[]', written(w.r, ['a', 'b']), written(w.r, ['xs', 0]), w.expression('any')])},"
        f" {w.expression('any')})"
    )


def _network(w: Writer) -> str:
    return (
        f"net.cidr_contains({written(w.r, w.r.choice([a for a in ADDRESSES if '/' in a]))},"
        f" {w.expression('ip')})"
    )


def _slice(w: Writer) -> str:
    ends = [
        f"round({w.expression('int')})",
        f"count({w.expression('anys')})",
        "0",
        "1",
        "2",
        "-1",
        "5",
    ]
    return f"array.slice({w.expression('anys')}, {w.r.choice(ends)}, {w.r.choice(ends)})"


def _sets(w: Writer) -> str:
    return (
        f"{w.r.choice(['intersection', 'union'])}({{{w.expression('sets')},"
        f" {w.expression('sets')}}})"
    )


def _unions(w: Writer) -> str:
    return f"object.union_n([{w.expression('obj')}, {w.expression('obj')}])"


def _flat(w: Writer) -> str:
    return f'urlquery.encode_object({{"a b": {w.expression("str")}, "é": [{w.expression("str")}]}})'


def _reachable(w: Writer) -> str:
    return (
        f'graph.reachable({{"a": ["b", "c"], "b": {w.expression("strs")}, "c": []}},'
        f" {w.expression('strs')})"
    )


def _total(w: Writer) -> str:
    return f"{w.r.choice(['sum', 'product'])}([round(x) | some x in {w.expression('ints')}])"


_LITERAL: dict[Callable[[Writer], str], str] = {
    _match: "bool", _find: "strs", _submatch: "anys", _replace: "str", _emptied: "str", _near: "int", _glob: "bool", _sprintf: "str", _substring: "str", _indexof: "int", _indexes: "ints",
    _range: "ints", _shift: "int", _clock: "ints", _weekday: "str", _duration: "int", _time: "int", _paths: "obj", _get: "any", _slice: "anys", _sets: "sets", _unions: "obj", _flat: "str", _reachable: "sets", _network: "bool", _total: "int",
}  # fmt: skip
