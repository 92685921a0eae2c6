"""Returns the part of a URL that may be shown in messages and records."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["shown_url"]

_URL: Final = re.compile(r"([a-z][a-z0-9+.-]*://)([^/?#]*)([^?#]*)([?#]?)", re.IGNORECASE)
_HOST: Final = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::[0-9]*)?")


def shown_url(url: str) -> str:
    """Return *url* without its user information, query and fragment, each of which may be or
    contain a secret: ``...`` stands for it. A text that is not a URL is returned unchanged.
    """
    parts = _URL.match(url)
    if parts is None:
        return url
    scheme, host, path, rest = parts.groups()
    # A password may contain a slash that is not escaped.
    before, at, after = f"{host}{path}".rpartition("@")
    later = ":" in host and "@" in url[parts.end() :]
    if not at and (later or _HOST.fullmatch(host) is None):
        after = "..."  # the beginning of a password that contains a question mark
    hidden = "...@" if before or at else ""
    return f"{scheme}{hidden}{after}{rest and rest + '...'}"
