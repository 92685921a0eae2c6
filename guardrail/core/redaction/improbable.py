"""Decides whether a value is so unlikely to occur by chance that it can be recognised anywhere in a
session.

Words, identifiers, paths, numbers and dates occur by chance. If the session remembered such a value
(from a page that a tool read, or from arguments that a model made up), it would be removed from
every later record. Such a value is hidden only if an annotation, a key or a detector identifies it.
"""

from __future__ import annotations

import re

from guardrail.core.redaction.detectors.cards import is_card

__all__ = ["MIN_VALUE", "improbable"]

MIN_VALUE = 6
_DISTINCT = 4
_SHORT_WORD, _LONG_WORD = 9, 24
_LONG_PHRASE, _PHRASE_WORDS = 20, 4
_MANY_CHANGES = 3

_DIGITS = re.compile(r"[0-9]{6,}\Z")
# Digits with punctuation between them: amounts, versions, addresses, and dates and times with or
# without a zone.
_NUMBER = re.compile(r"[+\-]?[0-9]+(?:[.,][0-9]+)*(?:[eE][+\-]?[0-9]+)?\s?[A-Za-z%]{0,3}\Z")
_DATE = re.compile(
    r"(?:[0-9]{4}([\-/.])[0-9]{1,2}\1[0-9]{1,2}|[0-9]{1,2}([\-/.])[0-9]{1,2}\2(?:[0-9]{2}){1,2})"
    r"(?:[T ][0-9:.]+(?:Z|[+\-][0-9:]+)?)?\Z"
)
_TIME = re.compile(r"[0-9]{1,2}:[0-9]{2}(?::[0-9.]+)?\Z")
_VERSION = re.compile(r"[0-9]+(?:\.[0-9]+)+")
_SOME_DIGITS = 9
# Database ids and times in nanoseconds have up to twenty digits.
_LONG_NUMBER = 24
_PIECES = re.compile(r"[^\W_]+")
# Separators in identifiers, paths, query strings and prose. Any other character suggests a
# password.
_ORDINARY = re.compile(r"[\w\s\-./\\:,;'@&=?+()<>\[\]{}#]*[!\"%*$|`]?\Z")
_LEADING = "\"'`$%*!"
_ADDRESS = re.compile(r"[^\s@]{1,64}@[^\s@]{1,255}\.[^\s@]{2,63}\Z")
_WORD_AND_NUMBER = re.compile(
    r"(?:[a-z]{3,16}|[A-Z]{2,16}|[A-Za-z])[0-9]+\Z|[A-Z][a-z]{1,15}[0-9]{1,3}\Z"
)
_NUMBER_AND_UNIT = re.compile(r"[0-9]+[A-Za-z]{0,3}\Z")
_WORD_AND_YEAR = re.compile(r"[A-Z][a-z]{2,15}[0-9]{4,}\w?\Z")
# The pattern takes the character before the change, because ``re`` skips to such characters fast.
_CHANGE = re.compile(r"[^\W\d_](?=[0-9])|[0-9](?=[^\W\d_])")
# matches hunter2-and-more, but not sha256-digest
_WORD_WITH_FIGURE = re.compile(r"[a-z]{4,16}[0-9]{1,2}\Z")
_TECHNICAL = re.compile(
    r"(?:base|http|oauth|uint|float|node|python|java|version|step|line|page|item|part|chapter|level|tier|phase|room|test|user"
    r"|group|table|region|zone|east|west|north|south|central|stage|host|server|port|disk|address|field|column|option|type)[0-9]"
)
# A serial number of six digits or more, as in credit_card_4421486.
_SERIAL = re.compile(r"(?<![0-9])(?!(?:19|20)[0-9]{2}[01][0-9][0-3][0-9](?![0-9]))[0-9]{6,}")
_PATH = re.compile(r"[/\\=&]")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# A change of case or between letters and digits. In identifiers, most changes belong to the words:
# the first letter of each is a capital (getUserName).
_SWITCH = re.compile(r"[a-z](?=[A-Z0-9])|[A-Z](?=[a-z0-9])|[0-9](?=[A-Za-z])")
_TITLED = re.compile(r"(?<![A-Z])[A-Z][a-z]{2}")
_RANDOM_SIZE = 10
_CONSONANTS = re.compile(r"[bcdfghjklmnpqrstvwxz]{5}", re.IGNORECASE)


