"""The tables ``[identity.issuers."ISSUER"]``: each describes an issuer whose tokens are verified,
and the meaning of their claims.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from guardrail.core.shown_urls import shown_url
from guardrail.errors import ConfigError

__all__ = ["ALGORITHMS", "EXAMPLE", "IntrospectionSettings", "IssuerSettings", "issuers_in"]

ALGORITHMS = {
    "RS256": ("RSA", ""),
    "RS384": ("RSA", ""),
    "RS512": ("RSA", ""),
    "PS256": ("RSA", ""),
    "PS384": ("RSA", ""),
    "PS512": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""The signature algorithms that can be accepted (RFC 7518, RFC 8037), each with the type and the
curve of its keys. All of them are asymmetric.
"""
_USUAL = ("RS256", "PS256", "ES256", "EdDSA")
_MAX_ISSUERS = 100
_ISSUER = re.compile(r"[!-~]{1,512}")
_DOMAIN = re.compile(r"spiffe://[a-z0-9._-]{1,255}")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_MALFORMED_URL = re.compile(r"\s|.*\s\Z|//|https?:(?!//)", re.IGNORECASE | re.DOTALL)
"""A text that begins or ends with a blank, or like a URL of which a slash or the scheme is missing.
Messages never contain it: the rest may be a secret.
"""
_NO_URL = "not a URL such as https://login.example.com/keys, without blanks around it"

EXAMPLE = """\
## [identity.issuers."https://login.example.com"]
## jwks = "jwks.json"               # file, or https URL, of the issuer's keys (its jwks_uri)
## audience = "https://my-app"      # your name in its tokens (aud); a list: any of them
## algorithms = ["RS256", "ES256"]  # accepted signatures; default: RS256, PS256, ES256, EdDSA
## types = ["at+jwt", "JWT"]        # accepted typ headers; default: at+jwt; "": none is needed
## principal_claim = "sub"          # claim with the principal's id; /a/b is a nested claim
## roles_claim = ""                 # claim with the principal's roles
## tenant_claim = ""                # claim with the tenant, or:
## tenant = ""                      # tenant of all tokens of this issuer
## ca = ""                          # trusted root certificates; default: the system's
## [identity.issuers."https://login.example.com".introspection]  # ask whether tokens are revoked
## url = "https://login.example.com/oauth2/introspect"
## client_id = "guardrail"
## secret_file = "client-secret"    # file with the client's secret, mode 0600
## interval_s = 60                  # each token is asked about at most this often
## timeout_ms = 2000                # time for one request
"""
"""The keys of the table of an issuer, for the settings file that ``guardrail init`` writes."""


@dataclass(frozen=True, slots=True)
class IntrospectionSettings:
    """One table ``[identity.issuers."ISSUER".introspection]``."""

    url: str
    """The issuer's introspection endpoint (RFC 7662)."""
    client_id: str
    """The name under which guardrail asks."""
    secret_file: Path
    """The file with its secret, mode 0600."""
    interval_s: int = 60
    """Seconds for which an answer about a token is valid."""
    timeout_ms: int = 2000
    """Time for one request, in milliseconds."""


@dataclass(frozen=True, slots=True)
class IssuerSettings:
    """One table ``[identity.issuers."ISSUER"]``."""

    issuer: str
    """The claim ``iss`` of its tokens, or the trust domain of SPIFFE JWT-SVIDs
    (``spiffe://DOMAIN``).
    """
    jwks: str
    """The absolute path of a file, or a URL."""
    audience: tuple[str, ...]
    algorithms: tuple[str, ...] = _USUAL
    types: tuple[str, ...] = ()
    """Accepted ``typ`` headers in lower case, without ``application/``."""
    principal_claim: str = "sub"
    roles_claim: str = ""
    tenant_claim: str = ""
    tenant: str = ""
    ca: Path | None = None
    introspection: IntrospectionSettings | None = None
    """The endpoint that knows which tokens are revoked, or None."""

    @property
    def is_spiffe(self) -> bool:
        """True if the issuer is a SPIFFE trust domain."""
        return self.issuer.startswith("spiffe://")

    @property
    def is_url(self) -> bool:
        """True if ``jwks`` is a URL."""
        return _URL.match(self.jwks) is not None

    def governed(self) -> dict[str, Any]:
        """Return the settings as JSON, without paths. URLs are complete, so that a change of a
        secret in one is noticed.
        """
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        found["jwks"] = self.jwks if self.is_url else "file"
        found["ca"] = self.ca is not None
        del found["introspection"]
        if self.introspection is not None:
            asked = self.introspection
            found["introspection"] = {
                "url": asked.url,
                "client_id": asked.client_id,
                "interval_s": asked.interval_s,
                "timeout_ms": asked.timeout_ms,
            }
        return found


def issuers_in(value: object, base: Path, where: str) -> tuple[IssuerSettings, ...]:
    """Return the issuers in *value*, a table of tables or already parsed settings.

    Relative paths are relative to *base*; *where* names the setting in errors. Raises
    ``ConfigError``.
    """
    if isinstance(value, tuple) and all(isinstance(item, IssuerSettings) for item in value):
        return value
    if not isinstance(value, Mapping):
        raise _error(where, "is not a table of issuers")
    if len(value) > _MAX_ISSUERS:
        raise _error(where, f"has more than {_MAX_ISSUERS} issuers")
    return tuple(_issuer(str(name), table, base, where) for name, table in sorted(value.items()))


