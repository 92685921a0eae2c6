"""Detects the names of people in prose by the words before them: a title, a greeting, the end of a
letter, or a phrase such as "on behalf of".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from guardrail.core.redaction.key_names import classify
from guardrail.core.redaction.key_names_foreign import folded
from guardrail.core.redaction.person_names import name_span
from guardrail.core.redaction.spans import Hit, before

__all__ = ["names"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CAPITAL = re.compile(
    r"[ \n:\"'(][A-Z\u00c0-\u00de\u0100-\u017f\u0386-\u03a9\u0400-\u042f][^\W\d_]"
)
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
    "jeg heter|nimeni on|jmenuji se|benim adim|customer name is|full name is|меня зовут|ονομαζομαι|με λενε"
)
_TWO = (
    "behalf of|the name of|name of|im auftrag von|auftrag von|im namen von|namen von|nom de|la part de|nombre de|a nome di|nome di|nome de|namens|imieniu|vegne af|vegne av|uppdrag av|name is|"
    "deliver to|delivered to|hand to|handed to|ship to|parents of|parent of|mother of|father of|care of|in the name of|agreement with|met with|meeting with|entregar a|entregado a|entregue a|entregar ao|consegnare a|livrer a|remettre a|remis a|"
    "liefern an|zustellen an|ubergeben an|bezorgen bij|afgeven bij|levereras till|leveres til|dostarczyc do|teslim edilecek|ich bin|je suis|sono|soy|eu sou|ik ben|jestem|jag ar|jeg er|olen|ben|jsem|от имени|"
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
        if stop > start and (
            least > 0 or text[stop : stop + 2].lstrip(_GAP[least])[:1] in _AFTER[least]
        ):
            yield Hit(start, stop, "name", "named")
            end = stop
    yield from _described(text)


_LONGEST = 40
_SHORT = 3
_LAST = frozenset(phrase.rpartition(" ")[2] for phrase in _NAMED)
_VERBS = _words("is ist est es e to jest by was")
# A name in a greeting ends the greeting, and a name between commas ends with one.
_AFTER = {-1: frozenset(",!:;\n"), -2: frozenset(",.;:!?)(\n\x00") | {""}}
_GAP = {-1: "", -2: " "}
# Phrases after a name that are said of people only.
_DETAILS = re.compile(
    r"[ ,(]{1,3}(?:resid(?:ing|es|ed|ent) (?:at|in|of)|domiciled|born (?:on|in)|aged \d|DOB\b|D\.O\.B|SSN\b|n[ée]{1,2}e? (?:le|en)\b|demeurant|domicili[éeoa]|r[ée]sidant|nat[oa] (?:il|a)\b|residente|nacid[oa] (?:el|en)"
    r"|con DNI|DNI\b|CPF\b|PESEL\b|nascid[oa] em|portador|geb\.|geboren|wohnhaft|woonachtig|wonende|zamieszka|urodzon|bosatt|f[öø]dd|bopæl|bydl|bytem|narozen|lakik|szül|doğum|do[gğ]umlu|ikamet|прожива|зарегистрир|\d{4} г(?:\.|ода) рожд)"
)
_NAME_BACK = 64
_OPENING = re.compile(r"[^\w'\u2019.\- ]")


def _described(text: str) -> Iterator[Hit]:
    """Yield the names before phrases that are said of people only: ``Anna Bauer, born on``."""
    for match in _DETAILS.finditer(text):
        left = before(text, match.start(), _NAME_BACK)
        words = _OPENING.split(left)[-1].split(" ")
        for count in range(min(4, len(words)), 1, -1):
            name = " ".join(words[-count:])
            if name and _is_name(words[-count:], name):
                yield Hit(match.start() - len(name), match.start(), "name", "named")
                break


def _is_name(words: list[str], name: str) -> bool:
    return (
        words[0][:1].isupper()
        and not _means_person((words[0],))
        and name_span(name, 0, 2) == len(name)
    )


@lru_cache(maxsize=4096)
def _announces(word: str) -> bool:
    """Return True if a name can follow *word*, which is usually not the case."""
    last = re.split(r"[\W_]+", _plain(word))[-1] if not word.isalpha() else _plain(word)
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


def _plain(word: str) -> str:
    """Return *word* without accents, unless its script is another than Latin."""
    plain = word if word.isascii() else folded(word)
    return plain if 2 * len(plain) > len(word) else word


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
        if _plain(pieces[-2]).lower() in _CLOSINGS:
            return 2
        # "our customer, Anna Bauer, wants"
        return -2 if _means_person(tuple(filter(str.isalpha, pieces[-4:-1]))) else 0
    if not last[0].isalpha():
        return 0
    plain = _plain(last)
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
    low = [_plain(word).lower() for word in words]
    for count in range(min(4, len(low)), 0, -1):
        least = _NAMED.get(" ".join(low[-count:]))
        if least:
            return least
    while len(low) > 1 and low[-1] in _VERBS:
        low.pop()
    # "Passenger Anna Bauer", "the account holder is Anna Bauer"
    return 2 if _means_person(tuple(low)) else 0


@lru_cache(maxsize=4096)
def _means_person(words: tuple[str, ...]) -> bool:
    """Return True if the last of *words* mean a person in a role."""
    for count in range(1, min(3, len(words)) + 1):
        info = classify(" ".join(words[-count:]))
        if info.cls == "name" or (info.role is not None and info.role.words > 0):
            return True
    return False
