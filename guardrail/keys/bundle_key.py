"""Reads the private key that signs policy bundles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from guardrail.errors import KeysError
from guardrail.keys.key_files import read_key

__all__ = ["bundle_signer"]


def bundle_signer(path: Path, algorithm: str) -> Callable[[bytes], bytes]:
    """Return a function that signs the token of a policy bundle with the private key in *path*
    (PEM, unencrypted).

    *algorithm* is ``RS256`` (RSA, 2048 bits or more) or ``ES256`` (P-256). Raises ``KeysError`` if
    the file is missing, malformed, readable by others, or not a key for *algorithm*.
    """
    if not path.exists():
        raise KeysError(
            f"{path}: this key file does not exist",
            code="keys.missing",
            hint="specify the file with the private key: --signing-key PEM",
        )
    try:
        key = serialization.load_pem_private_key(read_key(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise KeysError(
            f"{path}: this is not an unencrypted private key in PEM format",
            code="keys.malformed",
        ) from None
    if algorithm == "RS256" and isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        rsa_key = key
        return lambda data: rsa_key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    if (
        algorithm == "ES256"
        and isinstance(key, ec.EllipticCurvePrivateKey)
        and isinstance(key.curve, ec.SECP256R1)
    ):
        curve_key = key

        def sign(data: bytes) -> bytes:
            # RFC 7518 section 3.4 requires the two numbers with 32 bytes each, not their DER form.
            r, s = decode_dss_signature(curve_key.sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")

        return sign
    raise KeysError(
        f"{path}: this is not a key for {algorithm}",
        code="keys.malformed",
        hint="use RSA of 2048 bits or more for RS256, P-256 for ES256",
    )
