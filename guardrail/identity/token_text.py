"""Parses the text of a JSON Web Token strictly: the compact form of a signed token (RFC 7515,
section 7.1) that every parser reads in the same way.

Nothing here is verified. ``guardrail.identity.tokens`` does that.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from guardrail.core.hidden import hidden
from guardrail.core.json_text import JsonTextError, read
from guardrail.errors import IdentityError

__all__ = [
    "ISSUER_UNAVAILABLE",
    "MAX_TOKEN",
    "SecretText",
    "TokenText",
    "decode_segment",
    "parse_token",
    "token_error",
]

ISSUER_UNAVAILABLE: Final = frozenset({"identity.token.keys", "identity.token.introspection"})
"""Error codes of tokens about which the issuer could not be asked."""

MAX_TOKEN: Final = 16_384
"""Maximum length of a token in characters."""
_MAX_HEADER: Final = 4_096
_MAX_DEPTH: Final = 16
_COMPACT: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_KEY_HEADERS: Final = frozenset({"jwk", "jku", "x5u", "x5c"})
"""Headers in which a token supplies its own key, or the place of the key (RFC 8725, section
3.10).
"""


@hidden
class SecretText:
    """A text that a traceback with local variables does not show. Functions hold a token in it, and
    take the text out only where it is used.
    """

    __slots__ = ("_value",)

    def __init__(self, value: object) -> None:
        self._value = value.reveal() if isinstance(value, SecretText) else value

    def reveal(self) -> Any:
        """Return the text, or another object that the program passed instead of one."""
        return self._value


@dataclass(frozen=True, slots=True)
class TokenText:
    """The parts of a token, not verified."""

    text: str = field(repr=False)
    algorithm: str
    type: str
    """The header ``typ`` in lower case, without ``application/``; empty if there is none."""
    kid: str | None
    claims: Mapping[str, Any] = field(repr=False)


def token_error(detail: str, message: str, hint: str = "") -> IdentityError:
    """Return the error for a token that is refused. Neither text quotes any part of the token."""
    return IdentityError(f"the token {message}", code=f"identity.token.{detail}", hint=hint)


def parse_token(text: object) -> TokenText:
    """Return the parts of the token *text*. Raises ``IdentityError``, which quotes no part of
    it.
    """
    if not isinstance(text, str):
        raise token_error("malformed", f"must be a str, not {type(text).__name__}")
    if len(text) > MAX_TOKEN:
        raise token_error("size", f"is longer than {MAX_TOKEN} characters")
    found = _COMPACT.fullmatch(text)
    if found is None:
        raise token_error(
            "malformed",
            "is not a signed JSON Web Token in the compact form",
            "pass the access token alone, without 'Bearer'; encrypted tokens (JWE) and opaque "
            "tokens can't be verified",
        )
    if len(found[1]) > _MAX_HEADER:
        raise token_error("size", f"has a header of more than {_MAX_HEADER} characters")
    header = _object(found[1], "header")
    _check_header(header)
    typ = _optional_text(header, "typ").lower().removeprefix("application/")
    kid = _optional_text(header, "kid") if "kid" in header else None
    return TokenText(text, header["alg"], typ, kid, _object(found[2], "claims"))


def _check_header(header: Mapping[str, Any]) -> None:
    if not isinstance(header.get("alg"), str):
        raise token_error("malformed", "has no algorithm")
    if not _KEY_HEADERS.isdisjoint(header):
        raise token_error(
            "header_key", "has a key or the address of a key in its header, which anyone can write"
        )
    if "crit" in header or "b64" in header:
        # No extension is supported, so every critical one is unknown (RFC 7515, section 4.1.11).
        raise token_error("crit", "requires an extension that guardrail does not support")


def _optional_text(header: Mapping[str, Any], name: str) -> str:
    value = header.get(name, "")
    if not isinstance(value, str) or len(value) > 256:
        raise token_error("malformed", f"has a malformed header {name}")
    return value


def _object(segment: str, name: str) -> dict[str, Any]:
    """Return the JSON object in *segment*."""
    try:
        text = decode_segment(segment).decode("utf-8")
        value = read(text)
    except JsonTextError as error:
        detail = {"duplicate_key": "duplicate", "depth": "nesting"}.get(error.detail, "malformed")
        failure = token_error(detail, f"has {name} that parsers may read in different ways")
    except ValueError:
        failure = token_error("malformed", f"has {name} that are not base64url and UTF-8")
    else:
        if not isinstance(value, dict):
            raise token_error("malformed", f"has {name} that are not a JSON object")
        if _is_deeper(value, _MAX_DEPTH):
            raise token_error("nesting", f"has {name} with more than {_MAX_DEPTH} levels")
        return value
    raise failure  # outside the handlers, because the context of an exception quotes the text


def decode_segment(segment: str) -> bytes:
    """Return the bytes of a base64url text without padding. Raises ``ValueError`` if the text is
    not the only one for these bytes.
    """
    found = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    if base64.urlsafe_b64encode(found).rstrip(b"=") != segment.encode("ascii"):
        raise ValueError("not canonical")
    return found


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True
