"""Detects streets with a house number in running text, by the words for a street in several
languages, and addresses by the phrases before them ("residing at").
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from guardrail.core.redaction.spans import Hit, before

__all__ = ["streets"]

_DIGIT = re.compile(r"[0-9]")
_C = r"[^\W\d_a-zß-öø-ÿ]"
"""A capital, or a letter of a script without capitals."""
_W = rf"{_C}[\w'\u2019.\-]{{0,24}}"
_NO = r"(?:(?:n|no|nr|num|num[eé]ro|č)\.? ?[\u00b0º]? ?|[\u00b0º№] ?|д\. ?)?[0-9]{1,5}(?: ?[A-Za-z]\b)?(?:[/\-][0-9]{1,4}[a-zA-Z]?)?(?![\w.]\d)"
_UNIT = r"(?:,? (?:Apt|Apartment|Suite|Ste|Unit|Flat|Piano|Puerta|Piso|Etage|App|m|кв|к|lgh)\.? ?#?[\w\-]{1,6})?"
# Number first: 310 Laurel Lane, 35150 Lynn Village Suite 536
_NUMBER_FIRST = re.compile(
    rf"(?<![\w.,$€£#/\-])[0-9]{{1,5}}[A-Za-z]?(?:[\-/][0-9]{{1,4}})? (?:(?:N|S|E|W|NE|NW|SE|SW)\.? )?(?:(?:{_W} ){{1,3}}|[0-9]{{1,3}}(?:st|nd|rd|th) )"
    r"(?:(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Court|Ct|Boulevard|Blvd|Way|Place|Pl|Square|Sq|Terrace|Crescent|Parkway|Pkwy|Highway|Hwy|Circle|Cir|Trail|Mews|Grove|Close|Gardens|Alley|Turnpike)\b\.?"
    + _UNIT
    + r"|(?:Apt|Suite|Ste|Unit|Flat)\.? ?#?[0-9]\w{0,5})"
)
# 12 bis, rue de la Paix
_FRENCH = re.compile(
    r"(?<![\w.,$€£#/\-])[0-9]{1,4}(?: ?(?:bis|ter|quater|[A-D]))?,? (?i:rue|avenue|av\.|boulevard|bd|place|chemin|impasse|all[ée]e|quai|route|cours|passage|square|ruelle|sentier|villa)\b"
    rf"(?: (?:de|du|des|la|le|les|aux?|à|et)| ?(?:d|l)['\u2019]|,)*(?:(?:[ '\u2019\-]|(?<=['\u2019]))(?:{_W}|de|du|des|la|le|les|et)){{1,5}}(?<=\w)"
)
# The word for a street first: Calle de Alcalá 42, ul. Koralowa 50/38
_STREET_FIRST = re.compile(
    r"(?<![\w@/])(?:(?:Calle|Avenida|Avda\.?|Av\.|Plaza|Pza\.?|Paseo|Pasaje|Camino|Carretera|Ronda|Traves[íi]a|Glorieta|Callej[óo]n|Cuesta|Privada|Calzada|Diagonal|Bulevar|Boulevard|Via(?! E-?[Mm]ail| API| SMS| Web)|Viale|Piazza|Piazzale|Corso"
    r"|Vicolo|Largo|Contrada|Borgo|Stretto|Incrocio|Rua|Travessa|Pra[çc]a|Alameda|Estrada|Rodovia|Rue|Chauss[ée]e|[Uu]lica|[Uu]lice|[Aa]leja|[Pp]lac|Strada|Bulevardul|Calea"
    r"|[Уу]лица|[Пп]роспект|[Пп]ереулок|[Нн]абережная|[Бб]ульвар|[Шш]оссе|[Οο]δ[όο]ς?|[Οο]δού|[Λλ]εωφ[όο]ρο\w{0,2})|C/|(?<!et )(?:ul|al|os|pl|ул|пр|пр-т|пер|наб|бул|ш)\.)"
    rf" ?(?:(?:de|del|de la|de los|di|da|do|das|dos|della|dei|la|du|des|d'|św\.) ?){{0,2}}{_W}(?: (?:de|del|la|di|da|do|dos|e|y|i|{_W})){{0,4}},? {_NO}{_UNIT}"
)
# The word for a street last, often as the end of a compound: Björkgränd 829, Rákóczi út 7
_END = (
    r"(?:stra(?:ße|sse|\u00dfe)|str\.|(?<!Nor)weg|(?<![Pp]ark)(?<![Ss]tell)(?<!rbeits)(?<![Ss]itz)(?<!ager)platz|allee|gasse|[\- ][Rr]ing|damm|(?<=[\-sn])ufer|chaussee|stieg|steig|straat|laan|plein|gracht|dijk|singel|dreef|steeg"
    r"|gatan|v[äa]gen|v[äa]g|gr[äa]nden|gr[äa]nd|torget|torg|stigen|(?<!ri)(?<!ne)gade|vej|vejen|veien|stræde|katu|(?:in|en|un|on)tie|kuja)"
)
_STREET_LAST = re.compile(
    rf"(?<![\w.\-])(?:{_W} ){{0,2}}{_C}[\w'\u2019.\-]{{0,30}}?(?:(?<=[\w\-]){_END}|(?<=\w) (?:Stra(?:ße|sse)|Str\.|Weg|Platz|Allee|Gasse|[Uu]tca|út|tér|körút|sokak|Sokak|Soka[ğk]ı|Sok\.|Sk\.|Cad\.|Cd\.|Caddesi|Mah\.|Mahallesi|Bulvar[ıi]|Blv\.))"
    rf",? (?:No: ?)?{_NO}{_UNIT}"
)
_EAST_ASIAN = re.compile(
    r"[\u3400-\u9fff]{2,4}[都道府県][\u3040-\u30ff\u3400-\u9fff]{1,12}[市区町村郡][\u3040-\u30ff\u3400-\u9fff]{0,16}[0-9]{0,4}(?:[\-\uff0d丁目番地号の]{1,3}[0-9]{1,4}){0,3}号?"
    r"|[\u3400-\u9fff]{2,16}(?:路|街|巷|大道|胡同|弄)[0-9]{1,5}[号號弄](?:[0-9]{1,4}(?:室|楼|号|栋|单元)){0,3}"
    r"|[\uac00-\ud7af]{1,8}[시도] (?:[\uac00-\ud7af]{1,8}[시구군읍면] ){1,2}[\uac00-\ud7af0-9]{1,12}[로길] ?[0-9]{1,4}(?:-[0-9]{1,3})?"
)
# After these phrases, an address needs no word for a street: a number and a capital are enough.
_PHRASE = re.compile(
    r"\b(?:resid(?:ing|es?) at|liv(?:ing|es?) at|(?:my|his|her|their|home|new|current) address is|deliver(?:ed)? to|wohnhaft in(?: der)?|wohnt in(?: der)?|wohne in(?: der)?|wohnt (?:am|im)|demeurant(?: au)?|habite(?: au)?|domicili[éeoa]\w{0,2} (?:au|en|à|em|in)"
    r"|residente (?:in|en|em|a)|abita in|abito in|vive en|vivo en|mora (?:na|no|em)|moro (?:na|no|em)|reside (?:na|no|em|en)|woont (?:aan|op|in)(?: de| het)?|mieszka(?:m)? (?:przy|na)|zamieszka[łl]\w{0,2} (?:przy|na)|bor på|bosatt på|bydl[íi] (?:na|v)|bytem|asuu|oturuyor"
    r"|прожива\w{1,4} по адресу:?|адрес:|adresse:|address:|dirección:|indirizzo:|endereço:|adres:|adress:|Anschrift:)\s{1,2}"
)
_TOKEN = re.compile(r"[\w'\u2019.\-/#º°]{1,32}")
_NEXT = re.compile(r",? ")
_MOST = 10
_LONG = 12


_PATTERNS = (_NUMBER_FIRST, _FRENCH, _STREET_FIRST, _STREET_LAST, _EAST_ASIAN)
_REST = re.compile(r"(?:[, ]{1,2}[A-Z0-9][\w.'\-]{0,24}){0,8}[ .]{0,2}(?=\x00|\Z)")


def streets(text: str) -> Iterator[Hit]:
    """Yield streets with their house numbers, and what follows a phrase that announces an address."""
    if _DIGIT.search(text) is None:
        return
    for pattern in _PATTERNS[: 4 if text.isascii() else 5]:
        for match in pattern.finditer(text):
            announced = pattern is not _NUMBER_FIRST or _is_address(text, match)
            if announced and not _is_all(text, match):
                size = len(match.group().rstrip(" .,"))
                yield Hit(match.start(), match.start() + size, "address", "street")
    for match in _PHRASE.finditer(text):
        end = _end_of_address(text, match.end())
        if end is not None:
            yield Hit(match.end(), end, "address", "street")


_LABELS = re.compile(
    r"\b(?:table|figure|fig\.?|version|chapter|section|in|since|step|article|part|top|level|phase|grade|page|line|day|week|item|no\.|question|exercise|lesson|season|episode|volume) \Z",
    re.IGNORECASE,
)
# These words also mean other things, and then another noun follows: "12 Open Court cases"
_AMBIGUOUS = re.compile(
    r"(?:Court|Way|Place|Pl|Close|Square|Sq|Trail|Drive|Circle|Highway|Gardens|Dr|St|Alley)\Z"
)
_GOES_ON = re.compile(
    r" (?!(?:and|in|at|on|with|for|to|is|was|by|or|near|from|off|between|has|as|where|since|after|before|until|which|will|tomorrow|today|please)\b)[a-z]"
)
_IDIOM = re.compile(r"[0-9]+ (?:The|Best|Only|Other|New|More|World) ")


def _is_all(text: str, match: re.Match[str]) -> bool:
    """Return True if a text consists of nothing but an address. The name of its field says whose it
    is, if anyone's: the destination of a taxi is a place.
    """
    return not before(text, match.start(), 1) and _REST.match(text, match.end()) is not None


def _is_address(text: str, match: re.Match[str]) -> bool:
    """Return True unless the number before *match* belongs to a label, or its last word to a noun
    after it.
    """
    if _LABELS.search(before(text, match.start(), 16)) is not None or _IDIOM.match(match.group()):
        return False
    return _AMBIGUOUS.search(match.group()) is None or _GOES_ON.match(text, match.end()) is None


def _end_of_address(text: str, start: int) -> int | None:
    """Return the end of the address at *start*: words up to the first comma, full stop or plain word
    after both a number and a capital. None if there is no such address.
    """
    at = start
    end: int | None = None
    number = capital = False
    for _ in range(_MOST):
        token = _TOKEN.match(text, at)
        if token is None:
            break
        word = token.group()
        plain = not (word[0].isupper() or word[0].isdigit())
        if plain and len(word) > (1 if number and capital else _LONG):
            break
        number = number or word[0].isdigit()
        capital = capital or (word[0].isupper() and len(word) > 1)
        complete = number and capital
        if complete:
            end = token.end()
        gap = _NEXT.match(text, token.end())
        if gap is None or (complete and (gap.group()[0] == "," or word[-1] == ".")):
            break
        at = gap.end()
    return end if end is None or text[end - 1] != "." else end - 1
