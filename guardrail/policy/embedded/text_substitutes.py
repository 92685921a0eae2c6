"""Replacements for built-in functions that read and write texts: encodings, JSON. They
return OPA's results.

Like ``substitutes``, this module is loaded by the worker and does not import guardrail. A function
raises ``ValueError`` if OPA raises an error, or if OPA's result is not certain.
"""

from __future__ import annotations

from number_substitutes import (  # type: ignore[import-not-found]  # found in its own folder
    NUMBERS,
    whole_number,
)
from rego_values import (  # type: ignore[import-not-found]  # found in its own folder
    require_text,
    require_whole,
    sorted_members,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["SUBSTITUTES", "base64url_bytes", "decoded", "unmarshal"]

_DIGITS = frozenset("0123456789")
_STANDARD = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_URL = _STANDARD - frozenset("+/") | frozenset("-_")


def decoded(raw: bytes) -> str:
    """Return the text in UTF-8. Raises ``ValueError``."""
    # OPA keeps bytes that are not UTF-8, which the engine can't represent.
    return raw.decode("utf-8")


# Numbers in texts.


def _number(written: str) -> int | float:
    """Return a number written in decimal, in the form that OPA keeps."""
    digits = written.removeprefix("-")
    whole, point, fraction = digits.partition(".")
    plain = _DIGITS.issuperset(whole + fraction)
    if not whole or not plain or (point and not fraction) or (whole[0] == "0" and len(whole) > 1):
        raise ValueError("another form of number")
    if not point:
        value = int(digits) if len(digits) <= 19 else 2**64
        if value >= 2**63 or written == "-0":
            raise ValueError("another form of number")
        return -value if written[0] == "-" else value
    if len((whole + fraction).strip("0")) > 15:
        raise ValueError("a number with more digits than the engine supports")
    number = float(written)
    if repr(number) != written or number.is_integer():
        NUMBERS.note(number)
    if number == 0 and written[0] == "-":
        raise ValueError("another form of number")
    return int(number) if number.is_integer() else number


def _with_exponent(written: str) -> float:
    """Return a fraction that is written with an exponent, such as ``1.5e-3``. OPA treats a whole
    number in this form differently in some places.
    """
    number = float(written)
    figures = written.lower().partition("e")[0].replace(".", "").strip("-0")
    if number.is_integer() or len(figures) > 15 or not 1e-300 < abs(number) < 1e15:
        raise ValueError("a number with an exponent")
    NUMBERS.note(number)
    return number


def to_number(value: object) -> int | float:
    """Return null and false as 0, true as 1, and a text as the number that it contains."""
    if value is None or value is False:
        return 0
    if value is True:
        return 1
    if isinstance(value, int | float):
        return value
    return _number(require_text(value))


# Encodings.


def decode_base64(text: object) -> str:
    """Return the text in standard base64 with padding."""
    return decoded(_base64(require_text(text), _STANDARD))


def is_base64(text: object) -> bool:
    """Return True if *text* is standard base64 with padding."""
    if not isinstance(text, str):
        return False
    if "\n" in text or "\r" in text:
        # OPA skips line ends.
        raise ValueError("a text of several lines")
    try:
        _base64(text, _STANDARD)
    except ValueError:
        return False
    return True


def decode_base64url(text: object) -> str:
    """Return the text in base64 for URLs, with or without padding."""
    return decoded(base64url_bytes(require_text(text)))


def base64url_bytes(text: str) -> bytes:
    """Return the bytes in base64 for URLs, with or without padding. Raises ``ValueError``."""
    bare = text.rstrip("=")
    padded = bare + "=" * (-len(bare) % 4)
    if text not in {bare, padded}:
        raise ValueError("not base64")
    return _base64(padded, _URL)


def _base64(text: str, letters: frozenset[str]) -> bytes:
    import binascii

    bare = text.rstrip("=")
    padding = len(text) - len(bare)
    if not letters.issuperset(bare) or len(bare) % 4 == 1 or padding != -len(bare) % 4:
        raise ValueError("not base64")
    return binascii.a2b_base64(text.replace("-", "+").replace("_", "/"))


def decode_hex(text: object) -> str:
    """Return the text in hexadecimal digits."""
    if not frozenset("0123456789abcdefABCDEF").issuperset(require_text(text)):
        raise ValueError("not hexadecimal")
    return decoded(bytes.fromhex(require_text(text)))


def decode_query(text: object) -> str:
    """Return *text* without the escapes of a URL's query."""
    raw = require_text(text).encode("utf-8")
    found = bytearray()
    index = 0
    while index < len(raw):
        if raw[index] == 0x25:
            pair = raw[index + 1 : index + 3].decode("ascii", "replace")
            if len(pair) != 2 or not frozenset("0123456789abcdefABCDEF").issuperset(pair):
                raise ValueError("not an escape")
            found.append(int(pair, 16))
            index += 3
            continue
        found.append(0x20 if raw[index] == 0x2B else raw[index])
        index += 1
    return decoded(bytes(found))


def decode_query_object(text: object) -> dict[str, list[str]]:
    """Return the parameters of a URL's query with all values of each."""
    found: dict[str, list[str]] = {}
    for part in require_text(text).split("&"):
        if ";" in part:
            raise ValueError("a semicolon")
        if part:
            key, _, value = part.partition("=")
            found.setdefault(decode_query(key), []).append(decode_query(value))
    if sum(map(len, found.values())) > _MOST_PARAMETERS:
        raise ValueError("many parameters")
    return found


_MOST_PARAMETERS = 1_000
"""Maximum number of parameters in a query. Go has a limit too, which depends on its version."""


# JSON.


def unmarshal(text: object) -> Any:
    """Return the value in a JSON text."""
    import json

    def pairs(members: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(members)

    def constant(name: str) -> Any:
        raise ValueError(name)

    def fraction(written: str) -> int | float:
        if "e" in written or "E" in written:
            return _with_exponent(written)
        return _number(written)

    found = json.loads(
        require_text(text),
        object_pairs_hook=pairs,
        parse_int=_number,
        parse_float=fraction,
        parse_constant=constant,
    )
    # A lone surrogate can't be encoded. OPA replaces it.
    json.dumps(found, ensure_ascii=False).encode("utf-8")
    return found


def is_json(text: object) -> bool:
    """Return True if *text* is JSON."""
    import json

    def constant(name: str) -> Any:
        raise json.JSONDecodeError(name, "", 0)

    if not isinstance(text, str):
        return False
    try:
        json.loads(require_text(text), parse_int=str, parse_float=str, parse_constant=constant)
    except json.JSONDecodeError:
        return False
    return True


_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def marshal(value: object) -> str:
    """Return *value* as JSON, as Go writes it: keys sorted, no spaces, HTML characters escaped."""
    import json

    written = json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return _escaped(written)


def marshal_with_options(value: object, options: object) -> str:
    """Return *value* as JSON, on several lines if *options* say so."""
    import json

    if not isinstance(options, dict) or not {"prefix", "indent", "pretty"}.issuperset(options):
        raise ValueError("not options")
    prefix = require_text(options.get("prefix", ""))
    indent = require_text(options.get("indent", "\t"))
    pretty = options.get("pretty", bool({"prefix", "indent"} & set(options)))
    if not isinstance(pretty, bool):
        raise ValueError("not a boolean")
    if not pretty:
        return marshal(value)
    separators = (",", ": ")
    plain = _plain(value)
    lines = _escaped(
        json.dumps(plain, ensure_ascii=False, separators=separators, sort_keys=True, indent="\t")
    ).split("\n")
    if (len(prefix) + len(indent) * 64) * len(lines) > _LONGEST:
        raise ValueError("a long text")
    return "\n".join(
        prefix + indent * (len(line) - len(line.lstrip("\t"))) + line.lstrip("\t") for line in lines
    )


_LONGEST = 1 << 24
"""Maximum size of indented JSON, in characters."""


def _escaped(text: str) -> str:
    for character, escape in _HTML.items():
        text = text.replace(character, escape)
    if "\x7f" in text:
        raise ValueError("a control character")
    return text


def _plain(value: object) -> Any:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        if NUMBERS.is_spelled_unusually(value):
            raise ValueError("a number that was written in another form")
        return value
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set):
        return [_plain(item) for item in sorted_members(value)]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("a key that is not a text")
        return {key: _plain(item) for key, item in value.items()}
    raise ValueError("another type")


# Texts.


def count_text(text: object, part: object) -> int:
    """Return the number of occurrences of *part* that do not overlap."""
    return int(require_text(text).count(require_text(part)))


def replace_all(patterns: object, text: object) -> str:
    """Return *text* with each key of *patterns* replaced by its value. At each place, the first key
    in order wins, and replaced text is not searched again.
    """
    if not isinstance(patterns, dict):
        raise ValueError("not an object")
    olds = sorted(require_text(key) for key in patterns)
    if "" in olds:
        raise ValueError("nothing to replace")
    for new in patterns.values():
        require_text(new)
    left = require_text(text)
    found: list[str] = []
    index = 0
    while index < len(left):
        old = next((each for each in olds if left.startswith(each, index)), None)
        found.append(left[index] if old is None else patterns[old])
        index += 1 if old is None else len(old)
    return "".join(found)


def substring(text: object, offset: object, length: object) -> str:
    """Return *length* characters of *text* from *offset*; all, if *length* is negative."""
    start, size = whole_number(offset), whole_number(length)
    if start < 0:
        raise ValueError("a negative offset")
    whole: str = require_text(text)
    return whole[start:] if size < 0 else whole[start : start + size]


def index_of(text: object, part: object) -> int:
    """Return the first position of *part* in *text*, or -1."""
    if not require_text(part):
        raise ValueError("nothing to search for")
    return int(require_text(text).find(require_text(part)))


def slice_(values: object, start: object, end: object) -> list[Any]:
    """Return the items of a list from *start* up to *end*."""
    if not isinstance(values, list):
        raise ValueError("not an array")
    low = min(max(whole_number(start), 0), len(values))
    high = min(max(whole_number(end), low), len(values))
    found: list[Any] = require_whole(values[low:high])
    return found


def quote_glob(text: object) -> str:
    """Return a glob pattern that matches *text* only."""
    return "".join(
        ["\\" + character if character in _GLOB else character for character in require_text(text)]
    )


_GLOB = frozenset("?*[]{}\\")


SUBSTITUTES: dict[str, tuple[int, Callable[..., Any]]] = {
    "array.slice": (3, slice_),
    "base64.decode": (1, decode_base64),
    "base64.is_valid": (1, is_base64),
    "base64url.decode": (1, decode_base64url),
    "glob.quote_meta": (1, quote_glob),
    "hex.decode": (1, decode_hex),
    "indexof": (2, index_of),
    "json.is_valid": (1, is_json),
    "json.marshal": (1, marshal),
    "json.marshal_with_options": (2, marshal_with_options),
    "json.unmarshal": (1, unmarshal),
    "strings.count": (2, count_text),
    "strings.replace_n": (2, replace_all),
    "substring": (3, substring),
    "to_number": (1, to_number),
    "urlquery.decode": (1, decode_query),
    "urlquery.decode_object": (1, decode_query_object),
}
"""Number of arguments and replacement of each function, by name."""
