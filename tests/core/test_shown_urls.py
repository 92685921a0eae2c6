"""The parts of URLs that messages and records contain."""

from __future__ import annotations

import pytest

from guardrail.core.shown_urls import shown_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://login.example.com/keys", "https://login.example.com/keys"),
        ("https://[::1]:8443/keys", "https://[::1]:8443/keys"),
        ("http://127.0.0.1:80", "http://127.0.0.1:80"),
        ("https://x/keys?key=SECRET", "https://x/keys?..."),
        ("https://x?key=SECRET#more", "https://x?..."),
        ("https://x/keys#SECRET", "https://x/keys#..."),
        ("https://user:SECRET@x/keys", "https://...@x/keys"),
        ("https://SECRET@x:8443/keys?key=SECRET", "https://...@x:8443/keys?..."),
        ("https://@x/", "https://...@x/"),
        ("https://user:SEC/RET@x/keys", "https://...@x/keys"),
        ("https://user:SECRET@SECRET@x/", "https://...@x/"),
        ("https://user:SECRET?RET@x/keys", "https://...?..."),
        ("https://user:12345?SECRET@x/keys", "https://...?..."),
        ("https://x/keys?mail=SECRET@x", "https://x/keys?..."),
        ("https://[::1]:8443?SECRET", "https://[::1]:8443?..."),
        ("HTTPS://user:SECRET@x/", "HTTPS://...@x/"),
        ("spiffe://example.org", "spiffe://example.org"),
        ("jwks?.json", "jwks?.json"),
        ("file", "file"),
        ("", ""),
    ],
)
def test_user_information_queries_and_fragments_are_not_shown(url: str, shown: str) -> None:
    assert shown_url(url) == shown
    assert "SECRET" not in shown
