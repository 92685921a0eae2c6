"""Attacks on tokens: none of them is taken for a verified identity, and no error quotes a token."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from guardrail.errors import IdentityError
from guardrail.identity.token_text import MAX_TOKEN
from guardrail.identity.tokens import TokenVerifier
from tests.support.tokens import (
    AUDIENCE,
    ISSUER,
    NOW,
    jwk,
    key_set,
    private_key,
    segment,
    settings_for,
    signed,
    token,
)

CLAIMS = {"iss": ISSUER, "sub": "alice", "aud": AUDIENCE, "iat": NOW, "exp": NOW + 300}
HEADER = {"alg": "ES256", "typ": "at+jwt", "kid": "k1"}


def verifier(folder: Path, *keys: dict[str, Any], **more: Any) -> TokenVerifier:
    """Return a verifier at the time ``NOW``, with these keys."""
    (folder / "jwks.json").write_text(key_set(*(keys or (jwk(),))))
    return TokenVerifier(settings_for(folder / "jwks.json", **more), lambda: float(NOW))


def refusal(tokens: TokenVerifier, text: object) -> str:
    """Return the detail with which *text* is refused; check that the error quotes no part of it."""
    with pytest.raises(IdentityError) as caught:
        tokens.verify(text, wait=0)
    error = caught.value
    assert (error.__cause__, error.__context__) == (None, None)
    shown = f"{error} {error.hint} {error!r}"
    for part in str(text).split("."):
        assert len(part) < 12 or part not in shown
    assert "alice" not in shown
    return error.code.removeprefix("identity.token.")


def public_pem() -> bytes:
    """Return the public key as text, which an attacker uses as an HMAC secret."""
    from cryptography.hazmat.primitives import serialization as out

    key = private_key("RS256").public_key()
    pem: bytes = key.public_bytes(out.Encoding.PEM, out.PublicFormat.SubjectPublicKeyInfo)
    return pem


def hmac_signed() -> str:
    """Return a token whose HMAC key is the issuer's public key."""
    import hashlib
    import hmac

    parts = f"{segment(json.dumps({**HEADER, 'alg': 'HS256'}))}.{segment(json.dumps(CLAIMS))}"
    return f"{parts}.{segment(hmac.digest(public_pem(), parts.encode(), hashlib.sha256))}"


def nested(levels: int) -> str:
    """Return claims with *levels* nested lists."""
    return json.dumps(CLAIMS)[:-1] + ', "x": ' + "[" * levels + "]" * levels + "}"


def with_header(**changes: Any) -> str:
    """Return a token with a good signature and a changed header."""
    return signed(json.dumps({**HEADER, **changes}), json.dumps(CLAIMS))


