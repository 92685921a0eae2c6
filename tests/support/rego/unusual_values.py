"""Unusual values for generated policies and calls: what engines have been seen to read
differently.
"""

from __future__ import annotations

import json
import random
from typing import Any

WORDS = [
    "", "a", "b", "ab", "abc", "A", "aB", "aa", "é", "e\u0301", "ß", "İ", "ﬁ", "日本", "😀", "a😀b", "\u00a0", " a ", "\t", "a b", "0",
    "1", "01", "-1", "+1", "1.0", "1e3", "1.5", "0x10", "NaN", "Infinity", "null", "true", "a.b", "a/b", "/a", "a/", "a~1b", "a~0b", "/a/b", "/xs/0",
    "*", "**", "a*", "[a]", "{a,b}", "{a,}", "?", "%v", "%d", "%", "%%v", "\\", "\\d", "$1", "${1}", "\"", "'", "<&>", "\u2028", "\x7f", "a\nb", "K", "ſ",
    "user@example.com", "api.example.com", "www.a.example.com", "xn--a", "10.0.0.1", "010.0.0.1", "::1", "::ffff:10.0.0.1", "10.0.0.0/8", "fe80::1",
    "::ffff:a00:1", "10.0.0.1/32", "2026-01-02T03:04:05Z", "2026-01-02 03:04:05Z", "2026-01-02T03:04:05+25:00", "2026-02-30T00:00:00Z", "2026-01-02T3:04:05Z",
    "2026-01-02T03:04:05,5Z", "2026-01-02T23:59:60Z", "1h", "1.5s", "-2m3s", "1d", "5", "µs", "1.2.3", "v1.2.3", "1.2", "1.2.3-rc.1", "1.2.3+b", "1K", "1Ki",
    "YWI=", "YWI", "6162", "616", "αβγ", "ΑΒΓ", "Σ", "ς", "deny", "allow", "x" * 40, "\u0130A\u03a3", "a\u200bb", "١", "²", "Ａ", "a\r\nb", "\r", "Ᲊ", "ᲊ", "-", "+", "&", "~", "${}", "${n x}", "$01", "$é",
]  # fmt: skip
INTEGERS = [
    0, 1, 2, 3, 5, 7, 10, 16, 63, 64, 99, 100, 255, 1000, 4096, 999999, 1000000, 1000001, 2**31 - 1, 2**31, 2**32, 2**53 - 1, 2**53, 2**53 + 1, 2**62,
    2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1, -1, -2, -3, -10, -100, -(2**31), -(2**53), -(2**53) - 1, -(2**63) + 1, -(2**63),
]  # fmt: skip
FRACTIONS = [
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, 3.5, -2.5, 0.1, 0.2, 0.3, 0.30000000000000004, 1e-7, 1e-5, 0.0001, 5e-324, 100.0, 1e6, 1000000.5, 123456789.125,
    1e15, 1e16, 1e20, 1e21, 1e22, 1.7976931348623157e308, 9007199254740993.0, -0.25, -0.999, 1.1, 99.99, 2.675, 4.35, 1e-300, 3.0, 64.0,
]  # fmt: skip
ADDRESSES = [w for w in WORDS if ":" in w or w.count(".") == 3] + [
    "169.254.169.254", "::ffff:169.254.169.254", "::", "::ffff:0:0/96", "0.0.0.0/0", "::/0", "192.168.0.0/16", "192.168.1.77", "fd00::/8", "fd12::1",
    "1.2.3.4:80", "256.1.1.1", "10.1.2", "::10.0.0.1", "64:ff9b::a00:1", "0:0:0:0:0:ffff:10.0.0.1", "10.0.0.0/33", "fe80::1%eth0",
]  # fmt: skip


def word(r: random.Random) -> str:
    """Return a text, mostly a known one."""
    if r.random() < 0.85:
        return r.choice(WORDS)
    return "".join(r.choice("ab.*/é😀 0A-") for _ in range(r.randrange(6)))


