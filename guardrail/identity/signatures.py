"""Verifies the signatures of tokens with the public keys of a JSON Web Key Set (RFC 7517).

This is the only importer of PyJWT, which is loaded when the first key set is read. PyJWT gets one
key and one algorithm, both chosen from the settings and the key set: no part of a token chooses a
family of algorithms.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from guardrail.config.issuers import ALGORITHMS
from guardrail.identity.token_text import decode_segment

__all__ = ["PublicKey", "is_signed", "public_key"]

_MIN_RSA_BITS: Final = 2_048
_MEMBERS: Final = {"RSA": ("e", "n"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x")}
"""The members that identify a key of each type (RFC 7638, section 3.2; RFC 8037)."""
_USES: Final = frozenset({"sig", "jwt-svid"})
"""Values of ``use`` for keys that sign tokens. SPIFFE bundles also contain keys with
``x509-svid``, which must not verify tokens (SPIFFE Trust Domain and Bundle, section 4.2.2).
"""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A public key of an issuer."""

    id: str
    """SHA-256 of the key itself (RFC 7638): a different key under the same ``kid`` has a different
    id.
    """
    kid: str | None
    algorithms: frozenset[str]
    """The algorithms that the key can be used with."""
    material: Any = field(repr=False)


def public_key(jwk: Mapping[str, Any]) -> PublicKey | None:
    """Return the key in *jwk*, or None if it can't verify a token: its type, curve or use is
    another, or it is too short.
    """
    import jwt

    kty, curve = jwk.get("kty"), jwk.get("crv", "")
    use = jwk.get("use", "sig")
    # A JSON list or object can't be looked up in a set.
    if not isinstance(kty, str) or kty not in _MEMBERS:
        return None
    if not isinstance(use, str) or use not in _USES:
        return None
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    names = {name for name, kind in ALGORITHMS.items() if kind in ((kty, curve), (kty, ""))}
    if "alg" in jwk:
        names &= {str(jwk["alg"])}
    members = {"kty": kty, **{name: jwk.get(name) for name in _MEMBERS[kty]}}
    kid = jwk.get("kid")
    if not names or not all(isinstance(each, str) for each in members.values()):
        return None
    if kid is not None and not isinstance(kid, str):
        return None
    try:
        material = jwt.PyJWK(dict(members), algorithm=min(names)).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if kty == "RSA" and material.key_size < _MIN_RSA_BITS:
        return None
    canonical = json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    return PublicKey(hashlib.sha256(canonical).hexdigest(), kid, frozenset(names), material)


def is_signed(text: str, algorithm: str, keys: Iterable[PublicKey]) -> PublicKey | None:
    """Return the first of *keys* with which *text*, a token that was parsed, is signed under
    *algorithm*, or None.
    """
    signed, _, segment = text.rpartition(".")
    try:
        signature = decode_segment(segment)
    except ValueError:
        return None
    # PyJWT would parse the header and the claims again, which takes longer than to verify RSA.
    verify, content = _algorithm(algorithm).verify, signed.encode("ascii")
    for key in keys:
        if algorithm in key.algorithms and verify(content, key.material, signature):
            return key
    return None


@functools.cache
def _algorithm(name: str) -> Any:
    import jwt

    return jwt.get_algorithm_by_name(name)
