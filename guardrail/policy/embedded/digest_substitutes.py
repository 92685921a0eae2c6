"""Replacements for the built-in functions that compute digests. They return OPA's results.

Like ``substitutes``, this module is loaded by the worker and does not import guardrail. A function
raises ``ValueError`` if OPA raises an error.
"""

from __future__ import annotations

from rego_values import require_text  # type: ignore[import-not-found]  # found in its own folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["SUBSTITUTES"]


def _digest(name: str) -> Callable[[object], str]:
    def digest(text: object) -> str:
        import hashlib

        body = require_text(text).encode("utf-8")
        return hashlib.new(name, body, usedforsecurity=False).hexdigest()

    return digest


def _authentication_code(name: str) -> Callable[[object, object], str]:
    def code(text: object, key: object) -> str:
        import hmac

        secret, body = require_text(key).encode("utf-8"), require_text(text).encode("utf-8")
        return hmac.new(secret, body, name).hexdigest()

    return code


def equal_codes(one: object, other: object) -> bool:
    """Return True if two texts are equal."""
    return bool(require_text(one) == require_text(other))


SUBSTITUTES: dict[str, tuple[int, Callable[..., Any]]] = {
    "crypto.hmac.equal": (2, equal_codes),
    "crypto.hmac.md5": (2, _authentication_code("md5")),
    "crypto.hmac.sha1": (2, _authentication_code("sha1")),
    "crypto.hmac.sha256": (2, _authentication_code("sha256")),
    "crypto.hmac.sha512": (2, _authentication_code("sha512")),
    "crypto.md5": (1, _digest("md5")),
    "crypto.sha1": (1, _digest("sha1")),
    "crypto.sha256": (1, _digest("sha256")),
}
"""Number of arguments and replacement of each function, by name."""
