"""Recognises the names of people by their form: a few words with initial capitals, between which
particles such as ``van`` can be.

The form alone does not show that a text is a name: "Blue Widget" has it as well. Callers need a
further sign, such as the name of the field or a salutation.
"""

from __future__ import annotations

import re

__all__ = ["JAPANESE_SURNAMES", "MAX_NAME", "is_person", "name_parts", "name_span"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


MAX_NAME = 60
"""Maximum number of characters of a name."""
_LETTER = r"[^\W\d_]"
_WORD = re.compile(rf"{_LETTER}+(?:['\u2019\u2010\-]{_LETTER}+)*\.?")
_PIECES = re.compile(r"['\u2019\u2010\-]")
_BETWEEN = re.compile(r" {1,2}|, ?")
_MOST_PARTICLES = 3
_PARTICLES = _words(
    "van von der den de del della di da dos das do du la le el al bin bint ibn ben ter ten zu zur y e i und und-zu af av"
)
# Words with an initial capital that are no part of a name: kinds of organisations and accounts,
# months, days, and words at the beginning of a sentence.
_OTHER = _words(
    "inc ltd llc gmbh ag corp corporation company co plc bank group holding holdings university hospital clinic school department office team "
    "support service services center centre customer customers account accounts savings checking current joint business premium standard basic gold "
    "silver platinum private public test unknown none null admin administrator system manager user guest default active inactive pending "
    "january february march april may june july august september october november december monday tuesday wednesday thursday friday saturday "
    "sunday the a an this that these those it he she we they you your our my his her their is are was were will would can could should has have had "
    "and or but if when please thank thanks hello hi dear regards sincerely best kind warm yours no yes not new old all any for from with to of in on at by "
    "insurance policy contract invoice order payment refund number phone email address street road avenue lane city state country plan mobile internet "
    "sir madam mr mrs ms miss dr prof herr frau herrn monsieur madame team member members everyone reader colleague colleagues damen herren "
    "limited society association foundation trust council ministry agency airlines airways hotel restaurant shop store market world there apt suite unit "
    "load factor update updates available information details status request requests rating app notification notifications report reports dashboard "
    "traders trading industries solutions systems technologies labs laboratories foods motors consulting logistics ventures enterprises partners intl "
    "settings form id ids machine learning intelligence software version feature features module manifest gmbh kg sarl sas srl spa bv nv oy ab as aps"
)
# Chinese names have two or three characters; Japanese and Korean names also have other letters.
# Surnames of two characters are listed, because other words have four or five characters as well.
JAPANESE_SURNAMES = (
    "佐藤|鈴木|高橋|田中|伊藤|渡辺|渡邊|山本|中村|小林|加藤|吉田|山田|佐々木|山口|松本|井上|木村|斎藤|斉藤|清水|山崎|阿部|池田|橋本|石川|山下|中島|石井|小川|前田|岡田|長谷川|藤田|後藤|近藤|村上|遠藤|青木|坂本|福田|太田|西村|藤井|岡本|金子|藤原|三浦|中野|中川|原田|松田|竹内|小野|田村|中山|和田|石田|森田"
    "|上田|内田|柴田|酒井|宮崎|横山|高木|安藤|宮本|大野|小島|工藤|谷口|今井|高田|増田|丸山|杉山|村田|大塚|新井|小山|平野|藤本|河野|上野|野口|武田|松井|千葉|菅原|岩崎|久保|木下|佐野|野村|松尾|菊地|菊池|杉本|市川|古川|大西|島田|水野|桜井|高野|吉川|山内|西田|飯田|菊池|西川|小松|北村|安田|五十嵐|欧阳|歐陽|司马|司馬|上官|诸葛|諸葛"
)
_CJK = re.compile(
    rf"[\u3400-\u9fff]{{2,3}}\Z|(?:{JAPANESE_SURNAMES})[\u3040-\u30ff\u3400-\u9fff]{{1,3}}\Z|"
    r"[\u3400-\u9fff]{1,3}[ \u30fb][\u3040-\u30ff\u3400-\u9fff]{1,4}\Z"
    r"|[\u30a0-\u30ff]{2,8}[ \u30fb][\u30a0-\u30ff]{1,8}\Z|[\uac00-\ud7af]{1,2} ?[\uac00-\ud7af]{1,3}\Z"
)


def is_person(text: str, least: int) -> bool:
    """Return True if all of *text* has the form of a person's name, with at least *least* words."""
    text = text.strip()
    if not 2 <= len(text) <= MAX_NAME:
        return False
    if not text.isascii() and _CJK.match(text):
        return True
    span = name_span(text, 0, least, whole=True)
    return span == len(text)


def name_span(text: str, start: int, least: int, *, whole: bool = False) -> int:
    """Return the position after the name that begins at *start* in *text*, or -1 if there is no
    name with at least *least* words.

    With *whole*, names in capitals or in a script without capitals also count.
    """
    at = end = start
    count = particles = 0
    while at - start <= MAX_NAME and count < 5:
        match = _WORD.match(text, at)
        if match is None:
            break
        word = match.group()
        bare = word.rstrip(".")
        low = bare.lower()
        if low in _PARTICLES and bare.islower() and particles < _MOST_PARTICLES:
            particles += 1
        elif not _is_name_word(bare, low, whole=whole):
            break
        else:
            if word[-1] == "." and len(bare) > 2:
                # The sentence ends here.
                return match.end() - 1 if count + 1 >= least else -1
            count += 1
            end = match.end()
        gap = _BETWEEN.match(text, match.end())
        if gap is None or (gap.group()[0] == "," and (count > 2 or (count >= least and not whole))):
            break
        at = gap.end()
    if count < least:
        return -1
    return end


def _is_name_word(bare: str, low: str, *, whole: bool) -> bool:
    first = bare[0]
    if len(bare) == 1:
        return first.isupper()  # an initial
    if low in _OTHER:
        return False
    if first.isupper():
        # Capitals in prose are abbreviations.
        return whole or not bare.isupper()
    if first.islower():
        return any(piece[:1].isupper() for piece in _PIECES.split(bare)[1:])  # al-Farsi
    return whole  # scripts without capitals


def name_parts(text: str) -> list[str]:
    """Return the parts of a name that are distinctive enough to be recognised alone."""
    parts = []
    for match in _WORD.finditer(text[: 2 * MAX_NAME]):
        word = match.group().rstrip(".")
        low = word.lower()
        if len(word) > 2 and low not in _PARTICLES and low not in _OTHER and low not in _COMMON:
            parts.append(word)
    return parts


# Given names and surnames that are also ordinary words, which would be found in any text.
_COMMON = _words(
        "will mark bill grant hope rose grace joy faith art drew frank jack jean june may april august dawn eve ivy lily daisy violet amber ruby pearl iris "
        "page penny rich rob skip sue tab tom victor wade ward max min chase case chance christian clay cliff dale dean don earl ernest faith felicity gene "
        "guy harmony heath hunter jade jay king lance lane lee mercy miles morgan myrtle nick norm olive pat patience paris prudence ray robin rusty sandy "
        "sunny summer autumn winter terry trinity virginia sidney sydney carolina georgia dakota austin houston jackson london lincoln madison orlando "
        "baker banks barber black blue bond book booth bridge bridges brook brooks brown bush butler byrd camp carpenter carter church clark cook cooper "
        "cross day dean english field fields fisher fish ford forest foster fox french gardener gates glass gold good goodman gray green grey hall hand hands "
        "head heart hill hood house hunt justice key keys knight lake little long love major marsh marshall mason mayor miller moon moss noble north page "
        "park parker parks parks pepper piper pitt place pool porter post potter power powers price prince quick read reed reeves rivers road rock root "
        "sales sharp shepherd short small smart smith snow south spring star stone street strong swift taylor temple times tower town turner walker wall "
        "walls ward washington water waters way weaver webb wells west wheeler white wise wood woods work young bell berry best bird bishop block branch "
        "call card cash center chase check code cole core cost data date error file first free fresh full gift global group home info last link list local "
        "log main map master media mini name net none note null object open order other part path plan plus point premium print private pro product project "
        "query real request response root sample save search secure select send server service set shell sign single site sky source standard status "
        "string style super support system table target team temp test text time title token total track type union unit update user value version view "
        # what programs and calls do
    "accept access add admit alert allow approve approved assert attack await block cancel cancelled class clear commit confirm connect constraint continue copy create debug declare decline def delete "
    "deleted denied deny deploy deposit disable download drop enable error except exec execute export fail failed failure fatal fetch finally force format function get grant head html http https ignore "
    "import index insert install into invoke join json kill limit lock login logout merge move overwrite password pay post pull purge push put reboot refund reject release remove rename replace "
    "reset restart restore return revoke rollback rotate run script select send session share shutdown start stop string struct submit sudo suspend switch token transfer truncate undefined uninstall "
    "unlock update upload urgent url users values void warning where wipe withdraw write xml "
    "virtual visa vista web window word world zone sol luz paz cruz blanco rojo leon flores campo campos torres castillo reyes iglesias klein gross "
        "lang kurz jung weiss schwarz berg bach stein wolf fuchs vogel richter kaiser koch schmidt meister sommer winter morgen petit grand blanc noir roi roy"
) - {"smith", "clark", "taylor", "miller", "baker", "cooper", "carter", "parker", "walker", "turner", "schmidt", "jackson", "morgan", "washington", "webb", "reeves", "tom", "nick", "marsh", "sydney", "terry", "felicity", "goodman", "brooks", "weaver", "wheeler", "potter", "koch", "byrd", "pitt", "torres", "iglesias", "reyes", "weiss", "richter", "flores", "campos", "castillo"}  # fmt: skip
