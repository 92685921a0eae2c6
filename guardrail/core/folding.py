"""Folds ids to their visible form, so that two spellings that could identify the same person are
equal.

Use it only to refuse, never to allow.
"""

from __future__ import annotations

import unicodedata

__all__ = ["folded"]

# Invisible characters outside the categories C and Z: Unicode's default-ignorable characters,
# joiners and fillers that only affect the layout of their neighbours, blank glyphs, and strokes
# that only extend a word.
_BLANK = (
    ("\u034f", "\u034f"),
    ("\u0640", "\u0640"),
    ("\u07fa", "\u07fa"),
    ("\u115f", "\u1160"),
    ("\u17b4", "\u17b5"),
    ("\u180b", "\u180f"),
    ("\u2800", "\u2800"),
    ("\u2d7f", "\u2d7f"),
    ("\u303f", "\u303f"),
    ("\u3164", "\u3164"),
    ("\ufe00", "\ufe0f"),
    ("\uffa0", "\uffa0"),
    ("\ufffc", "\ufffc"),
    ("\U0001107f", "\U0001107f"),
    ("\U00013441", "\U00013442"),
    ("\U00016fe4", "\U00016fe4"),
    ("\U0001d159", "\U0001d159"),
    ("\U000e0000", "\U000e0fff"),
)

# Greek and Cyrillic letters that look like Latin letters, in lower or upper case.
_LOOKS_LIKE = str.maketrans(
    "\u0430\u0432\u0435\u043a\u043c\u043d\u043e\u0440\u0441\u0442\u0443\u0445\u0455\u0456\u0458\u0475\u04bb\u04cf\u0501\u051b\u051d"
    "\u03b1\u03b2\u03b5\u03b6\u03b9\u03ba\u03bc\u03bd\u03bf\u03c1\u03c4\u03c5\u03c7\u03f3\u0131",
    "abekmhopctyxsijvhldqw" + "abezikmvoptyxji",
)


def folded(text: str) -> str:
    """Return the visible form of the id *text*, without differences in case or Unicode form, or an
    empty string if nothing is visible.

    Blanks, invisible characters and decorative combining marks are omitted. A combining mark is
    decorative if it forms no letter with the preceding character, unless both belong to one script
    whose marks are letters. Common Greek and Cyrillic letters that look like Latin ones are
    replaced by those letters.
    """
    if text.isascii():
        return "".join(character for character in text.casefold() if "!" <= character <= "~")
    # Normalise before and after this step: case folding turns a mark into a letter, and removing a
    # character joins its neighbours.
    while (new := _visible_form(_visible_form(text).casefold()).translate(_LOOKS_LIKE)) != text:
        text = new
    return text


def _visible_form(text: str) -> str:
    text = "".join(filter(_is_drawn, unicodedata.normalize("NFKC", text)))
    kept: list[str] = []
    script = ""
    marks: set[str] = set()
    for character in unicodedata.normalize("NFKC", text):
        if unicodedata.category(character)[0] != "M":
            script, marks = _script(character), set()
        elif not script or character in marks or _script(character) != script:
            continue  # a mark that is drawn twice at one position looks like a single mark
        else:
            marks.add(character)
        kept.append(character)
    return "".join(kept)


def _is_drawn(character: str) -> bool:
    if unicodedata.category(character)[0] in "CZ":
        return False
    return not any(first <= character <= last for first, last in _BLANK)


def _script(character: str) -> str:
    """Return the first word of the Unicode name of a letter or mark, which identifies its script,
    or an empty string for other characters.
    """
    if unicodedata.category(character)[0] not in "LM":
        return ""
    return unicodedata.name(character, "").partition(" ")[0]
