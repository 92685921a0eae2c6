"""Replacements for the built-in functions that read and verify JSON Web Tokens. They return OPA's
results.

Signatures with a secret (HS256, HS384, HS512) are verified. Like ``substitutes``, this module is
loaded by the worker and does not import guardrail. A function raises ``ValueError`` if OPA raises
an error, if OPA's result is not certain, or if it depends on the clock.
"""

from __future__ import annotations

from rego_values import require_text  # type: ignore[import-not-found]  # found in its own folder
from text_substitutes import (  # type: ignore[import-not-found]  # found in its own folder
    base64url_bytes,
    decoded,
    unmarshal,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["SUBSTITUTES"]

_MOST_NESTED = 10
_HASHES = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
_TEXT_FIELDS = ("alg", "kid", "typ", "cty")


def _parts(token: object) -> list[str]:
    """Return header, payload and signature of a token, encoded."""
    parts: list[str] = require_text(token).split(".")
    if len(parts) != 3:
        raise ValueError("not a token")
    return parts


def _object(part: str) -> dict[str, Any]:
    found = unmarshal(decoded(base64url_bytes(part)))
    if not isinstance(found, dict):
        raise ValueError("not an object")
    return found


def _header(part: str) -> dict[str, Any]:
    header = _object(part)
    if "enc" in header:
        raise ValueError("an encrypted token")
    return header


def decode_jwt(token: object) -> list[Any]:
    """Return header, payload and signature (in hexadecimal) of a token, which is not verified. If
    the token contains a token, that one is decoded.
    """
    for _ in range(_MOST_NESTED):
        header_part, payload_part, signature_part = _parts(token)
        header = _header(header_part)
        payload = base64url_bytes(payload_part)
        kind = header.get("cty", "")
        if not isinstance(kind, str):
            raise ValueError("not a text")
        if kind != "JWT":
            return [header, _object(payload_part), base64url_bytes(signature_part).hex()]
        token = decoded(payload).strip("\"'")
    raise ValueError("many nested tokens")


def _is_signed(algorithm: str, secret: str, parts: list[str]) -> bool:
    import hmac

    signature = base64url_bytes(parts[2])
    body = f"{parts[0]}.{parts[1]}".encode()
    code = hmac.new(secret.encode("utf-8"), body, _HASHES[algorithm]).digest()
    return hmac.compare_digest(code, signature)


def _verifier(algorithm: str) -> Callable[[object, object], bool]:
    def verify(token: object, secret: object) -> bool:
        return _is_signed(algorithm, require_text(secret), _parts(token))

    return verify


# Verification with constraints.


class _Unverified(Exception):
    """The token is not valid, or does not meet the constraints."""


class _Constraints:
    """What a token must meet."""

    def __init__(self, given: object) -> None:
        if not isinstance(given, dict) or not {"secret", "alg", "iss", "aud", "time"} >= set(given):
            raise ValueError("constraints that are not supported")
        self.secret = require_text(given.get("secret", ""))
        self.algorithm = require_text(given.get("alg", ""))
        self.issuer = require_text(given.get("iss", ""))
        self.audience = require_text(given.get("aud", ""))
        self.time: float | None = None
        if not self.secret:
            raise ValueError("no key")
        if "time" in given:
            time = given["time"]
            if isinstance(time, bool) or not isinstance(time, int | float) or time < 0:
                raise ValueError("not a time")
            self.time = float(time)

    def seconds(self) -> Any:
        """Return the time as OPA compares it: in the shortest decimal form."""
        import decimal

        if self.time is None:
            raise ValueError("a token with times, but no time in the constraints")
        return decimal.Decimal(repr(self.time / 1_000_000_000))

    def check_header(self, header: dict[str, Any]) -> None:
        """Raise ``ValueError`` or ``_Unverified`` if the header is not acceptable."""
        for name in _TEXT_FIELDS:
            require_text(header.get(name, ""))
        critical: set[str] = set()
        if "crit" in header:
            if not isinstance(header["crit"], list):
                raise ValueError("not a list")
            for name in header["crit"]:
                if not isinstance(name, str):
                    break
                critical.add(name)
            if not critical:
                raise ValueError("an empty list")
        unknown = set(header) - {*_TEXT_FIELDS, "crit"}
        algorithm = header.get("alg", "")
        if not algorithm or critical & unknown or self.algorithm not in {"", algorithm}:
            raise _Unverified

    def check_payload(self, payload: dict[str, Any]) -> None:
        """Raise ``ValueError`` or ``_Unverified`` if the claims are not acceptable."""
        if self.issuer and require_text(payload.get("iss", "")) != self.issuer:
            raise _Unverified
        audience = payload.get("aud", "")
        several = audience if isinstance(audience, list) else [audience]
        if ("aud" in payload or self.audience) and self.audience not in several:
            raise _Unverified
        if "exp" in payload and self.seconds() >= _number(payload["exp"]):
            raise _Unverified
        if "nbf" in payload and self.seconds() < _number(payload["nbf"]):
            raise _Unverified


def _number(value: object) -> Any:
    import decimal

    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a number")
    return decimal.Decimal(repr(value))


def decode_verify(token: object, given: object) -> list[Any]:
    """Return True, header and payload if a token meets the constraints; otherwise False and two
    empty objects. If the token contains a token, both must be signed.
    """
    constraints = _Constraints(given)
    try:
        for _ in range(_MOST_NESTED):
            parts = _parts(token)
            header = _header(parts[0])
            constraints.check_header(header)
            base64url_bytes(parts[2])
            algorithm = header["alg"]
            if algorithm not in _HASHES or not _is_signed(algorithm, constraints.secret, parts):
                raise _Unverified
            payload = decoded(base64url_bytes(parts[1]))
            if header.get("cty", "").upper() != "JWT":
                break
            token = payload
        else:
            raise ValueError("many nested tokens")
        claims = _object(parts[1])
        constraints.check_payload(claims)
    except _Unverified:
        return [False, {}, {}]
    return [True, header, claims]


SUBSTITUTES: dict[str, tuple[int, Callable[..., Any]]] = {
    "io.jwt.decode": (1, decode_jwt),
    "io.jwt.decode_verify": (2, decode_verify),
    "io.jwt.verify_hs256": (2, _verifier("HS256")),
    "io.jwt.verify_hs384": (2, _verifier("HS384")),
    "io.jwt.verify_hs512": (2, _verifier("HS512")),
}
"""Number of arguments and replacement of each function, by name."""
