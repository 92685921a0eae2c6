"""Searches every line of a ledger for tokens, if there is no index."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from guardrail.review.index.rows import tokens_of
from guardrail.review.lookup import TokensOf

__all__ = ["search_lines"]

_DIGITS = 24


def search_lines(
    lines: Iterable[tuple[int, bytes, bytes]], wanted: TokensOf, tenants: Collection[str]
) -> tuple[set[str], list[str], list[int]]:
    """Return the kinds of all tokens in *lines*, the tokens that were searched for, and the numbers
    of the lines that contain one of them, in order.
    """
    kinds: set[str] = set()
    tokens: set[str] = set()
    seqs: list[int] = []
    for seq, _, line in lines:
        hit = False
        for token, _ in tokens_of(line) if b"gr1:" in line else ():
            kind = token[:-_DIGITS]
            if kind not in kinds:
                kinds.add(kind)
                tokens.update(wanted([kind], tenants))
            hit = hit or token in tokens
        if hit:
            seqs.append(seq)
    return kinds, sorted(tokens), seqs