def integer(r: random.Random) -> int:
    """Return a whole number, often a small one."""
    return r.randrange(-3, 8) if r.random() < 0.6 else r.choice(INTEGERS)


def scalar(r: random.Random) -> Any:
    """Return null, a truth value, a number or a text."""
    kind = r.random()
    if kind < 0.35:
        return word(r)
    if kind < 0.6:
        return integer(r)
    if kind < 0.75:
        return r.choice(FRACTIONS)
    return r.choice([True, False, None])


def value(r: random.Random, depth: int = 2) -> Any:
    """Return any JSON value."""
    kind = r.random()
    if depth <= 0 or kind < 0.5:
        return scalar(r)
    if kind < 0.75:
        return [value(r, depth - 1) for _ in range(r.choice([0, 1, 1, 2, 3]))]
    return {key(r): value(r, depth - 1) for _ in range(r.choice([0, 1, 1, 2, 3]))}


def key(r: random.Random) -> str:
    """Return a key of an object."""
    return r.choice(["a", "b", "n", "k", "0"]) if r.random() < 0.8 else word(r)


def record(r: random.Random, depth: int = 1) -> dict[str, Any]:
    """Return an object with some of the members that records have, and seldom another value than
    usual in one.
    """
    found: dict[str, Any] = {
        "a": r.choice(["a", "a", "b", "z"]), "n": r.randrange(4), "b": r.choice([["a"], [1, 2], "a", [], {"k": "a"}]),
        "k": [record(r, 0) for _ in range(r.randrange(3))] if depth else 1,
    }  # fmt: skip
    if r.random() < 0.1:
        found[r.choice("anb")] = scalar(r)
    return {name: one for name, one in found.items() if r.random() < 0.7}


def of_type(r: random.Random, name: str) -> Any:
    """Return a JSON value of one of the generator's types."""
    if name == "int":
        return integer(r)
    if name == "num":
        return r.choice(FRACTIONS) if r.random() < 0.6 else integer(r)
    if name == "str":
        return word(r)
    if name == "ip":
        return r.choice(ADDRESSES)
    if name == "bool":
        return r.random() < 0.5
    if name == "null":
        return None
    if name == "obj":
        return {key(r): value(r, 1) for _ in range(r.choice([0, 1, 2, 3]))}
    if name == "recs":
        return [record(r) for _ in range(r.choice([0, 1, 2, 3, 4]))]
    size = r.choice([0, 1, 2, 3, 4])
    if name == "ints":
        return [integer(r) for _ in range(size)]
    if name == "strs":
        return [word(r) for _ in range(size)]
    if name == "anys":
        return [value(r, 1) for _ in range(size)]
    return value(r)


ARGUMENTS = {
    "n": "int", "m": "int", "f": "num", "s": "str", "t": "str", "ok": "bool", "none": "null", "ip": "ip", "net": "ip", "ns": "ints", "ss": "strs", "xs": "anys",
    "o": "obj", "p": "obj", "v": "any", "w": "any", "a/b": "int", "é": "str", "rs": "recs",
    "account  id": "str", "montant\u00a0HT": "str", "a.b": "str", "a": "obj",
}  # fmt: skip
"""What calls of generated tools are given, and of which type it mostly is."""


def arguments(r: random.Random) -> dict[str, Any]:
    """Return the arguments of one call: some are missing, some of another type than usual."""
    found: dict[str, Any] = {}
    for name, kind in ARGUMENTS.items():
        chance = r.random()
        if chance < 0.06:
            continue
        found[name] = value(r) if chance < 0.12 else of_type(r, kind)
    if r.random() < 0.3:
        found["w"] = found.get("v")
    if r.random() < 0.1:
        # Not in data, which is refused with them.
        found[r.choice(["n", "f"])] = r.choice([2.0**53, 2.0**63, -(2.0**63), 2.0**64])
    return found


def written(r: random.Random, content: Any) -> str:
    """Return *content* as Rego that is written out."""
    if isinstance(content, str) and "`" not in content and r.random() < 0.2:
        return f"`{content}`"
    return json.dumps(content, ensure_ascii=r.random() < 0.3)
