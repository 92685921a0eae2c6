"""Formats numbers in sentences: ``1 record``, ``2 records``, ``record 7``, ``records 7 to 9``."""

from __future__ import annotations

__all__ = ["agree", "counted", "numbers", "plural_of"]

_IRREGULAR = {
    "is": "are",
    "was": "were",
    "has": "have",
    "does": "do",
    "needs": "need",
    "makes": "make",
    "stands": "stand",
    "stays": "stay",
    "keeps": "keep",
    "appears": "appear",
    "class": "classes",
    "matches": "match",
    "person": "people",
    "process": "processes",
    "witness": "witnesses",
    "hash": "hashes",
    "copy": "copies",
    "entry": "entries",
    "policy": "policies",
}


def plural_of(word: str) -> str:
    """Return the plural of a noun, or of a verb in the third person."""
    return _IRREGULAR.get(word, f"{word}s")


def agree(count: float, word: str) -> str:
    """Return the form of *word* for *count*: ``is`` or ``are``, ``record`` or ``records``."""
    return word if count == 1 else plural_of(word)


def counted(count: int, words: str) -> str:
    """Return a count with its noun, such as ``1 open call``, ``2 open calls`` or
    ``1,000 open calls``. The last word is the noun.
    """
    before, _, noun = words.rpartition(" ")
    return f"{count:,} {before}{' ' if before else ''}{agree(count, noun)}"


def numbers(first: int, last: int, word: str = "record") -> str:
    """Return ``record 7`` or ``records 7 to 9``: the numbers in the form that ``guardrail show``
    accepts.
    """
    return f"{word} {first}" if first == last else f"{plural_of(word)} {first} to {last}"
