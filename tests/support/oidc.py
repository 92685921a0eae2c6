"""A real OpenID Connect provider, the package oidc-provider for Node, and a person who logs in to
it without a browser.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx2

from tests.support.node import node_program

CALLBACK = "http://127.0.0.1/callback"
"""Where the provider sends a person who has logged in. Nobody listens there: the code is in the
address.
"""
_WEB = ("web", "web-secret")
_JOB = ("nightly-job", "job-secret")


class OidcProvider:
    """A running provider."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.issuer = self._answer()

    @property
    def jwks_uri(self) -> str:
        """The address of its keys, from its metadata."""
        found = httpx2.get(f"{self.issuer}/.well-known/openid-configuration").json()
        assert found["issuer"] == self.issuer
        return str(found["jwks_uri"])

    def rotate(self) -> None:
        """Sign with a new key from now on. The old ones are still published."""
        self._tell("rotate")

    def retire(self) -> None:
        """Publish only the newest key."""
        self._tell("retire")

    def stop(self) -> None:
        """End the process. Idempotent."""
        self._process.kill()
        self._process.communicate()

    def token_of_job(self, audience: str) -> str:
        """Return an access token of a program (client credentials)."""
        body = {"grant_type": "client_credentials", "scope": "orders", "resource": audience}
        return str(self._tokens(body, _JOB)["access_token"])

    def log_in(self, user: str, audience: str) -> dict[str, Any]:
        """Return the tokens of a person: authorization code with PKCE, through the provider's pages
        for login and consent.
        """
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        asked = {
            "client_id": _WEB[0],
            "response_type": "code",
            "redirect_uri": CALLBACK,
            "scope": "openid orders",
            "resource": audience,
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        with httpx2.Client() as browser:
            answer = browser.get(f"{self.issuer}/auth", params=asked)
            for _ in range(12):
                if answer.is_redirect:
                    place = urljoin(str(answer.url), answer.headers["location"])
                    if place.startswith(CALLBACK):
                        break
                    answer = browser.get(place)
                else:
                    answer = _submit(browser, answer, user)
            else:
                raise AssertionError(f"no end of the login: {answer.status_code} {answer.url}")
        (code,) = parse_qs(urlsplit(place).query)["code"]
        body = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": CALLBACK,
            "code_verifier": verifier,
            "resource": audience,
        }
        return self._tokens(body, _WEB)

    def _tokens(self, body: dict[str, str], client: tuple[str, str]) -> dict[str, Any]:
        answer = httpx2.post(f"{self.issuer}/token", data=body, auth=client)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        assert self._answer() == line

    def _answer(self) -> str:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("told: "):
                return line.removeprefix("told: ").strip()
        raise AssertionError(self._process.communicate())


def _submit(browser: httpx2.Client, page: httpx2.Response, user: str) -> httpx2.Response:
    """Fill in and send the form of a page of the provider."""
    assert page.status_code == 200, page.text
    (action,) = re.findall(r'<form[^>]*action="([^"]+)"', page.text)
    fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="(\w+)"', page.text))
    if 'name="login"' in page.text:
        fields |= {"login": user, "password": "any"}
    return browser.post(urljoin(str(page.url), action), data=fields)


@contextmanager
def oidc_provider() -> Iterator[OidcProvider]:
    """Start a provider. The test is skipped if the packages for Node are not installed, which
    counts as a failure in CI.
    """
    argv, variables = node_program("oidc", "serve")
    process = subprocess.Popen(
        argv,
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        provider = OidcProvider(process)
        yield provider
    finally:
        process.kill()
        process.communicate()
