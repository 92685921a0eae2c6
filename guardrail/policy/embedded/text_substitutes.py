"""Replacements for built-in functions that read and write texts: encodings, JSON, units, digests.
They return OPA's results.

Like ``substitutes``, this module is loaded by the worker and does not import guardrail. A function
raises ``ValueError`` if OPA raises an error, or if OPA's result is not certain.
"""

from __future__ import annotations

from exact_arithmetic import number_of  # type: ignore[import-not-found]  # found in its own folder
from number_substitutes import NUMBERS  # type: ignore[import-not-found]  # found in its own folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["SUBSTITUTES"]

_DIGITS = frozenset("0123456789")
_STANDARD = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_URL = _STANDARD - frozenset("+/") | frozenset("-_")
_LIMIT = 1 << 20
"""Largest text that is encoded or decoded, in characters."""


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    if len(value) > _LIMIT:
        raise ValueError("a long text")
    return value


def _decoded(raw: bytes) -> str:
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


def to_number(value: object) -> int | float:
    """Return null and false as 0, true as 1, and a text as the number that it contains."""
    if value is None or value is False:
        return 0
    if value is True:
        return 1
    if isinstance(value, int | float):
        return value
    return _number(_text(value))


_UNITS = {"k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6}


def _amount(text: object) -> tuple[int, int, str]:
    """Return numerator, denominator and unit of a text such as ``1.5Gi``."""
    written = _text(text).replace('"', "")
    end = 0
    while end < len(written) and written[end] in "0123456789.":
        end += 1
    amount, unit = written[:end], written[end:]
    whole, point, fraction = amount.partition(".")
    plain = _DIGITS.issuperset(whole + fraction) and whole and (fraction or not point)
    if not plain or len(amount) > 20 or not unit.isascii() or not (unit.isalpha() or not unit):
        raise ValueError("not an amount")
    return int(whole + fraction), 10 ** len(fraction), unit


def parse_units(text: object) -> int | float:
    """Return the number in a text such as ``500m`` or ``2Ki``."""
    top, bottom, unit = _amount(text)
    if unit == "m":
        bottom *= 1000
    elif unit:
        letter, rest = unit[0], unit[1:].lower()
        power = _UNITS.get(letter.lower())
        # A small m means a thousandth.
        if power is None or rest not in {"", "i"} or (letter == "m" and not rest):
            raise ValueError("not a unit")
        top *= int((1024 if rest else 1000) ** power)
    if top % bottom == 0:
        if top // bottom >= 2**63:
            raise ValueError("a large number")
        return top // bottom
    # OPA writes ten decimal places, and rounds halves up.
    places = (2 * top * 10**10 + bottom) // (2 * bottom)
    found: int | float = number_of(places, 10**10)
    NUMBERS.note(found)
    if isinstance(found, float) and len(str(places).strip("0")) > 15:
        raise ValueError("a number with more digits than the engine supports")
    return found


def parse_bytes(text: object) -> int:
    """Return the number of bytes in a text such as ``512MiB``."""
    top, bottom, unit = _amount(text)
    unit = unit.lower().removesuffix("b") if unit.lower() != "b" else "?"
    power = _UNITS.get(unit[:1], 0)
    if unit and (not power or unit[1:] not in {"", "i"}):
        raise ValueError("not a unit")
    factor = int((1024 if unit[1:] else 1000) ** power)
    if len(str(top)) > 15 or top * factor // bottom >= 2**53:
        raise ValueError("a large number")
    return top * factor // bottom


# Encodings.


def decode_base64(text: object) -> str:
    """Return the text in standard base64 with padding."""
    return _decoded(_base64(_text(text), _STANDARD))


def is_base64(text: object) -> bool:
    """Return True if *text* is standard base64 with padding."""
    if "\n" in _text(text) or "\r" in _text(text):
        # OPA skips line ends.
        raise ValueError("a text of several lines")
    try:
        _base64(_text(text), _STANDARD)
    except ValueError:
        return False
    return True


def decode_base64url(text: object) -> str:
    """Return the text in base64 for URLs, with or without padding."""
    return _decoded(_base64url(_text(text)))


def _base64url(text: str) -> bytes:
    bare = text.rstrip("=")
    padded = bare + "=" * (-len(bare) % 4)
    if text not in {bare, padded}:
        raise ValueError("not base64")
    return _base64(padded, _URL)


def _base64(text: str, letters: frozenset[str]) -> bytes:
    import binascii

    bare = text.rstrip("=")
    if not letters.issuperset(bare) or len(text) % 4 or len(bare) % 4 == 1:
        raise ValueError("not base64")
    return binascii.a2b_base64(text.replace("-", "+").replace("_", "/"))


def decode_hex(text: object) -> str:
    """Return the text in hexadecimal digits."""
    if not frozenset("0123456789abcdefABCDEF").issuperset(_text(text)):
        raise ValueError("not hexadecimal")
    return _decoded(bytes.fromhex(_text(text)))


def decode_query(text: object) -> str:
    """Return *text* without the escapes of a URL's query."""
    raw = _text(text).encode("utf-8")
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
    return _decoded(bytes(found))


def _digest(name: str) -> Callable[[object], str]:
    def digest(text: object) -> str:
        import hashlib

        return hashlib.new(name, _text(text).encode("utf-8"), usedforsecurity=False).hexdigest()

    return digest


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
            raise ValueError("a number with an exponent")
        return _number(written)

    found = json.loads(
        _text(text),
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
        json.loads(_text(text), parse_int=str, parse_float=str, parse_constant=constant)
    except json.JSONDecodeError:
        return False
    return True


_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def marshal(value: object) -> str:
    """Return *value* as JSON, as Go writes it: keys sorted, no spaces, HTML characters escaped."""
    import json

    text = json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True)
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
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise ValueError("a key that is not a text")
        return {key: _plain(item) for key, item in value.items()}
    raise ValueError("another type")


def decode_jwt(token: object) -> list[Any]:
    """Return header, payload and signature (in hexadecimal) of a token, which is not verified."""
    parts = _text(token).split(".")
    if len(parts) != 3:
        raise ValueError("not a token")
    header, payload, signature = (_base64url(part) for part in parts)
    found = [unmarshal(_decoded(header)), unmarshal(_decoded(payload)), signature.hex()]
    if not isinstance(found[0], dict) or not isinstance(found[1], dict) or "enc" in found[0]:
        raise ValueError("not a signed token")
    if str(found[0].get("cty", "")).upper() == "JWT":
        raise ValueError("a nested token")
    return found


# Texts.


def count_text(text: object, part: object) -> int:
    """Return the number of occurrences of *part* that do not overlap."""
    return _text(text).count(_text(part))


def replace_all(patterns: object, text: object) -> str:
    """Return *text* with each key of *patterns* replaced by its value. At each place, the first key
    in order wins, and replaced text is not searched again.
    """
    if not isinstance(patterns, dict):
        raise ValueError("not an object")
    olds = sorted(_text(key) for key in patterns)
    if "" in olds:
        raise ValueError("nothing to replace")
    left = _text(text)
    found: list[str] = []
    index = 0
    while index < len(left):
        old = next((each for each in olds if left.startswith(each, index)), None)
        found.append(left[index] if old is None else _text(patterns[old]))
        index += 1 if old is None else len(old)
    return "".join(found)


def substring(text: object, offset: object, length: object) -> str:
    """Return *length* characters of *text* from *offset*; all, if *length* is negative."""
    start, size = _whole(offset), _whole(length)
    if start < 0:
        raise ValueError("a negative offset")
    return _text(text)[start:] if size < 0 else _text(text)[start : start + size]


def index_of(text: object, part: object) -> int:
    """Return the first position of *part* in *text*, or -1."""
    if not _text(part):
        raise ValueError("nothing to search for")
    return _text(text).find(_text(part))


def slice_(values: object, start: object, end: object) -> list[Any]:
    """Return the items of a list from *start* up to *end*."""
    if not isinstance(values, list):
        raise ValueError("not an array")
    low = min(max(_whole(start), 0), len(values))
    high = min(max(_whole(end), low), len(values))
    return values[low:high]


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("not a whole number")
    if NUMBERS.is_spelled_unusually(value) or abs(value) >= 2**31:
        raise ValueError("a large number, or one that was written as a fraction")
    return value


SUBSTITUTES: dict[str, tuple[int, Callable[..., Any]]] = {
    "array.slice": (3, slice_),
    "base64.decode": (1, decode_base64),
    "base64.is_valid": (1, is_base64),
    "base64url.decode": (1, decode_base64url),
    "crypto.md5": (1, _digest("md5")),
    "crypto.sha1": (1, _digest("sha1")),
    "crypto.sha256": (1, _digest("sha256")),
    "hex.decode": (1, decode_hex),
    "indexof": (2, index_of),
    "io.jwt.decode": (1, decode_jwt),
    "json.is_valid": (1, is_json),
    "json.marshal": (1, marshal),
    "json.unmarshal": (1, unmarshal),
    "strings.count": (2, count_text),
    "strings.replace_n": (2, replace_all),
    "substring": (3, substring),
    "to_number": (1, to_number),
    "units.parse": (1, parse_units),
    "units.parse_bytes": (1, parse_bytes),
    "urlquery.decode": (1, decode_query),
}
"""Number of arguments and replacement of each function, by name."""
