"""Replacements for built-in functions whose results in the engine differ from OPA's. They return
the same results as OPA.

The worker replaces the engine's own functions with these. Like the worker, this module does not
import guardrail, because it is loaded without site-packages. A function raises ``ValueError`` if
OPA returns no result either.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["SUBSTITUTES"]

_DIGITS = frozenset("0123456789")
_HEXADECIMAL = frozenset("0123456789abcdefABCDEF")
_MAPPED = 0xFFFF
"""The bits above the last 32 bits of an IPv4-mapped IPv6 address."""


def lower(text: str) -> str:
    """Return *text* in lower case as OPA does: character by character, regardless of the
    neighbouring characters.
    """
    text = _require_string(text)
    if text.isascii():
        return text.lower()
    return "".join([character.lower()[0] for character in _require_stable_case(text)])


def upper(text: str) -> str:
    """Return *text* in upper case as OPA does: a character whose upper case consists of several
    characters is left unchanged or converted to title case.
    """
    text = _require_string(text)
    if text.isascii():
        return text.upper()
    return "".join([_uppercase(character) for character in _require_stable_case(text)])


def characters(text: str) -> int:
    """Return the number of characters in *text*. The engine's ``count`` counts UTF-16
    code units.
    """
    return len(_require_string(text))


def replace(text: str, old: str, new: str) -> str:
    """Return *text* with *old* replaced by *new*.

    If *old* is empty, OPA inserts *new* even between the bytes of a character.
    """
    if not _require_string(old) and not _require_string(text).isascii():
        raise ValueError("nothing to replace, in a text that is not ASCII")
    return _require_string(text).replace(old, _require_string(new))


_LATER = (
    frozenset("\u019b\u0264\u1c89\u1c8a")
    | frozenset(map(chr, (*range(0xA7CB, 0xA7D0), *range(0xA7D2, 0xA7D6), *range(0xA7DA, 0xA7DD))))
    | frozenset(map(chr, (*range(0x10D50, 0x10D86), *range(0x16EA0, 0x16ED4))))
)
"""Letters that have had a case mapping only since Unicode 16 or 17. The Unicode versions of Python
and OPA are unknown here.
"""


def _require_stable_case(text: str) -> str:
    if not _LATER.isdisjoint(text):
        raise ValueError("a letter whose other case depends on the version of Unicode")
    return text


def _uppercase(character: str) -> str:
    big = character.upper()
    if len(big) > 1:
        big = character.title()
    return big if len(big) == 1 else character


def cidr_contains(network: str, inner: str) -> bool:
    """Return True if *inner*, an address or a network, is contained in *network*.

    An IPv4-mapped IPv6 address (``::ffff:10.0.0.1``) counts as the IPv4 address.
    """
    outer = _network_without_mapping(_require_string(network))
    address = _address(_require_string(inner))
    if address is not None:
        return _contains(outer, address)
    width, first, prefix = _parse_network(inner)
    last = first | ((1 << (width - prefix)) - 1)
    return _contains(outer, _without_mapping(width, first)) and _contains(
        outer, _without_mapping(width, last)
    )


def cidr_intersects(one: str, other: str) -> bool:
    """Return True if two networks have an address in common."""
    first = _parse_network(_require_string(one))
    second = _parse_network(_require_string(other))
    if first[0] != second[0] or 128 in {first[0], second[0]}:
        # Mapped addresses make networks of different versions comparable.
        raise ValueError("networks of IPv6")
    shift = 32 - min(first[2], second[2])
    return first[1] >> shift == second[1] >> shift


def cidr_is_valid(network: str) -> bool:
    """Return True if *network* consists of an address, a slash and a prefix length."""
    try:
        _parse_network(_require_string(network))
    except ValueError:
        return False
    return True


def _require_string(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value


def _without_mapping(width: int, value: int) -> tuple[int, int]:
    """Return the width and the value of an address. An IPv4-mapped address counts as IPv4."""
    if width == 128 and value >> 32 == _MAPPED:
        return 32, value & 0xFFFF_FFFF
    return width, value


def _contains(network: tuple[int, int, int], address: tuple[int, int]) -> bool:
    width, first, prefix = network
    return width == address[0] and first >> (width - prefix) == address[1] >> (width - prefix)


def _network_without_mapping(text: str) -> tuple[int, int, int]:
    """Return the width, first address and prefix length of a network. An IPv4-mapped network counts
    as IPv4.
    """
    width, first, prefix = _parse_network(text)
    plain, value = _without_mapping(width, first)
    return (plain, value, prefix - (width - plain))


def _parse_network(text: str) -> tuple[int, int, int]:
    """Return the width, first address and prefix length of a network as written."""
    address, slash, length = text.partition("/")
    found = _ipv6(address) if ":" in address else _ipv4(address)
    if not slash or found is None or not length or not _DIGITS.issuperset(length):
        raise ValueError("not a network")
    width = 128 if ":" in address else 32
    # A longer prefix length would be out of range anyway, so it is never converted.
    prefix = int(length[-9:]) if len(length) <= 9 else width + 1
    if prefix > width:
        raise ValueError("not a network")
    rest = width - prefix
    return width, found >> rest << rest, prefix


def _address(text: str) -> tuple[int, int] | None:
    if ":" in text:
        value = _ipv6(text)
        return None if value is None else _without_mapping(128, value)
    value = _ipv4(text)
    return None if value is None else (32, value)


def _ipv4(text: str) -> int | None:
    parts = text.split(".")
    if len(parts) != 4:
        return None
    value = 0
    for part in parts:
        if not 1 <= len(part) <= 3 or not _DIGITS.issuperset(part):
            return None
        if (part[0] == "0" and len(part) > 1) or int(part) > 255:
            return None
        value = value << 8 | int(part)
    return value


def _ipv6(text: str) -> int | None:
    before, double, after = text.partition("::")
    if "::" in after or after.startswith(":"):
        return None
    head, tail = _groups(before, last=not double), _groups(after, last=True)
    if head is None or tail is None:
        return None
    missing = 8 - len(head) - len(tail)
    if missing < 1 if double else missing:
        return None
    value = 0
    for group in [*head, *[0] * missing, *tail]:
        value = value << 16 | group
    return value


def _groups(text: str, *, last: bool) -> list[int] | None:
    """Return the 16-bit groups in *text*. If *last* is True, the last two groups may be written as
    an IPv4 address.
    """
    if not text:
        return []
    found: list[int] = []
    parts = text.split(":")
    for index, part in enumerate(parts):
        if last and index == len(parts) - 1 and "." in part:
            value = _ipv4(part)
            if value is None:
                return None
            found += [value >> 16, value & 0xFFFF]
        elif 1 <= len(part) <= 4 and _HEXADECIMAL.issuperset(part):
            found.append(int(part, 16))
        else:
            return None
    return found


_LATEST = 2**62
"""Nanoseconds from 1970 to 2116."""


def parse_rfc3339_ns(text: str) -> int:
    """Return the time in nanoseconds since 1970.

    Stricter than OPA: month, day, hour, minute and second must have two digits each, and a fraction
    of a second must consist of a point and at most nine digits.
    """
    import re

    found = re.fullmatch(
        r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
        r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))",
        _require_string(text),
    )
    if found is None:
        raise ValueError("not a time")
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    fraction, sign, east, minutes = found.groups()[6:]
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    lengths = (31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    if not (1 <= month <= 12 and 1 <= day <= lengths[month - 1]):
        raise ValueError("not a day")
    if hour > 23 or minute > 59 or second > 59 or int(east or 0) > 23 or int(minutes or 0) > 59:
        raise ValueError("not a time of day")
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400
    days += sum(lengths[: month - 1]) + day - 1 - 719162
    offset = (int(east or 0) * 60 + int(minutes or 0)) * (-60 if sign == "-" else 60)
    seconds = days * 86400 + hour * 3600 + minute * 60 + second - offset
    at = seconds * 10**9 + int((fraction or "0").ljust(9, "0"))
    if abs(at) >= _LATEST:
        raise ValueError("a time too far away")
    return at


_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")


def urlquery_encode(text: str) -> str:
    """Return *text* encoded for a URL query."""
    found = []
    for character in _require_string(text):
        if character in _PLAIN:
            found.append(character)
        elif character == " ":
            found.append("+")
        else:
            found += [f"%{byte:02X}" for byte in character.encode("utf-8")]
    return "".join(found)


def urlquery_encode_object(values: dict[str, Any]) -> str:
    """Return keys and values encoded for a URL query, sorted by key."""
    if not isinstance(values, dict):
        raise ValueError("not an object")
    found = []
    for key in sorted(map(_require_string, values)):
        value = values[key]
        several = [value] if isinstance(value, str) else value
        if not isinstance(several, list | set):
            raise ValueError("neither a text nor several")
        texts = list(map(_require_string, several))
        ordered = sorted(texts) if isinstance(several, set) else texts
        found += [f"{urlquery_encode(key)}={urlquery_encode(one)}" for one in ordered]
    return "&".join(found)


_PATTERNS: dict[str, list[Any]] = {}
_MOST_PATTERNS = 1000


def glob_match(pattern: str, delimiters: list[str] | None, text: str) -> bool:
    """Return True if *pattern* matches all of *text*. ``*`` and ``?`` do not match *delimiters*
    (default: ``.``); ``**`` matches anything. Supports the patterns that the preflight accepts.
    """
    parts = _PATTERNS.get(_require_string(pattern))
    if parts is None:
        if len(_PATTERNS) >= _MOST_PATTERNS:
            _PATTERNS.clear()
        parts = _PATTERNS[pattern] = _parse_glob(pattern)
    barred = frozenset() if delimiters is None else frozenset(delimiters or ".")
    return len(_require_string(text)) in _match_ends(parts, {0}, text, barred)


def _parse_glob(pattern: str) -> list[Any]:
    """Return the parsed pattern: characters as strings, wildcards as lists with one item, classes
    as dicts, and alternatives as tuples.
    """
    found: list[Any] = []
    index = 0
    while index < len(pattern):
        character = pattern[index]
        if character == "{":
            end = pattern.index("}", index)
            found.append(tuple(_parse_glob(one) for one in pattern[index + 1 : end].split(",")))
            index = end + 1
        elif character == "[":
            end = pattern.index("]", index)
            found.append(_parse_class(pattern[index + 1 : end]))
            index = end + 1
        elif character in "*?":
            wide = pattern.startswith("**", index)
            found.append(["**" if wide else character])
            index += 1 + wide
        else:
            found.append(character)
            index += 1
    return found


def _parse_class(text: str) -> dict[str, bool]:
    """Parse the contents of a glob character class such as ``a-z`` or ``!a-z``. Return a dict with
    one key per character; the value of the key ``""`` is True if the class is negated.
    """
    inverted = text.startswith("!")
    found = {"": inverted}
    index = int(inverted)
    while index < len(text):
        ranged = text[index + 1 : index + 2] == "-"
        last = text[index + 2] if ranged else text[index]
        found.update((chr(code), True) for code in range(ord(text[index]), ord(last) + 1))
        index += 3 if ranged else 1
    return found


def _match_ends(parts: list[Any], starts: set[int], text: str, barred: frozenset[str]) -> set[int]:
    """Return the positions at which *parts* can end in *text* if they begin at any of *starts*."""
    for part in parts:
        if not starts:
            return starts
        if isinstance(part, str):
            starts = {at + 1 for at in starts if text[at : at + 1] == part}
        elif isinstance(part, tuple):
            starts = set().union(*(_match_ends(one, starts, text, barred) for one in part))
        elif isinstance(part, dict):
            starts = {at + 1 for at in starts if at < len(text) and (text[at] in part) != part[""]}
        elif part == ["?"]:
            starts = {at + 1 for at in starts if at < len(text) and text[at] not in barred}
        elif part == ["**"]:
            starts = set(range(min(starts), len(text) + 1))
        else:
            reached: set[int] = set()
            for at in range(min(starts), len(text) + 1):
                if at in starts or (at - 1 in reached and text[at - 1] not in barred):
                    reached.add(at)
            starts = reached
    return starts


SUBSTITUTES: dict[str, tuple[int, Callable[..., Any]]] = {
    "glob.match": (3, glob_match),
    "guardrail.characters": (1, characters),
    "lower": (1, lower),
    "net.cidr_contains": (2, cidr_contains),
    "net.cidr_intersects": (2, cidr_intersects),
    "net.cidr_is_valid": (1, cidr_is_valid),
    "replace": (3, replace),
    "time.parse_rfc3339_ns": (1, parse_rfc3339_ns),
    "upper": (1, upper),
    "urlquery.encode": (1, urlquery_encode),
    "urlquery.encode_object": (1, urlquery_encode_object),
}
"""(number of arguments, replacement) for each function, keyed by name."""
