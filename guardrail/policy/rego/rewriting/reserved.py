"""Refuses the names that rewriting inserts, so that policies can't use them."""

from __future__ import annotations

from collections.abc import Iterator

from guardrail.errors import Finding
from guardrail.policy.rego.rewriting.keywords import PREFIX
from guardrail.policy.sources import ModuleSource
from guardrail.policy.tokens import tokens

__all__ = ["reserved_names"]


def reserved_names(source: ModuleSource) -> Iterator[Finding]:
    """Yield a finding for each use of ``guardrail.name``, except in the package's name and after
    ``data``, and for each name that begins like that of a renamed rule.
    """
    if source.installed or not ("guardrail" in source.text or PREFIX in source.text):
        return
    raw = source.text.encode("utf-8")
    if PREFIX in source.text:
        yield Finding(
            source.name,
            raw.count(b"\n", 0, raw.find(PREFIX.encode())) + 1,
            "builtin",
            f"names that begin with {PREFIX} are reserved",
            "use another name",
        )
    written = list(tokens(raw))
    for before, token, after in zip(written, written[1:], written[2:], strict=False):
        own = token.written == b"guardrail" and after.written == b"."
        if own and before.written not in {b".", b"package"}:
            yield Finding(
                source.name,
                raw.count(b"\n", 0, token.start) + 1,
                "builtin",
                "guardrail is not the name of a function or variable that a policy can use",
                "write the reference in full, data.guardrail...",
            )
