"""The rules that find sensitive values: the built-in ones, and those that a site adds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from guardrail.core.redaction.detectors.scan import scan, scan_secrets
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
        self._known: dict[str, Named | None] = {}
        self.mark_of_key: Callable[[str], Named | None] = (
            self._mark_of_key if self._names else mark_of_key
        )
        """Returns the classification of a key, or None if it has none."""
        self.scan: Callable[..., list[Hit]] = self._scan if self._patterns else scan
        """Returns the parts of a text to remove (``detectors.scan.scan``)."""
        self.scan_secrets: Callable[..., list[Hit]] = (
            self._scan_secrets if self._patterns else scan_secrets
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


def _merged(hits: list[Hit], site: Iterable[Hit]) -> list[Hit]:
    both = [*hits, *site]
    return merge_hits(both) if len(both) > len(hits) else hits


BUILT_IN = Rules()
"""The built-in rules alone."""


def is_class(name: str) -> bool:
    """Return True if a site may use *name* for a class: a built-in class, or a name of its own."""
    return name in CLASSES or (is_class_name(name) and name not in _RESERVED)