ATTACKS: dict[str, tuple[str, Callable[[], object]]] = {
    "none": ("malformed", lambda: jwt.encode(CLAIMS, None, "none", headers={"typ": "at+jwt"})),
    "None with a signature": ("algorithm", lambda: with_header(alg="None")),
    "public key as HMAC secret": ("algorithm", hmac_signed),
    "another algorithm of the key": ("key", lambda: with_header(alg="RS256")),
    "algorithm that is no text": ("malformed", lambda: with_header(alg=["ES256"])),
    "key in the header": ("header_key", lambda: with_header(jwk=jwk())),
    "address of keys in the header": ("header_key", lambda: with_header(jku="https://evil.test")),
    "certificates in the header": ("header_key", lambda: with_header(x5c=["MIIB"])),
    "unknown crit": ("crit", lambda: with_header(crit=["x-policy"])),
    "b64": ("crit", lambda: with_header(b64=False)),
    "wrong type": ("typ", lambda: token(header={"typ": "logout+jwt"})),
    "ID token": ("typ", lambda: token(header={"typ": "JWT"})),
    "no type": ("typ", lambda: signed('{"alg":"ES256","kid":"k1"}', json.dumps(CLAIMS))),
    "type that is no text": ("malformed", lambda: with_header(typ=5)),
    "wrong audience": ("audience", lambda: token(aud="https://other.example.com")),
    "no audience": ("audience", lambda: token(aud=None)),
    "audience that is a table": (
        "audience",
        lambda: signed(json.dumps(HEADER), json.dumps({**CLAIMS, "aud": {AUDIENCE: 1}})),
    ),
    "unhashable audience": (
        "audience",
        lambda: signed(json.dumps(HEADER), json.dumps({**CLAIMS, "aud": [[AUDIENCE]]})),
    ),
    "expired": ("expired", lambda: token(exp=NOW - 30)),
    "no expiry": ("claims", lambda: token(exp=None)),
    "expiry that is no number": (
        "claims",
        lambda: signed(json.dumps(HEADER), json.dumps({**CLAIMS, "exp": "9999999999"})),
    ),
    "expiry that is true": (
        "claims",
        lambda: signed(json.dumps(HEADER), json.dumps({**CLAIMS, "exp": True})),
    ),
    "infinite expiry": (
        "claims",
        lambda: signed(json.dumps(HEADER), json.dumps({**CLAIMS, "exp": 0})[:-2] + "1e999}"),
    ),
    "expiry after the year 9999": ("claims", lambda: token(exp=10**15)),
    "expiry that no float can hold": ("claims", lambda: token(exp=10**400)),
    "issued at a time that no float can hold": ("claims", lambda: token(iat=10**400)),
    "issued in the future": ("future", lambda: token(iat=NOW + 31)),
    "not yet valid": ("future", lambda: token(nbf=NOW + 31)),
    "no iat": ("claims", lambda: token(iat=None)),
    "no principal": ("claims", lambda: token(sub=None)),
    "principal with a line break": ("claims", lambda: token(sub="alice\nroot")),
    "duplicated claim": (
        "duplicate",
        lambda: signed(json.dumps(HEADER), json.dumps(CLAIMS)[:-1] + ', "sub": "root"}'),
    ),
    "duplicated header": (
        "duplicate",
        lambda: signed(json.dumps(HEADER)[:-1] + ', "alg": "ES256"}', json.dumps(CLAIMS)),
    ),
    "huge token": ("size", lambda: "a" * (MAX_TOKEN + 1)),
    "huge header": ("size", lambda: with_header(x="a" * 5_000)),
    "deep nesting": ("nesting", lambda: signed(json.dumps(HEADER), nested(20))),
    "very deep nesting": ("nesting", lambda: signed(json.dumps(HEADER), nested(2_500))),
    "unknown issuer": ("issuer", lambda: token(iss="https://evil.test")),
    "no issuer": ("issuer", lambda: token(iss=None)),
    "issuer that is a list": (
        "issuer",
        lambda: signed(json.dumps(HEADER), json.dumps({**CLAIMS, "iss": [ISSUER]})),
    ),
    "unknown key": ("key", lambda: token(kid="k2")),
    "key of another": ("signature", lambda: token(number=1)),
    "changed claims": (
        "signature",
        lambda: ".".join(
            (token().split(".")[0], segment(json.dumps(CLAIMS)), token().split(".")[2])
        ),
    ),
    "no signature": ("malformed", lambda: token().rpartition(".")[0] + "."),
    "encrypted token": ("malformed", lambda: "a.b.c.d.e"),
    "with its scheme": ("malformed", lambda: f"Bearer {token()}"),
    "padding": ("malformed", lambda: token() + "="),
    "other characters for the same bytes": ("malformed", lambda: "e31" + token()[2:]),
    "claims that are a list": ("malformed", lambda: signed(json.dumps(HEADER), "[]")),
    "claims that are not UTF-8": ("malformed", lambda: f"{token().split('.')[0]}.{'_w'}.AAAA"),
    "not JSON": ("malformed", lambda: "abc.def.ghi"),
    "no text": ("malformed", lambda: b"abc"),
    "surrogates": ("malformed", lambda: "\ud800"),
    "actors that are a list": ("actor", lambda: token(act=[{"sub": "bot"}])),
    "principal that is a mark": ("claims", lambda: token(sub=f"gr1:principal:k1:{'a' * 24}")),
    "actor that is a mark": ("claims", lambda: token(act={"sub": f"gr1:agent:k1:{'a' * 24}"})),
    "actor without a name": ("claims", lambda: token(act={"iss": ISSUER})),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_refused(tmp_path: Path, attack: str) -> None:
    """Each with its own detail, and before anything is asked from a server."""
    detail, make = ATTACKS[attack]
    assert refusal(verifier(tmp_path), make()) == detail


def test_a_signature_has_one_spelling(tmp_path: Path) -> None:
    """The last character of base64url has bits that decoders ignore."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    tokens, text = verifier(tmp_path), token()
    for bits in range(1, 4):
        other = text[:-1] + alphabet[alphabet.index(text[-1]) + bits]
        assert refusal(tokens, other) == "signature"
    tokens.verify(text, wait=0)


def test_a_chain_of_actors_has_at_most_eight_steps(tmp_path: Path) -> None:
    """The outermost is the current actor (RFC 8693, section 4.1)."""
    tokens = verifier(tmp_path)
    chain: Any = None
    for number in range(9, 0, -1):
        chain = {"sub": f"actor-{number}", **({} if chain is None else {"act": chain})}
    assert refusal(tokens, token(act=chain)) == "actor"
    found = tokens.verify(token(act={**chain["act"], "iss": "https://sts.test"}), wait=0).identity
    assert [step["sub"] for step in found.delegation] == [f"actor-{n}" for n in range(2, 10)]
    assert found.agent is not None
    assert (found.agent.id, found.agent.issuer) == ("actor-2", ISSUER)
    assert found.delegation[0]["iss"] == "https://sts.test"


@pytest.mark.parametrize("algorithm", ["RS256", "PS256", "ES256", "EdDSA"])
def test_each_asymmetric_algorithm_verifies(tmp_path: Path, algorithm: str) -> None:
    """And the identity is that of the claims."""
    tokens = verifier(tmp_path, jwk(algorithm=algorithm), roles_claim="/realm/roles")
    text = token(algorithm=algorithm, auth_time=NOW - 60, realm={"roles": ["clerk"]})
    found = tokens.verify(text, wait=0).identity
    assert found.principal.id == "alice@example.com"
    assert found.principal.issuer == ISSUER
    assert found.principal.roles == ("clerk",)
    assert found.principal.authenticated_at == "2025-12-31T23:59:00Z"
    assert (found.principal.type, found.agent, found.tenant) == ("user", None, None)
    assert tokens.verify(text, wait=0) is tokens.verify(text, wait=0)


def test_an_algorithm_that_the_settings_leave_out_is_refused(tmp_path: Path) -> None:
    """Also if the key could verify it, and a key is only used as its own ``alg`` says."""
    tokens = verifier(tmp_path, jwk(algorithm="RS256"), algorithms=["PS256"])
    assert refusal(tokens, token(algorithm="RS256")) == "algorithm"
    tokens = verifier(tmp_path, jwk(algorithm="RS256", alg="PS256"))
    assert refusal(tokens, token(algorithm="RS256")) == "key"


def test_the_leeway_applies_to_each_time(tmp_path: Path) -> None:
    """Up to 30 seconds by default."""
    tokens = verifier(tmp_path)
    tokens.verify(token(exp=NOW - 29, iat=NOW + 30, nbf=NOW + 30), wait=0)


def test_claims_that_the_settings_name_are_used(tmp_path: Path) -> None:
    """Principal, tenant and roles; a service that got a token for itself is a service."""
    tokens = verifier(
        tmp_path,
        principal_claim="email",
        tenant_claim="/org/id",
        roles_claim="scope",
        types=["application/JWT"],
        audience=["x", AUDIENCE],
    )
    text = token(
        header={"typ": "JWT"},
        email="a@b.c",
        org={"id": "acme"},
        scope="read write",
        sub="svc",
        client_id="svc",
        aud=["y", AUDIENCE],
    )
    found = tokens.verify(text, wait=0).identity
    assert (found.principal.id, found.tenant, found.principal.type) == ("a@b.c", "acme", "service")
    assert found.principal.roles == ("read", "write")
    missing = token(header={"typ": "JWT"}, email="a@b.c")
    assert refusal(tokens, missing) == "tenant"
    assert refusal(tokens, token(header={"typ": "JWT"}, email=None, org={"id": "a"})) == "claims"
    wrong = token(header={"typ": "JWT"}, email="a@b.c", org={"id": "a"}, scope={"read": 1})
    assert refusal(tokens, wrong) == "claims"
    none = verifier(tmp_path, roles_claim="roles", tenant="acme").verify(token(), wait=0).identity
    assert (none.principal.roles, none.tenant) == ((), "acme")


def test_a_jwt_svid_is_verified_with_the_keys_of_its_trust_domain(tmp_path: Path) -> None:
    """And only with those that sign tokens. It needs neither ``iss`` nor ``iat`` nor ``typ``."""
    bundle = (jwk("k1", use="jwt-svid"), jwk("k2", number=1, use="x509-svid"))
    tokens = verifier(tmp_path, *bundle, issuer="spiffe://example.org")
    svid = token(iss=None, iat=None, sub="spiffe://example.org/orders", header={"typ": None})
    found = tokens.verify(svid, wait=0).identity.principal
    assert (found.id, found.type, found.method) == (
        "spiffe://example.org/orders",
        "service",
        "spiffe_jwt",
    )
    assert (found.issuer, found.authenticated_at) == ("spiffe://example.org", None)
    other = token(iss="spiffe://example.org", sub="spiffe://evil.test/orders")
    assert refusal(tokens, other) == "issuer"
    wrong = token(kid="k2", number=1, sub="spiffe://example.org/x", header={"typ": "JWT"})
    assert refusal(tokens, wrong) == "key"


def test_a_token_without_kid_has_the_only_fitting_key(tmp_path: Path) -> None:
    """With two of them, none is guessed; with two of one ``kid``, both are tried."""
    verifier(tmp_path, jwk(), jwk("r", algorithm="RS256")).verify(token(kid=None), wait=0)
    two = verifier(tmp_path, jwk("a", number=1), jwk("k1"))
    assert refusal(two, token(kid=None)) == "key"
    verifier(tmp_path, jwk("k1", number=1), jwk("k1")).verify(token(), wait=0)


def test_the_memory_of_tokens_is_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest one is forgotten, and verified again when it is used."""
    monkeypatch.setattr("guardrail.identity.tokens.MAX_REMEMBERED", 2)
    tokens = verifier(tmp_path)
    texts = [token(jti=str(number)) for number in range(3)]
    held = [tokens.verify(text, wait=0) for text in texts]
    assert tokens.verify(texts[2], wait=0) is held[2]
    assert tokens.verify(texts[0], wait=0) is not held[0]
