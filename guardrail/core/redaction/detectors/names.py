"""Detects the names of people in prose by the words before them: a title, a greeting, the end of a
letter, or a phrase such as "on behalf of".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from guardrail.core.redaction.key_forms import MAX_NAME
from guardrail.core.redaction.key_names import classify
from guardrail.core.redaction.key_names_foreign import folded
from guardrail.core.redaction.person_names import name_span
from guardrail.core.redaction.spans import Hit, before

__all__ = ["names"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CAPITAL = re.compile(r"[ \n:\"'(][A-Z\u00c0-\u00de\u0100-\u017f][^\W\d_]")
_BACK = 44
_PIECES = re.compile(r"[^\W\d_]+|[^\w\s]|\n")
# Words before a name, without accents. A title needs one word of a name after it.
_TITLES = _words(
    "Mr Mrs Ms Miss Mx Dr Prof Professor Herr Herrn Frau Mme Mlle Monsieur Madame Mademoiselle Sra Srta Senor Senora Senorita Signor Signora Signorina "
    "Dott Dottssa Sig Dhr Mevr Mevrouw Meneer Pani Pana Fru Senhor Senhora Sgt Capt Sayin Hr Lord Lady Sir Dame Rabbi Imam"
)
_GREETINGS = _words(
    "Dear Hi Hello Hey Hallo Liebe Lieber Geehrte Geehrter geehrte geehrter Cher Chere Bonjour Estimado Estimada Querido Querida Hola Gentile Caro Cara Egregio Ciao "
    "Beste Geachte Prezado Prezada Kaere Kjaere Kare Hej Szanowny Szanowna Drogi Droga Merhaba Ola"
)
_ENDS = _words(
    "regards sincerely faithfully truly cheers wishes gruessen grussen grusse gruesse gruss mfg cordialement salutations saludos atentamente saluti groet groeten pozdrawiam powazaniem "
    "atenciosamente cumprimentos hilsen halsningar saygilarimla thanks"
)
_CLOSINGS = _ENDS - {"cheers", "thanks", "wishes"}
# These words end a letter only if they are a line of their own.
_ENDS_ALONE = _words("best love yours warmly respectfully cordially gratefully lg vg xoxo")
_ONE = (
    "my name is|mein name ist|ich heisse|je m appelle|mon nom est|me llamo|mi nombre es|mi chiamo|il mio nome e|meu nome e|chamo me|mijn naam is|ik heet|nazywam sie|jag heter|mitt namn ar|jeg hedder|"
    "jeg heter|nimeni on|jmenuji se|benim adim|customer name is|full name is"
)
_TWO = (
    "behalf of|the name of|name of|im auftrag von|auftrag von|im namen von|namen von|nom de|la part de|nombre de|a nome di|nome di|nome de|namens|imieniu|vegne af|vegne av|uppdrag av|name is|"
    "complaint from|letter from|refund to|payment to|signed by|spoke to|spoke with|talked to|this is|i am|i m|issued to|payable to|registered to|addressed to|belongs to|gesprochen mit|ausgestellt auf|parle avec|hable con"
)
_NAMED = dict.fromkeys(_ONE.split("|"), 1) | dict.fromkeys(_TWO.split("|"), 2)
"""Phrases before a name, with the least number of words that the name has."""


def names(text: str) -> Iterator[Hit]:
    """Yield the names of people that the words before them announce."""
    end = 0
    for match in _CAPITAL.finditer(text):
        start = match.start() + 1
        if start < end or not text[start].isupper():
            continue
        left = before(text, start, _BACK)
        word = left.rstrip(" :.\"'(\n,!-").rpartition(" ")[2]
        if not word or len(word) > _LONGEST or not _announces(word):
            continue
        least = _least(left)
        if not least:
            continue
        stop = name_span(text, start, abs(least))
        if stop > start and (least > 0 or text[stop : stop + 1] in _AFTER_GREETING):
            yield Hit(start, stop, "name", "named")
            end = stop


_LONGEST = 40
_SHORT = 3
_LAST = frozenset(phrase.rpartition(" ")[2] for phrase in _NAMED)
_VERBS = _words("is ist est es e to jest by was")
_AFTER_GREETING = frozenset(",!:;\n")


@lru_cache(maxsize=4096)
def _announces(word: str) -> bool:
    """Return True if a name can follow *word*, which is usually not the case."""
    last = re.split(r"[\W_]+", folded(word))[-1] if not word.isalpha() else folded(word)
    low = last.lower()
    if (
        last in _TITLES
        or last in _GREETINGS
        or low in _ENDS
        or low in _ENDS_ALONE
        or low in _LAST
        or low in _VERBS
    ):
        return True
    info = classify(low)
    return info.cls == "name" or (info.role is not None and info.role.words > 0)


def _least(left: str) -> int:
    """Return the number of words that a name after *left* must have: 0 if *left* does not announce a
    name, and negative if the name must end the phrase. *left* contains a word.
    """
    pieces = _PIECES.findall(left)
    colon = pieces[-1] in {":", '"', "'", "("}
    while pieces and pieces[-1] in {":", ".", '"', "'", "("}:
        pieces.pop()
    if pieces[-1] == "\n":
        return _at_end(pieces)
    last = pieces[-1]
    if last == "," and len(pieces) > 1:
        # "Kind regards, Anna Bauer" on one line
        return 2 if folded(pieces[-2]).lower() in _CLOSINGS else 0
    if not last[0].isalpha():
        return 0
    plain = last if last.isascii() else folded(last)
    if plain in _TITLES and not colon:
        return 1
    if plain in _GREETINGS and not colon:
        return -1
    words = [piece for piece in pieces[-4:] if piece[0].isalpha()]
    return _of_phrase(tuple(words))


def _at_end(pieces: list[str]) -> int:
    """Return 1 if the last line ends a letter."""
    while pieces and pieces[-1] in {"\n", ",", ".", "!", "-"}:
        pieces.pop()
    line: list[str] = []
    for piece in reversed(pieces):
        if piece == "\n" or len(line) > _SHORT:
            break
        line.insert(0, folded(piece).lower())
    alone = line[-1] in _ENDS_ALONE and (len(line) == 1 or line == ["all", "the", "best"])
    return int(alone or line[-1] in _ENDS)


@lru_cache(maxsize=4096)
def _of_phrase(words: tuple[str, ...]) -> int:
    low = [folded(word).lower() for word in words]
    for count in range(min(4, len(low)), 0, -1):
        least = _NAMED.get(" ".join(low[-count:]))
        if least:
            return least
    while len(low) > 1 and low[-1] in _VERBS:
        low.pop()
    # "Passenger Anna Bauer", "the account holder is Anna Bauer"
    for count in (1, 2, 3):
        name = " ".join(low[-count:])
        if len(low) < count or len(name) > MAX_NAME:
            break
        info = classify(name)
        if info.cls == "name" or (info.role is not None and info.role.words):
            return 2
    return 0
