"""The rules that find sensitive values: the built-in ones, and those that a site adds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from guardrail.core.redaction.detectors.scan import scan, scan_secrets
from guardrail.core.redaction.expressions import is_reference
from guardrail.core.redaction.key_forms import words
from guardrail.core.redaction.key_names import CLASSES
from guardrail.core.redaction.limits import unmetered
from guardrail.core.redaction.marks import FILLER, MARK_PREFIX, is_class_name, mask_marks
from guardrail.core.redaction.name_marks import Named, mark_of_key
from guardrail.core.redaction.schema_marks import Mark, merge_marks
from guardrail.core.redaction.spans import JOINT, Hit, merge_hits

__all__ = ["BUILT_IN", "Find", "Rules", "SitePattern", "is_class"]

_RESERVED = frozenset({"undeclared", "unfit", "undecided", "text", "result", "data", "hint"})
"""Names that a site can't use for a class, because tokens and records use them already."""
_SMALL = 99_999
"""Built-in rules find nothing in an integer of up to five digits."""
_CACHED = 4_096
_ANY = re.compile(f"[^{JOINT}{FILLER}]+")

# After a name of a site in a text: a sign and a value, or "is" or a blank and a value with a digit.
_AFTER_NAME = (
    r"[\"'\])]{0,2}(?:[ \t]{0,3}(?:=>?|:)[ \t]{0,3}(?:\"(?P<two>[^\"\n\x00\x01]{1,256})|'(?P<one>[^'\n\x00\x01]{1,256})|(?P<bare>[^\s\"',;&<>(){}\x00\x01]{1,256}))"
    r"|[ \t]{1,3}(?:(?:is|was|no\.?|nr\.?|#)[ \t]{0,3})?(?P<word>(?=[^\s\"',;&<>(){}]{0,64}\d)[^\s\"',;&<>(){}\x00\x01]{1,64}))"
)
_SPLIT = re.compile(r"[\W_]+|(?<=[a-z0-9])(?=[A-Z])")

Find = Callable[[str], Iterable[tuple[int, int]]]
"""Returns the start and the end of each match in a text, in order. Takes linear time per match."""


@dataclass(frozen=True, slots=True)
class SitePattern:
    """A pattern that a site added: the matching part of a text is of class ``cls``."""

    cls: str
    find: Find


class Rules:
    """The rules of one redactor. Without arguments, only the built-in rules.

    A site's rules are added to the built-in ones and can't replace them: the strictest class wins,
    and the record names all rules that matched.
    """

    __slots__ = (
        "_known",
        "_named",
        "_names",
        "_patterns",
        "mark_of_key",
        "profile",
        "scan",
        "scan_secrets",
        "unscanned",
    )

    def __init__(
        self,
        names: Mapping[str, str] | None = None,
        patterns: Iterable[SitePattern] = (),
        *,
        profile: str = "standard/1",
    ) -> None:
        """Add rules of a site. *names* maps names of keys to classes: a key has the class if its
        last words are the words of the name, in any spelling (``locker_no``, ``employeeLockerNo``).
        *profile* is the name of the rules, as records contain it.
        """
        self.profile = profile
        self._names = {tuple(words(name)): cls for name, cls in (names or {}).items()}
        self._patterns = tuple(patterns)
        self.unscanned = -1 if self._patterns else _SMALL
        """Integers up to this absolute value are not scanned."""
        self._named = [
            (cls, pattern)
            for name, cls in (names or {}).items()
            if (pattern := _pattern_of_name(name)) is not None
        ]
        self._known: dict[str, Named | None] = {}
        self.mark_of_key: Callable[[str], Named | None] = (
            self._mark_of_key if self._names else mark_of_key
        )
        """Returns the classification of a key, or None if it has none."""
        self.scan: Callable[..., list[Hit]] = self._scan if self._patterns or self._named else scan
        """Returns the parts of a text to remove (``detectors.scan.scan``)."""
        self.scan_secrets: Callable[..., list[Hit]] = (
            self._scan_secrets if self._patterns or self._named else scan_secrets
        )
        """Returns only the hits of class ``secret``."""

    def _mark_of_key(self, name: str) -> Named | None:
        if name in self._known:
            return self._known[name]
        found = self._with_site_class(name, mark_of_key(name))
        if len(self._known) < _CACHED:
            self._known[name] = found
        return found

    def _with_site_class(self, name: str, found: Named | None) -> Named | None:
        own = words(name)
        cls = next(
            (
                self._names[tail]
                for at in range(len(own))
                if (tail := tuple(own[at:])) in self._names
            ),
            None,
        )
        if cls is None:
            return found
        mark = Mark(cls, (f"key:{cls}",))
        if found is None:
            return mark, None, None, False, False
        built_in, _, only, odd, valued = found
        # A built-in class that applies only to containers must not apply to other values.
        merged = mark if built_in is None or only else merge_marks(built_in, mark)
        return merged, None, None, odd, valued

    def _scan(self, text: str, spend: Callable[[int], None] = unmetered) -> list[Hit]:
        return _merged(scan(text, spend), self._site_hits(text, spend))

    def _scan_secrets(self, text: str, spend: Callable[[int], None] = unmetered) -> list[Hit]:
        site = [hit for hit in self._site_hits(text, spend) if hit.cls == "secret"]
        return _merged(scan_secrets(text, spend), site)

    def _site_hits(self, text: str, spend: Callable[[int], None]) -> Iterator[Hit]:
        if MARK_PREFIX in text:
            text = mask_marks(text)
        for cls, named in self._named:
            spend(len(text))
            for match in named.finditer(text):
                group = match.lastgroup or "bare"
                value = match.group(group).rstrip(".!?")
                if value and FILLER not in value and not is_reference(value):
                    yield Hit(match.start(group), match.start(group) + len(value), cls, "site")
        # Each of several joined texts is searched alone: a pattern may match any character.
        for part in _ANY.finditer(text):
            piece, start = part.group(), part.start()
            for pattern in self._patterns:
                spend(len(piece))
                for first, last in pattern.find(piece):
                    if last > first:
                        # The search continues behind the match, and may read all of the rest.
                        spend(len(piece) - last)
                        yield Hit(start + first, start + last, pattern.cls, "site")


def _pattern_of_name(name: str) -> re.Pattern[str] | None:
    """Return a pattern that finds a value after *name*, in any spelling, in a text."""
    parts = [re.escape(part) for part in _SPLIT.split(name) if part]
    if not parts:
        return None
    spelled = r"[ _.\-]?".join(parts)
    return re.compile(rf"(?:(?<![^\W_])|(?<=[a-z0-9])(?=[A-Z]))(?i:{spelled}){_AFTER_NAME}")


def _merged(hits: list[Hit], site: Iterable[Hit]) -> list[Hit]:
    both = [*hits, *site]
    return merge_hits(both) if len(both) > len(hits) else hits


BUILT_IN = Rules()
"""The built-in rules alone."""


def is_class(name: str) -> bool:
    """Return True if a site may use *name* for a class: a built-in class, or a name of its own."""
    return name in CLASSES or (is_class_name(name) and name not in _RESERVED)
