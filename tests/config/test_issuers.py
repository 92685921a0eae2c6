"""The tables of issuers: what is refused, and where the message says that it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from guardrail.config import Settings
from guardrail.errors import ConfigError

NAME = "https://login.example.com"
GOOD: dict[str, Any] = {"jwks": "jwks.json", "audience": "me"}


@pytest.mark.parametrize(
    ("issuers", "words"),
    [
        (5, "not a table of issuers"),
        ({NAME: 5}, "not a table"),
        ({f"https://{n}": GOOD for n in range(101)}, "more than 100"),
        ({"": GOOD}, "not the URL"),
        ({"https://x y": GOOD}, "not the URL"),
        ({"spiffe://Example.org": GOOD}, "trust domain"),
        ({"spiffe://example.org": {**GOOD, "principal_claim": "email"}}, "always sub"),
        ({NAME: {**GOOD, "audiences": "me"}}, "did you mean 'audience'"),
        ({NAME: {**GOOD, "zzz": "me"}}, "known: jwks"),
        ({NAME: {"audience": "me"}}, "no jwks"),
        ({NAME: {"jwks": "jwks.json"}}, "no audience"),
        ({NAME: {**GOOD, "audience": ["me", ""]}}, "no audience"),
        ({NAME: {**GOOD, "audience": 5}}, "audience is not a string or a list"),
        ({NAME: {**GOOD, "tenant": 5}}, "tenant is not a string"),
        ({NAME: {**GOOD, "tenant": "a", "tenant_claim": "b"}}, "both tenant"),
        ({NAME: {**GOOD, "algorithms": ["HS256"]}}, "'HS256'; asymmetric"),
        ({NAME: {**GOOD, "algorithms": ["none"]}}, "'none'; asymmetric"),
    ],
)
def test_a_table_that_would_verify_too_much_or_nothing_is_refused(
    issuers: object, words: str
) -> None:
    """With the place, and the keys that are known."""
    with pytest.raises(ConfigError, match=words) as caught:
        Settings().override(identity={"issuers": issuers})
    assert "identity.issuers" in caught.value.message
    assert "[identity]" in caught.value.hint


@pytest.mark.parametrize("kind", ["issuer", "jwks", "introspection"])
@pytest.mark.parametrize(
    "text",
    [
        " https://u:SECRET@h/i?key=SECRET",
        "https://u:SECRET@h/i?key=SECRET\n",
        "https:/h/i?key=SECRET",
        "https:h/i?key=SECRET",
        "//h/i?key=SECRET",
    ],
)
def test_the_message_about_a_malformed_url_contains_no_part_of_it(kind: str, text: str) -> None:
    name, table = (text, GOOD) if kind == "issuer" else (NAME, {**GOOD})
    if kind == "jwks":
        table["jwks"] = text
    elif kind == "introspection":
        table["introspection"] = {"url": text, "client_id": "me", "secret_file": "secret"}
    with pytest.raises(ConfigError, match=r"not a URL|not the URL") as caught:
        Settings().override(identity={"issuers": {name: table}})
    assert "SECRET" not in f"{caught.value.message} {caught.value.hint}"
    assert "identity.issuers" in caught.value.message


def test_an_introspection_endpoint_has_a_scheme() -> None:
    inner = {"url": "h/i?key=SECRET", "client_id": "me", "secret_file": "secret"}
    with pytest.raises(ConfigError, match="not a URL") as caught:
        Settings().override(identity={"issuers": {NAME: {**GOOD, "introspection": inner}}})
    assert "SECRET" not in caught.value.message


def test_paths_are_relative_to_the_file_and_urls_stay(tmp_path: Path) -> None:
    """And types are compared in lower case, without their prefix."""
    path = tmp_path / "guardrail.toml"
    path.write_text(
        f'[identity.issuers."{NAME}"]\njwks = "keys/jwks.json"\naudience = "me"\nca = "ca.pem"\n'
        'types = ["application/AT+JWT", ""]\n'
        '[identity.issuers."spiffe://example.org"]\n'
        'jwks = "https://spire.example.org/"\naudience = ["a", "b"]\n'
    )
    login, domain = Settings.load(path, environment={}).identity.issuers
    assert (login.jwks, login.ca) == (str(tmp_path / "keys" / "jwks.json"), tmp_path / "ca.pem")
    assert (login.types, login.is_url, login.is_spiffe) == (("at+jwt", ""), False, False)
    assert (domain.jwks, domain.audience) == ("https://spire.example.org/", ("a", "b"))
    assert (domain.is_url, domain.is_spiffe) == (True, True)