def improbable(value: str) -> bool:
    """Return True if *value* (ASCII or normalised) is unlikely to occur by chance."""
    if len(value) < MIN_VALUE or (
        len(value) <= _SHORT_WORD and value.isalpha() and value.isascii()
    ):
        return False
    core = value.strip()
    if _DIGITS.match(core):
        return is_card(core) or (len(core) > _LONG_NUMBER and len(set(core)) >= _DISTINCT)
    if not _has_letters(core):
        return _is_assigned_number(core)
    if len(set(value)) < _DISTINCT:
        return False
    if len(core) < MIN_VALUE:
        # Blanks around a value count, as in "  ab12 ". Blanks around a word or a number are part of
        # any sentence.
        return any(map(str.isdigit, core))
    if "@" in core and _ADDRESS.match(core):
        return True
    if _NUMBER.match(core) or _DATE.match(core):
        return False
    if not _ORDINARY.match(core.lstrip(_LEADING)):
        return True
    pieces = _PIECES.findall(core)
    if not all(map(_is_usual_part, pieces)):
        return True
    if sum(_count_alternations(piece) for piece in pieces) >= _MANY_CHANGES:
        return True
    return _switches_often(core, pieces) or _is_distinctive_phrase(core, pieces)


def _has_letters(core: str) -> bool:
    return core.lower() != core.upper() if core.isascii() else any(map(str.isalpha, core))


def _is_assigned_number(core: str) -> bool:
    """Return True if digits without letters are an assigned number rather than an amount, date or
    version.
    """
    if _NUMBER.match(core) or _DATE.match(core) or _TIME.match(core):
        return False
    return sum(map(str.isdigit, core)) >= _SOME_DIGITS or not _ORDINARY.match(core)


def _is_usual_part(piece: str) -> bool:
    """Return True if one part of a value is a word, a number or a usual mix of both."""
    if piece.isdigit():
        return True
    if piece.isalpha():
        return not _random_letters(piece)
    if len(piece) >= _LONG_PHRASE:
        return False
    if _WORD_AND_NUMBER.match(piece) or _NUMBER_AND_UNIT.match(piece):
        return True
    return (len(piece) < MIN_VALUE or len(_CHANGE.findall(piece)) < 2) and _WORD_AND_YEAR.match(
        piece
    ) is None


def _random_letters(piece: str) -> bool:
    if len(piece) <= _SHORT_WORD:
        return False
    if not piece.isascii():
        return len(piece) >= _LONG_WORD
    words = _CAMEL.split(piece)
    if len(words) > 1 and sum(map(len, words)) >= 3 * len(words):
        return any(len(word) >= _LONG_WORD or _is_unpronounceable(word) for word in words)
    # In aBcDeF, the case changes at every other letter, which does not happen in words.
    return len(words) > _PHRASE_WORDS or len(piece) >= _LONG_WORD or _is_unpronounceable(piece)


def _is_unpronounceable(word: str) -> bool:
    return len(word) >= 10 and _CONSONANTS.search(word) is not None


def _count_alternations(piece: str) -> int:
    """Return the number of alternations between letters and digits in *piece*, not counting a word
    followed by its number.
    """
    if piece.isalpha() or (piece[:3].islower() and _WORD_AND_NUMBER.match(piece)):
        return 0
    return len(_CHANGE.findall(piece))


def _switches_often(core: str, pieces: list[str]) -> bool:
    """Return True if case, letters and digits alternate at every third character, apart from the
    beginnings of words.
    """
    size = sum(map(len, pieces))
    if size < _RANDOM_SIZE or core.islower() or core.isupper():
        return False
    switches = sum(len(_SWITCH.findall(piece)) for piece in pieces)
    return 3 * (switches - len(_TITLED.findall(core))) >= size


def _is_distinctive_phrase(core: str, pieces: list[str]) -> bool:
    """Return True if several words together are distinctive: a name, a sentence, or a mix that does
    not occur in identifiers.
    """
    if _SERIAL.search(core) and not _PATH.search(core):
        return True
    if len(pieces) < 2:
        return any(map(str.isdigit, core)) and core[-1] in "!$*"
    if " " in core:
        titled = sum(piece[0].isupper() and piece[1:].islower() for piece in pieces)
        if titled >= 2 and titled == len(pieces):
            return True
        if len(pieces) >= _PHRASE_WORDS and len(core) >= _LONG_PHRASE:
            return True
    if len(core) < 12:
        return False
    if any(_WORD_WITH_FIGURE.match(piece) and not _TECHNICAL.match(piece) for piece in pieces):
        return not _PATH.search(core)
    if not core.isascii():
        return True
    if not (any(map(str.isdigit, core)) and any(map(str.islower, core))):
        return False
    between = set(_PIECES.sub("", _VERSION.sub("0", core)))
    return len(between) > 1 and between.isdisjoint("/\\:_@=&")