def _issuer(name: str, table: object, base: Path, where: str) -> IssuerSettings:
    if not _ISSUER.fullmatch(name) or _MALFORMED_URL.match(name):
        raise _error(f"the name of a table in {where}", "is not the URL of an issuer")
    place = f'{where}."{shown_url(name)}"'
    if shown_url(name) != name:
        # It would be in the record of every call (RFC 8414, section 2).
        raise _error(place, "has user information, a query or a fragment, which no issuer has")
    if name.startswith("spiffe:") and not _DOMAIN.fullmatch(name):
        raise _error(place, "is not a SPIFFE trust domain, such as spiffe://example.org")
    if not isinstance(table, Mapping):
        raise _error(place, "is not a table")
    known = [item.name for item in fields(IssuerSettings) if item.name != "issuer"]
    _refuse_unknown(table, known, place)
    texts = {
        key: _text(table, key, place)
        for key in ("jwks", "principal_claim", "roles_claim", "tenant_claim", "tenant", "ca")
    }
    if not texts["jwks"]:
        raise _error(place, "has no jwks: the file or the https URL of the issuer's keys")
    if _MALFORMED_URL.match(texts["jwks"]):
        raise _error(place, f"jwks is {_NO_URL}, nor the path of a file")
    audience = _texts(table, "audience", place)
    if not audience or "" in audience:
        raise _error(place, "has no audience: without it, tokens for other programs are accepted")
    if texts["tenant"] and texts["tenant_claim"]:
        raise _error(place, "sets both tenant and tenant_claim")
    is_url = _URL.match(texts["jwks"]) is not None
    return IssuerSettings(
        issuer=name,
        jwks=texts["jwks"] if is_url else str(base / texts["jwks"]),
        audience=audience,
        algorithms=_algorithms(table, place),
        types=_types(table, place, spiffe=name.startswith("spiffe://")),
        principal_claim=_principal_claim(texts["principal_claim"], name, place),
        roles_claim=texts["roles_claim"],
        tenant_claim=texts["tenant_claim"],
        tenant=texts["tenant"],
        ca=base / texts["ca"] if texts["ca"] else None,
        introspection=_introspection(table, base, place),
    )


def _refuse_unknown(table: Mapping[Any, Any], known: list[str], place: str) -> None:
    for key in table:
        if key not in known:
            import difflib

            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            suggestion = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
            raise _error(place, f"has no key {key!r}; {suggestion}")


def _introspection(
    table: Mapping[Any, Any], base: Path, place: str
) -> IntrospectionSettings | None:
    inner = table.get("introspection")
    if inner is None:
        return None
    place += ".introspection"
    if not isinstance(inner, Mapping):
        raise _error(place, "is not a table")
    _refuse_unknown(inner, [item.name for item in fields(IntrospectionSettings)], place)
    texts = {key: _text(inner, key, place) for key in ("url", "client_id", "secret_file")}
    for key, text in texts.items():
        if not text:
            raise _error(place, f"has no {key}")
    if _MALFORMED_URL.match(texts["url"]) or not _URL.match(texts["url"]):
        raise _error(place, f"url is {_NO_URL}")
    if not texts["client_id"].isprintable():
        raise _error(place, "client_id has a character that can't be printed")
    return IntrospectionSettings(
        texts["url"],
        texts["client_id"],
        base / texts["secret_file"],
        _number(inner, "interval_s", 60, place, most=3600),
        _number(inner, "timeout_ms", 2000, place, most=10_000),
    )


def _number(table: Mapping[Any, Any], key: str, default: int, place: str, *, most: int) -> int:
    value = table.get(key, default)
    if type(value) is not int or not 1 <= value <= most:
        raise _error(place, f"{key} is not a whole number from 1 to {most}")
    return value


def _principal_claim(claim: str, issuer: str, place: str) -> str:
    if issuer.startswith("spiffe://") and claim not in ("", "sub"):
        raise _error(place, "is a SPIFFE trust domain: principal_claim is always sub")
    return claim or "sub"


def _algorithms(table: Mapping[Any, Any], place: str) -> tuple[str, ...]:
    algorithms = _texts(table, "algorithms", place) or _USUAL
    for each in algorithms:
        if each not in ALGORITHMS:
            raise _error(
                place,
                f"has the algorithm {each!r}; asymmetric algorithms are {', '.join(ALGORITHMS)}",
            )
    return algorithms


def _types(table: Mapping[Any, Any], place: str, *, spiffe: bool) -> tuple[str, ...]:
    # JWT-SVIDs have the type JWT or JOSE, or none (SPIFFE JWT-SVID, section 2.3).
    usual = ("jwt", "jose", "") if spiffe else ("at+jwt",)
    types = _texts(table, "types", place) or usual
    return tuple(each.lower().removeprefix("application/") for each in types)


def _text(table: Mapping[Any, Any], key: str, place: str) -> str:
    value = table.get(key, "")
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str):
        raise _error(place, f"{key} is not a string")
    return value


def _texts(table: Mapping[Any, Any], key: str, place: str) -> tuple[str, ...]:
    value = table.get(key, ())
    entries = [value] if isinstance(value, str) else value
    if not isinstance(entries, list | tuple) or not all(isinstance(each, str) for each in entries):
        raise _error(place, f"{key} is not a string or a list of strings")
    return tuple(entries)


def _error(place: str, what: str) -> ConfigError:
    return ConfigError(f"{place} {what}", code="config.issuer")
