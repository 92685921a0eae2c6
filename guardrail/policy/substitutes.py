"""Built-in functions that the engine answers differently from OPA, written out as OPA answers them.

The worker puts each in the place of the engine's own. Like the worker, this module imports nothing of guardrail: it is
loaded where there are no site-packages. A function raises ``ValueError`` for what OPA can't answer either.
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
"""What stands above the last 32 bits of an IPv4 address that is written as an IPv6 one."""


def lower(text: str) -> str:
    """Return *text* in lower case as OPA does: one character for one, whatever its neighbours are."""
    text = _text(text)
    if text.isascii():
        return text.lower()
    return "".join([character.lower()[0] for character in text])


def upper(text: str) -> str:
    """Return *text* in upper case as OPA does: a character whose capital is several stays, or takes its title case."""
    text = _text(text)
    if text.isascii():
        return text.upper()
    return "".join([_capital(character) for character in text])


def _capital(character: str) -> str:
    big = character.upper()
    if len(big) > 1:
        big = character.title()
    return big if len(big) == 1 else character


def cidr_contains(network: str, inner: str) -> bool:
    """Whether *inner*, an address or a network, lies in *network*. An address of IPv4 that is written as one of IPv6
    (``::ffff:10.0.0.1``) is the IPv4 address that it is."""
    outer = _network(_text(network))
    address = _address(_text(inner))
    if address is not None:
        return _inside(outer, address)
    width, first, prefix = _parts(inner)
    last = first | ((1 << (width - prefix)) - 1)
    return _inside(outer, _plain(width, first)) and _inside(outer, _plain(width, last))


def cidr_is_valid(network: str) -> bool:
    """Whether *network* is an address, a slash and a length."""
    try:
        _parts(_text(network))
    except ValueError:
        return False
    return True


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")
    return value


def _plain(width: int, value: int) -> tuple[int, int]:
    """Return width and value of an address, with IPv4 as what it is."""
    if width == 128 and value >> 32 == _MAPPED:
        return 32, value & 0xFFFF_FFFF
    return width, value


def _inside(network: tuple[int, int, int], address: tuple[int, int]) -> bool:
    width, first, prefix = network
    return width == address[0] and first >> (width - prefix) == address[1] >> (width - prefix)


def _network(text: str) -> tuple[int, int, int]:
    """Return width, first address and prefix length, with IPv4 as what it is."""
    width, first, prefix = _parts(text)
    plain, value = _plain(width, first)
    return (plain, value, prefix - (width - plain))


def _parts(text: str) -> tuple[int, int, int]:
    """Return width, first address and prefix length as they are written."""
    address, slash, length = text.partition("/")
    found = _ipv6(address) if ":" in address else _ipv4(address)
    if not slash or found is None or not length or not _DIGITS.issuperset(length):
        raise ValueError("not a network")
    width = 128 if ":" in address else 32
    # A longer one is out of range too, and costs no time.
    prefix = int(length[-9:]) if len(length) <= 9 else width + 1
    if prefix > width:
        raise ValueError("not a network")
    rest = width - prefix
    return width, found >> rest << rest, prefix


def _address(text: str) -> tuple[int, int] | None:
    if ":" in text:
        value = _ipv6(text)
        return None if value is None else _plain(128, value)
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
    """Return the groups of 16 bits; the *last* ones may be written as an IPv4 address."""
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


SUBSTITUTES: dict[str, tuple[int, Callable[..., Any]]] = {
    "lower": (1, lower),
    "net.cidr_contains": (2, cidr_contains),
    "net.cidr_is_valid": (1, cidr_is_valid),
    "upper": (1, upper),
}
"""By name: how many arguments, and the function."""
