"""Issuers of tokens: their keys, their key sets in a file or on a server, and the tokens that they
sign.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from guardrail import Guard
from guardrail.config import Settings
from guardrail.testing import MemoryLedger, StaticPolicy, allow, memory_guard

ISSUER = "https://login.example.com"
AUDIENCE = "https://orders.example.com"
NOW = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
"""The time of a new in-memory ledger."""


@functools.lru_cache(maxsize=8)
def private_key(algorithm: str, number: int = 0) -> Any:
    """Return a private key for *algorithm*. Different numbers have different keys."""
    if algorithm.startswith("ES"):
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=1024 if number < 0 else 2048)


def jwk(kid: str = "k1", algorithm: str = "ES256", number: int = 0, **more: Any) -> dict[str, Any]:
    """Return the public key in the form of a key set."""
    public = private_key(algorithm, number).public_key()
    made: dict[str, Any] = jwt.get_algorithm_by_name(algorithm).to_jwk(public, as_dict=True)
    return {**made, "kid": kid, **more}


def key_set(*keys: dict[str, Any]) -> str:
    """Return the text of a key set."""
    return json.dumps({"keys": list(keys)})


def token(
    *,
    kid: str | None = "k1",
    algorithm: str = "ES256",
    number: int = 0,
    header: dict[str, Any] | None = None,
    now: int = NOW,
    **claims: Any,
) -> str:
    """Return a signed token. A claim that is None is left out."""
    every = {
        "iss": ISSUER,
        "sub": "alice@example.com",
        "aud": AUDIENCE,
        "iat": now,
        "exp": now + 300,
        **claims,
    }
    head = {"typ": "at+jwt", **({} if kid is None else {"kid": kid}), **(header or {})}
    stated = {name: value for name, value in every.items() if value is not None}
    return jwt.encode(stated, private_key(algorithm, number), algorithm, headers=head)


def signed(header: str, claims: str, algorithm: str = "ES256") -> str:
    """Return a token with exactly these texts, signed with the key of *algorithm*."""
    parts = f"{segment(header)}.{segment(claims)}"
    made = jwt.get_algorithm_by_name(algorithm).sign(parts.encode(), private_key(algorithm))
    return f"{parts}.{segment(made)}"


def segment(text: str | bytes) -> str:
    """Return *text* as a part of a token."""
    raw = text.encode() if isinstance(text, str) else text
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def settings_for(
    jwks: Path | str, *, require: str = "verified", issuer: str = ISSUER, **more: Any
) -> Settings:
    """Return settings with one issuer. *more* are keys of its table."""
    table = {"jwks": str(jwks), "audience": AUDIENCE, **more}
    return Settings().override(identity={"require": require, "issuers": {issuer: table}})


def token_guard(
    folder: Path, policy: StaticPolicy | None = None, **more: Any
) -> tuple[Guard, MemoryLedger]:
    """Return a guard that verifies the tokens of one issuer, whose key set is a file in
    *folder*.
    """
    path = folder / "jwks.json"
    if not path.exists():
        path.write_text(key_set(jwk()))
    return memory_guard(policy or StaticPolicy(allow()), settings=settings_for(path, **more))


class KeyServer:
    """A server of a key set, which can be changed, and made to fail."""

    def __init__(self, url: str, text: str) -> None:
        self.url = url
        self.text = text
        self.status = 200
        self.requests = 0
        self.hold = threading.Event()
        """Requests wait until this is set."""
        self.hold.set()


@contextmanager
def key_server(text: str) -> Iterator[KeyServer]:
    """Serve *text* on a port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.requests += 1
            served.hold.wait(30)
            body = served.text.encode()
            self.send_response(served.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # the client closes early if the body is too large
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = KeyServer(f"http://127.0.0.1:{server.server_port}/jwks", text)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield served
    finally:
        served.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()
