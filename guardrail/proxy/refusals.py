"""Records the number of requests that a listener has refused, by reason."""

from __future__ import annotations

from guardrail.call.refusal_counts import RefusalCounts

__all__ = ["RefusedRequests"]


class RefusedRequests(RefusalCounts):
    """Counts refused requests."""

    _type = "requests_refused"

    def note(self, code: str) -> None:
        """Count a request that was refused with *code*. Never blocks."""
        self._add(reasons=code)
