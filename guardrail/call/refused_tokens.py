"""Records how many tokens were refused, by reason, issuer and address."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Mapping
from typing import Any

from guardrail.call.refusal_counts import OTHERS, RefusalCounts

__all__ = ["RefusedTokens"]


class RefusedTokens(RefusalCounts):
    """Counts refused tokens."""

    _type = "tokens_refused"
    _most = {"addresses": 16}  # noqa: RUF012 - not changed

    def note(self, reason: str, issuer: str | None, address: str | None) -> None:
        """Count a token that was refused for *reason*. Never blocks.

        *issuer* is the configured issuer that the token names, which is not verified, or None.
        *address* is the client's address, or None if it is not known. Servers take it from a
        header, which can be any text: one that is no IP address is counted as ``others``.
        """
        self._add(reasons=reason, issuers=issuer, addresses=_ip_address(address))

    def _detail(self, counts: Mapping[str, Counter[str]]) -> dict[str, Any]:
        detail: dict[str, Any] = {"issuers": {}, "addresses": {}, **super()._detail(counts)}
        return {**detail, "count": counts["reasons"].total()}


def _ip_address(text: str | None) -> str | None:
    """Return an address in its usual form, without its zone, which can be any text too."""
    if text is None:
        return None
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return OTHERS
