"""Arguments for built-in functions: well-formed ones, and what is mistyped, huge or strange."""

from __future__ import annotations

import base64
import hmac
import json
import random
from collections.abc import Callable
from typing import Any

__all__ = ["FUNCTIONS", "PLAIN", "SETS", "Maker", "Written", "written"]

Maker = Callable[[random.Random], Any]

PLAIN = "input.a[{i}]"
SETS = "{{x{i} | some x{i} in input.a[{i}]}}"
INNER_SETS = "[w{i} | some v{i} in input.a[{i}]; w{i} := {{y | some y in v{i}}}]"


class Written(str):
    """A number as it is written in JSON."""

    __slots__ = ()


def written(value: Any) -> str:
    """Return *value* as JSON, with numbers as they are written."""
    if isinstance(value, Written):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(k)}: {written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return _quoted(value)


def _quoted(value: Any) -> str:
    return json.dumps(value)


_SCALARS = [
    None, True, False, 0, 1, 2, 3, -1, Written("1.0"), Written("1e2"), Written("-0"), 1.5, 10**18,
    2**63, "", "a", "b", "c", "0", "1", "-", "é", "😀", "a/b", "a~1b", "~", "x y",
]  # fmt: skip
_KEYS = ["a", "b", "c", "0", "1", "", "é", "a/b"]


def anything(r: random.Random, depth: int = 3) -> Any:
    """Return any value, mostly a small one."""
    kind = r.random()
    if depth == 0 or kind < 0.5:
        return r.choice(_SCALARS)
    if kind < 0.75:
        return [anything(r, depth - 1) for _ in range(r.randrange(4))]
    return {r.choice(_KEYS): anything(r, depth - 1) for _ in range(r.randrange(4))}


def _mostly(maker: Maker, odd: float = 0.04) -> Maker:
    return lambda r: anything(r, 1) if r.random() < odd else maker(r)


def _join(parts: list[str], least: int, most: int) -> Maker:
    return lambda r: "".join(r.choice(parts) for _ in range(r.randrange(least, most + 1)))


def _one(*values: Any) -> Maker:
    return lambda r: r.choice(values)


# Collections.


def _object(r: random.Random) -> Any:
    return {key: anything(r) for key in r.sample(_KEYS, r.randrange(5))}


def _segment(r: random.Random) -> Any:
    return r.choice(["a", "b", "c", "0", "1", "é", "", "a", 0, Written("1.0"), True, ["a"]])


def _path(r: random.Random) -> Any:
    if r.random() < 0.5:
        return r.choice(["", "/"]) + "/".join(r.choice(_KEYS) for _ in range(r.randrange(4)))
    return [_segment(r) for _ in range(r.randrange(4))]


def _paths(r: random.Random) -> Any:
    return [_mostly(_path)(r) for _ in range(r.randrange(4))]


def _flat(r: random.Random) -> Any:
    if r.random() < 0.5:
        return [r.choice(["a", "b", 1, {"a": 1}]) for _ in range(r.randrange(7))]
    return {key: anything(r, 2) for key in r.sample("ab01", 3)}


def _graph(r: random.Random) -> Any:
    names = "abcdef"[: r.randrange(1, 7)]
    return {
        name: [_mostly(_one(*names, "z"))(r) for _ in range(r.randrange(3))]
        if r.random() < 0.95
        else r.choice([None, 1, "x", {}])
        for name in names
    }


def _roots(r: random.Random) -> Any:
    return [_mostly(_one(*"abcz"))(r) for _ in range(r.randrange(3))]


# Networks.


def _address4(r: random.Random) -> str:
    parts = [0, 1, 2, 3, 10, 127, 128, 192, 254, 255]
    odd = [256, "01", "a", ""]
    return ".".join(
        str(r.choice(parts if r.random() < 0.99 else odd))
        for _ in range(4 if r.random() < 0.98 else 3)
    )


_ADDRESSES = [
    "::", "::1", "fe80::1", "2001:db8::", "2001:db8::1:0:0:1", "fe80::%eth0", "::ffff:1.2.3.4",
    "::ffff:0:0", "1:2:3:4:5:6:7:8", "ff00::101", "::192.0.2.0", "2001:db8::2", "0100::", "ABCD::",
]  # fmt: skip


def _network(r: random.Random) -> str:
    if r.random() < 0.05:
        return str(r.choice(["foo", "1.2.3.4/", "/8", "1.2.3.4/33", "::/129", "1.2.3.4/08"]))
    if r.random() < 0.6:
        return f"{_address4(r)}/{r.choice([0, 1, 8, 15, 16, 22, 24, 28, 30, 31, 32])}"
    if r.random() < 0.3:
        return _address4(r)
    return f"{r.choice(_ADDRESSES)}/{r.choice([0, 1, 32, 64, 80, 96, 97, 112, 124, 127, 128])}"


def _near(r: random.Random) -> str:
    if r.random() < 0.5:
        return f"10.0.{r.randrange(4)}.{r.randrange(0, 256, 16)}/{r.choice([24, 28, 30, 32])}"
    return f"2001:db8::{r.randrange(64):x}/{r.choice([122, 124, 126, 128])}"


def _networks(r: random.Random) -> list[Any]:
    maker = r.choice([_network, _near])
    return [maker(r) for _ in range(r.randrange(7))]


def _small_network(r: random.Random) -> str:
    if r.random() < 0.7:
        return f"{_address4(r)}/{r.choice([20, 28, 30, 31, 32, 33])}"
    return f"{r.choice(_ADDRESSES)}/{r.choice([120, 124, 127, 128])}"


def _named_networks(r: random.Random) -> Any:
    found = [_network(r) for _ in range(r.randrange(4))]
    if r.random() < 0.3:
        return _network(r)
    if r.random() < 0.5:
        return [[each, 1] if r.random() < 0.3 else each for each in found]
    return dict(zip("abc", found, strict=False))


# Texts.

_NUMBERS = [
    "0", "1", "10", "1.5", ".5", "5.", "0.1", "0.0001", "1.23456789", "007", "", "1..2", ".",
    "9223372036854775807", "18446744073709551616", "1e3", "1E-3", "2.5e2", "1e", "1e400", "1_0",
    "1e1000000", "1.0000000000001", "0.3", "33.333", "0.00000000005", "4.35", "2.675", "1024",
]  # fmt: skip
_UNITS = [
    "", "m", "k", "K", "M", "Mi", "mi", "Ki", "g", "Gi", "t", "Ti", "p", "Pi", "e", "E", "Ei", "kb",
    "KiB", "mb", "GIB", "b", "x", "KK", " k", '"', "kİ", "é", "\u212a",
]  # fmt: skip


def _amount(r: random.Random) -> str:
    return r.choice(["", "", "", "+", "-"]) + r.choice(_NUMBERS) + r.choice(_UNITS)


def _version(r: random.Random) -> str:
    odd = r.random() < 0.2
    numbers = ["01", "", "-1", "9223372036854775807", "9223372036854775808", "a", "é"]
    parts = ["01", "x-y", "-", "", "é", "0"]

    def parts_of(count: int) -> str:
        own = ["alpha", "beta", "1", "2", "rc", *(parts if odd else [])]
        return ".".join(r.choice(own) for _ in range(count))

    core = [r.choice(["0", "1", "2", "10", *(numbers if odd else [])]) for _ in range(3 - (odd and r.random() < 0.1))]  # fmt: skip
    found = r.choice(["", "v", "V" if odd else ""]) + ".".join(core)
    if r.random() < 0.5:
        found += "-" + parts_of(r.randrange(1, 4))
    return found + ("+" + parts_of(r.randrange(1, 3)) if r.random() < 0.3 else "")


def _uuid(r: random.Random) -> str:
    digits = f"{r.getrandbits(128):032x}"
    digits = digits[:12] + r.choice("12345678f0") + digits[13:16] + r.choice("0123456789abcdef") + digits[17:]  # fmt: skip
    if r.random() < 0.5:
        digits = digits[:18] + r.choice(["00", "01", "02", "03"]) + digits[20:]
    dashed = "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])
    odd = [digits, "{" + dashed + "}", "[" + dashed + "]", "urn:uuid:" + dashed, "URN:UUID:" + dashed, "urn:uuie:" + dashed, dashed.upper(), dashed + "x", dashed[:-1], dashed[:-1] + "g", "xé" + dashed[2:]]  # fmt: skip
    return str(r.choice([dashed, dashed, dashed, *odd]))


def _query(r: random.Random) -> str:
    keys, values = ["a", "b", "a%20b", "é", "%C3%A9", "%FF", "%", "a+b", ""], ["1", "", "é", "%41", "a=b", "+", "a;b"]  # fmt: skip
    return "&".join(
        r.choice(keys) + r.choice(["=", "=", ""]) + r.choice(values) for _ in range(r.randrange(4))
    )


def _options(r: random.Random) -> dict[str, Any]:
    every = {"pretty": [True, False, 1], "indent": ["  ", "", ">", 5], "prefix": ["# ", "\n", None], "x": [1]}  # fmt: skip
    chosen = r.sample([*every, *list(every)[:3]], r.randrange(4))
    return {key: r.choice(every[key][: 1 if r.random() < 0.7 else None]) for key in chosen}


_text = _join(
    ["a", "b", "*", "?", "[", "]", "{", "}", ",", "\\", "-", "!", "é", "😀", "\0", "<"], 0, 7
)
_integer = _one(0, 1, -1, 7, 2**62, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, Written("1.0"), 1.5, "1")
_template = _join(
    ["a", "urn:", "{.*}", "{[a-z]+}", "{", "}", ".", "*", "é", "{(a|b)}", "{a)(b}", "{[0-9]{2}}", "{}", "{\\d+}", "(", "|", "{^a$}", "{\\w}"],
    1, 5,
)  # fmt: skip
_subject = _join(["a", "b", "urn:", "foo", ".", "*", "é", "1", "12", "{", "}", "😀", "x"], 0, 4)
_pattern = _join(
    ["a", ".", "[a-z]", "(", "(?:b)", "\\d", "[", "]", "*", "+", "?", "{2}", "|", "^", "$", "é", "\\", "\\pL", "(?P<n>a)", "{,2}", "x*", "[^", "(?=a)", "\\1"],
    1, 4,
)  # fmt: skip


# Times.


def _nanoseconds(r: random.Random) -> Any:
    odd = [2**63 - 1, -(2**63), 2**63, Written("1e18"), Written("1.5e18"), 1.5]
    if r.random() < 0.2:
        return r.choice(odd)
    at = [
        0,
        -1,
        10**18,
        1706659200000000000,
        951782399999999999,
        r.randrange(-(10**18), 4 * 10**18),
    ]
    return r.choice(at)


def _time(r: random.Random) -> Any:
    zones = ["", "UTC"] if r.random() < 0.9 else ["America/New_York", "Local", "Nowhere/X", 5]
    return _nanoseconds(r) if r.random() < 0.5 else [_nanoseconds(r), r.choice(zones)]


_PIECES = {
    "2006": ["2026", "1999", "2024", "1600"], "01": ["02", "12", "13", "1"], "02": ["02", "29", "30", "2"],
    "15": ["07", "23", "24", "9"], "04": ["04", "59", "60"], "05": ["05", "59", "07.5", "07,5", "60"],
    "Jan": ["Feb", "feb"], "January": ["February", "DECEMBER"], "Mon": ["Tue", "tue", "Xyz"],
    "MST": ["UTC", "CET"], "PM": ["PM", "AM", "pm"], "06": ["26", "70"], "-0700": ["+0100", "-0530", "+2500"],
    "-07:00": ["+01:00", "-05:30"], "Z07:00": ["Z", "+01:00", "-08:00", "z"], "3": ["3", "12", "0", "13"],
    "1": ["1", "12"], "2": ["2", "30"], ".000": [".123", ".12"], ".999": ["", ".5", ".1234567891"],
}  # fmt: skip
_LAYOUTS = [
    ["2006", "-", "01", "-", "02"], ["2006", "-", "01", "-", "02", " ", "15", ":", "04", ":", "05"],
    ["2006", "-", "01", "-", "02", "T", "15", ":", "04", ":", "05", "Z07:00"], ["2", " ", "Jan", " ", "2006"],
    ["January", " ", "2", ", ", "2006", " ", "3", ":", "04", " ", "PM"], ["02", "/", "01", "/", "06"],
    ["Mon", ", ", "02", " ", "Jan", " ", "2006", " ", "15", ":", "04", ":", "05", " ", "MST"],
    ["2006", "01", "02", "15", "04", "05", ".000", "-0700"], ["2006", "/", "1", "/", "2", " ", "05", ".999"],
]  # fmt: skip
_NAMES = ["ANSIC", "UnixDate", "RFC822", "RFC1123Z", "RFC3339", "RFC3339Nano", "2006", "Kitchen"]
_layout = _join([*_PIECES, "002", "__2", "_2", "_2006", "Janx", "999", ",000", "T", " ", "é", "0", "-07"], 1, 6)  # fmt: skip


def _layout_and_text(r: random.Random) -> list[Any]:
    """Return a layout, and a text that mostly has its form."""
    if r.random() < 0.2:
        return [r.choice(_NAMES), r.choice(["2026-01-02T03:04:05Z", "2026-01-02T03:04:05.5+01:00", "x"])]  # fmt: skip
    layout = r.choice(_LAYOUTS)
    text = [
        _PIECES.get(piece, [piece])[0 if r.random() < 0.8 else r.randrange(len(_PIECES.get(piece, [piece])))]
        for piece in layout
    ]  # fmt: skip
    return ["".join(layout), "".join(text)[: None if r.random() < 0.95 else -1]]


def _formatted(r: random.Random) -> Any:
    return [_nanoseconds(r), r.choice(["", "UTC"]), r.choice([r.choice(_NAMES), _layout(r)])]


_added = _one(0, 1, -1, 2, 12, -13, 31, 365, 10**6, 2**31, Written("1.0"), 1.5)
_duration = _join(
    ["1h", "1.5s", ".5m", "5.ms", "300us", "2µs", "0.333333333333s", "1", "h", "-", "+", "0", "2540400h", "1d", "1.0000000000000000001h"],
    0, 3,
)  # fmt: skip


def _rfc3339(r: random.Random) -> str:
    parts = [["2026", "1970", "1822", "0000"], ["-"], ["01", "12", "13"], ["-"], ["02", "29", "31"], ["T", "t", " "], ["03", "24"], [":04:"], ["05", "60", "5"], ["", ".5", ",5", ".1234567890"], ["Z", "+01:00", "z", "+25:00"]]  # fmt: skip
    return "".join(choices[0] if r.random() < 0.8 else r.choice(choices) for choices in parts)


# Tokens.


def _base64url(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


_HEADERS = [
    '{"alg": "HS256", "typ": "JWT"}', '{"alg": "HS256"}', '{"alg": "HS512"}', '{"alg": "none"}', "{}",
    '{"alg": "HS256", "crit": ["x"], "x": 1}', '{"alg": "HS256", "crit": ["y"], "x": 1}', "[]", "x",
    '{"alg": "HS256", "crit": []}', '{"alg": "RS256"}', '{"alg": 1}', '{"alg": "HS256", "enc": 1}',
    '{"alg": "HS256", "crit": [1]}', '{"alg": "HS256", "kid": 1}', '{"alg": "hs256"}',
]  # fmt: skip
_CLAIMS = [
    '{"iss": "a"}', '{"iss": "b", "aud": "x"}', '{"aud": ["x", "y"], "exp": 3000}', '{"nbf": 2000}', "{}",
    '{"exp": 2999.5, "nbf": 2e3}', '{"exp": "3000"}', '{"nbf": null}', '{"aud": 1}', '{"iss": 1}',
    '{"exp": 1.5893857701234e+09}', '{"a": "\\u00e9\\ud83d\\ude00"}', "[]", "x", '{"a": 1, "a": 2}',
]  # fmt: skip


def _token(r: random.Random, depth: int = 0) -> str:
    header = r.choice(_HEADERS[:2] if r.random() < 0.75 else _HEADERS)
    claims = r.choice(_CLAIMS[:4] if r.random() < 0.6 else _CLAIMS)
    if r.random() < 0.15 and depth < 3:
        header = r.choice(['{"alg": "HS256", "cty": "JWT"}', '{"alg": "HS256", "cty": "jwt"}'])
        claims = _token(r, depth + 1)
        claims = f'"{claims}"' if r.random() < 0.3 else claims
    body = f"{_base64url(header)}.{_base64url(claims)}"
    name = "sha512" if "HS512" in header else "sha256"
    secret = b"secret" if r.random() < 0.9 else b"other"
    digest = hmac.new(secret, body.encode(), name).digest()
    found = f"{body}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
    odd = [
        "",
        ".",
        "a.b",
        found + ".",
        found + "=",
        found[:-1],
        found[1:],
        found.replace(".", ",", 1),
    ]
    return found if r.random() < 0.93 else r.choice(odd)


def _constraints(r: random.Random) -> dict[str, Any]:
    every: dict[str, list[Any]] = {
        "alg": ["HS256", "HS512", ""], "iss": ["a", "b", 1], "aud": ["x", "z", ""], "x": [1],
        "time": [2500 * 10**9, 1000 * 10**9, 3000 * 10**9, 1589385770123400000, -1, "1", 2.5e12],
    }  # fmt: skip
    chosen = [key for key in every if r.random() < 0.25 and (key != "x" or r.random() < 0.1)]
    found = {key: r.choice(every[key][: 2 if r.random() < 0.8 else None]) for key in chosen}
    if r.random() < 0.7:
        found["time"] = every["time"][0]
    return {**found, **({"secret": "secret"} if r.random() < 0.95 else {})}


def _each(*makers: Maker) -> Maker:
    return lambda r: [_mostly(maker)(r) for maker in makers]


FUNCTIONS: dict[str, tuple[Maker, list[tuple[str, ...]]]] = {
    "array.flatten": (_each(anything), [(PLAIN,)]),
    "array.slice": (_each(anything, _added, _added), [(PLAIN,) * 3]),
    "bits.negate": (_each(_integer), [(PLAIN,)]),
    **{
        f"crypto.hmac.{name}": (_each(_text, _text), [(PLAIN, PLAIN)])
        for name in ("equal", "md5", "sha1", "sha256", "sha512")
    },
    "glob.quote_meta": (_each(_text), [(PLAIN,)]),
    "graph.reachable_paths": (_each(_graph, _roots), [(PLAIN, PLAIN), (PLAIN, SETS)]),
    "io.jwt.decode": (_each(_token), [(PLAIN,)]),
    "io.jwt.decode_verify": (_each(_token, _constraints), [(PLAIN, PLAIN)]),
    **{
        f"io.jwt.verify_{name}": (
            _each(_token, _one("secret", "secret", "", "other")),
            [(PLAIN, PLAIN)],
        )
        for name in ("hs256", "hs384", "hs512")
    },
    "json.filter": (_each(_object, _paths), [(PLAIN, PLAIN), (PLAIN, SETS)]),
    "json.marshal": (_each(anything), [(PLAIN,), (SETS,)]),
    "json.marshal_with_options": (_each(anything, _options), [(PLAIN, PLAIN)]),
    "json.remove": (_each(_object, _paths), [(PLAIN, PLAIN), (PLAIN, SETS)]),
    "net.cidr_contains": (_each(_network, _network), [(PLAIN, PLAIN)]),
    "net.cidr_contains_matches": (_each(_named_networks, _named_networks), [(PLAIN, PLAIN)]),
    "net.cidr_expand": (_each(_small_network), [(PLAIN,)]),
    "net.cidr_intersects": (_each(_network, _network), [(PLAIN, PLAIN)]),
    "net.cidr_merge": (_each(_networks), [(PLAIN,), (SETS,)]),
    "object.subset": (
        _each(_flat, _flat),
        [(PLAIN, PLAIN), (SETS, SETS), (PLAIN, SETS), (INNER_SETS, INNER_SETS)],
    ),
    "regex.is_valid": (_each(_pattern), [(PLAIN,)]),
    "regex.template_match": (
        _each(_template, _subject, _one("{", "{", "{", "é", "("), _one("}", "}", "}", "ab")),
        [(PLAIN,) * 4],
    ),
    "semver.compare": (_each(_version, _version), [(PLAIN, PLAIN)]),
    "semver.is_valid": (_each(_version), [(PLAIN,)]),
    "time.add_date": (_each(_time, _added, _added, _added), [(PLAIN,) * 4]),
    "time.clock": (_each(_time), [(PLAIN,)]),
    "time.date": (_each(_time), [(PLAIN,)]),
    "time.diff": (_each(_time, _time), [(PLAIN, PLAIN)]),
    "time.format": (_each(_formatted), [(PLAIN,)]),
    "time.parse_duration_ns": (_each(_duration), [(PLAIN,)]),
    "time.parse_ns": (_layout_and_text, [(PLAIN, PLAIN)]),
    "time.parse_rfc3339_ns": (_each(_rfc3339), [(PLAIN,)]),
    "time.weekday": (_each(_time), [(PLAIN,)]),
    "units.parse": (_each(_amount), [(PLAIN,)]),
    "units.parse_bytes": (_each(_amount), [(PLAIN,)]),
    "urlquery.decode_object": (_each(_query), [(PLAIN,)]),
    "uuid.parse": (_each(_uuid), [(PLAIN,)]),
}
"""By function: how its arguments are made, and in which forms they are passed."""
