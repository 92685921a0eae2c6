"""Finds ids that look alike although they consist of different characters.

This is the idea of the skeletons of UTS #39 (Unicode Security Mechanisms), limited to characters
that look like printable ASCII characters, or like two of them. Characters that look only like other
characters are not recognised. The tables are derived from the file confusables.txt of Unicode
(copyright Unicode, Inc., Unicode License v3: LICENSE-UNICODE), and leave out the characters that
normalisation already replaces. The small capitals of b, k, l and n, and the letter kra, are added,
because that file names no ASCII character for them.

Use it only to refuse, never to allow: ``adam1`` and ``adaml`` can be two people.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from guardrail.core.folding import folded

__all__ = ["LOOKS_LIKE", "LOOKS_LIKE_SEVERAL", "look_alike"]

LOOKS_LIKE: Final = {
    "!": "\u01c3\u2d51",
    '"': "\u02ba\u02dd\u02ee\u02f6\u05f2\u05f4\u1cd3\u201c\u201d\u201f\u2033\u2036\u3003",
    "%": "\u066a\u2052",
    "&": "\ua778",
    "'": (
        "\u00b4\u02b9\u02bb\u02bc\u02bd\u02be\u02c8\u02ca\u02cb\u02f4\u0384\u055a\u055d\u05d9"
        "\u05f3\u07f4\u07f5\u144a\u16cc\u1fbd\u1fbf\u1ffd\u1ffe\u2018\u2019\u201b\u2032\u2035"
        "\ua78c"
    ),
    "(": "\u2768\u2772\u3014\ufd3e\uff3b",
    ")": "\u2769\u2773\u3015\ufd3f\uff3d",
    "*": "\u066d\u204e\u2217\U0001031f",
    "+": "\u16ed\u2795\U0001029b",
    ",": "\u00b8\u060d\u066b\u201a\ua4f9",
    "-": "\u02d7\u06d4\u2010\u2012\u2013\u2043\u2212\u2796\u2cba\ufe58",
    ".": "\u0660\u06f0\u0701\u0702\u3002\ua4f8\ua60e\U00010a50",
    "/": "\u1735\u2041\u2044\u2215\u2571\u27cb\u29f8\u2cc6\u3033\u30ce\u31d3\u4e3f\U0001d23a",
    "2": "\u01a7\u03e8\u14bf\ua644\ua6ef\ua75a",
    "3": "\u01b7\u021c\u0417\u04e0\u2ccc\ua76a\ua7ab\U000118ca\U00016f3b\U0001d206",
    "4": "\u13ce\U000118af",
    "5": "\u01bc\U000118bb",
    "6": "\u0431\u13ee\u2cd2\U000118d5",
    "7": "\U000104d2\U000118c6\U0001d212",
    "8": "\u0222\u0223\u09ea\u0a6a\U0001031a\U0001e8cb",
    "9": "\u09ed\u0a67\u0b68\u0d6d\u2cca\ua76e\U000118ac\U000118cc\U000118d6",
    ":": "\u02d0\u02f8\u0589\u05c3\u0703\u0704\u16ec\u1803\u1809\u205a\u2236\ua4fd\ua789\ufe30",
    "<": "\u02c2\u1438\u16b2\u2039\u276e\U0001d236",
    "=": "\u1400\u2e40\u30a0\ua4ff",
    ">": "\u02c3\u1433\u203a\u276f\U00016f3f\U0001d237",
    "?": "\u0241\u0294\u097d\u13ae\ua6eb",
    "\\": "\u2216\u27cd\u29f5\u29f9\u31d4\u4e36\U0001d20f\U0001d23b",
    "^": "\u02c4\u02c6",
    "_": "\u07fa",
    "a": "\u0251\u0391\u03b1\u0410\u0430\u13aa\u15c5\u237a\ua4ee\U000102a0\U00016f40",
    "b": (
        "\u0184\u0299\u0392\u0412\u042c\u13cf\u13f4\u1472\u15af\u15f7\ua4d0\ua7b4\U00010282"
        "\U000102a1\U00010301"
    ),
    "c": (
        "\u03f2\u03f9\u0421\u0441\u13df\u1d04\u2ca4\u2ca5\ua4da\uabaf\U000102a2\U00010302"
        "\U00010415\U0001043d\U0001051c\U000118e9\U000118f2\U0001f74c"
    ),
    "d": "\u0501\u13a0\u13e7\u146f\u15de\u15ea\ua4d2\ua4d3",
    "e": (
        "\u0395\u0415\u0435\u04bd\u13ac\u212e\u22ff\u2d39\ua4f0\uab32\U00010286\U000118a6\U000118ae"
    ),
    "f": (
        "\u017f\u03dc\u0584\u15b4\u1e9d\ua4dd\ua798\ua799\uab35\U00010287\U000102a5\U00010525"
        "\U000118a2\U000118c2\U0001d213"
    ),
    "g": "\u018d\u0261\u050c\u0581\u13c0\u13f3\u1d83\ua4d6",
    "h": "\u0397\u041d\u04bb\u0570\u13bb\u13c2\u157c\u2c8e\ua4e7\U000102cf",
    "i": "\u0131\u0269\u026a\u02db\u037a\u03b9\u0456\u04cf\u13a5\u2373\ua647\uab75\U000118c3",
    "j": "\u037f\u03f3\u0408\u0458\u13ab\u148d\ua4d9\ua7b2",
    "k": "\u0138\u039a\u041a\u13e6\u16d5\u1d0b\u2c94\ua4d7\U00010518",
    "l": (
        "\u0196\u01c0\u029f\u0399\u0406\u04c0\u05c0\u05d5\u05df\u0627\u0661\u06f1\u07ca\u13de\u14aa"
        "\u16c1\u2223\u23fd\u2c92\u2cd0\u2d4f\ua4e1\ua4f2\ufe8d\ufe8e\uffe8\U0001028a"
        "\U00010309\U00010320\U0001041b\U00010526\U000118a3\U000118b2\U00016f16\U00016f28"
        "\U0001d22a\U0001e8c7\U0001ee00\U0001ee80"
    ),
    "m": (
        "\u039c\u03fa\u041c\u13b7\u15f0\u16d6\u2c98\ua4df\U000102b0\U00010311\U00011700\U000118e3"
    ),
    "n": "\u0274\u039d\u0578\u057c\u2c9a\ua4e0\U00010513",
    "o": (
        "\u039f\u03bf\u03c3\u041e\u043e\u0555\u0585\u05e1\u0647\u0665\u06be\u06c1\u06d5\u06f5"
        "\u07c0\u0966\u09e6\u0a66\u0ae6\u0b20\u0b66\u0be6\u0c66\u0ce6\u0d20\u0d66\u0e50\u0ed0"
        "\u101d\u1040\u10ff\u12d0\u1d0f\u1d11\u2c9e\u2c9f\u2d54\u3007\ua4f3\uab3d\ufba6\ufba7"
        "\ufba8\ufba9\ufbaa\ufbab\ufbac\ufbad\ufee9\ufeea\ufeeb\ufeec\U00010292\U000102ab"
        "\U00010404\U0001042c\U000104c2\U000104ea\U00010516\U000114d0\U000118b5\U000118c8"
        "\U000118d7\U000118e0\U0001ee24\U0001ee64\U0001ee84"
    ),
    "p": "\u03a1\u03c1\u0420\u0440\u13e2\u146d\u2374\u2ca2\u2ca3\ua4d1\U00010295",
    "q": "\u051b\u0563\u0566\u2d55",
    "r": (
        "\u01a6\u0433\u13a1\u13d2\u1587\u1d26\u2c85\ua4e3\uab47\uab48\uab81\U000104b4"
        "\U00016f35\U0001d216"
    ),
    "s": (
        "\u01bd\u0405\u0455\u054f\u13d5\u13da\ua4e2\ua731\uabaa\U00010296\U00010420\U00010448"
        "\U000118c1\U00016f3a"
    ),
    "t": (
        "\u03a4\u0422\u13a2\u22a4\u27d9\u2ca6\ua4d4\U00010297\U000102b1\U00010315\U000118bc"
        "\U00016f0a\U0001f768"
    ),
    "u": (
        "\u028b\u03c5\u054d\u057d\u1200\u144c\u1d1c\u222a\u22c3\ua4f4\ua79f\uab4e\uab52"
        "\U000104ce\U000104f6\U000118b8\U000118d8\U00016f42"
    ),
    "v": (
        "\u03bd\u0474\u0475\u05d8\u0667\u06f7\u13d9\u142f\u1d20\u2228\u22c1\u2d38\ua4e6\ua6df"
        "\uaba9\U0001051d\U00011706\U000118a0\U000118c0\U00016f08\U0001d20d"
    ),
    "w": (
        "\u026f\u0461\u051c\u051d\u0561\u13b3\u13d4\u1d21\ua4ea\uab83\U0001170a\U0001170e"
        "\U0001170f\U000118e6\U000118ef"
    ),
    "x": (
        "\u00d7\u03a7\u0425\u0445\u1541\u157d\u166d\u166e\u16b7\u2573\u292b\u292c\u2a2f\u2cac"
        "\u2d5d\ua4eb\ua7b3\U00010290\U000102b4\U00010317\U00010322\U00010527\U000118ec"
    ),
    "y": (
        "\u0263\u028f\u03a5\u03b3\u0423\u0443\u04ae\u04af\u10e7\u13a9\u13bd\u1d8c\u1eff\u2ca8"
        "\ua4ec\uab5a\U000102b2\U000118a4\U000118dc\U00016f43"
    ),
    "z": "\u0396\u13c3\u1d22\ua4dc\uab93\U000102f5\U000118a9\U000118c4\U000118e5",
    "{": "\u2774\U0001d114",
    "}": "\u2775",
    "~": "\u02dc\u1fc0\u2053\u223c",
}
"""Characters by the ASCII character that they look like."""
LOOKS_LIKE_SEVERAL: Final = {
    "-.": "\ua4fe",
    ".,": "\ua4fb",
    "..": "\ua4fa",
    "//": "\u2afd",
    "aa": "\ua732\ua733",
    "ae": "\u00c6\u00e6\u04d4\u04d5",
    "ao": "\ua734\ua735",
    "au": "\ua736\ua737",
    "av": "\ua738\ua739\ua73a\ua73b",
    "ay": "\ua73c\ua73d",
    "bl": "\u042b\u044b",
    "dz": "\u02a3",
    "ll": "\u01c1\u2016\u2225",
    "lo": "\u042e\u044e",
    "ls": "\u02aa",
    "lt": "\u20b6",
    "lz": "\u02ab",
    "oe": "\u0152\u0153",
    "oo": "\u221e\ua698\ua699\ua74e\ua74f",
    "t3": "\ua728",
    "tf": "\ua777",
    "ts": "\u02a6",
    "ue": "\u1d6b",
    "uo": "\uab63",
}
"""Characters by the two ASCII characters that they look like."""
# In many fonts, the digits 0 and 1, a capital I and a bar look like the letters o and l.
_TO_ASCII: Final = str.maketrans(
    {
        other: each
        for each, others in (*LOOKS_LIKE.items(), *LOOKS_LIKE_SEVERAL.items())
        for other in others
    }
    | {"0": "o", "1": "l", "I": "l", "|": "l"}
)
# Letters that look like two others are always taken apart: joining pairs would give "vvv" two
# different forms, "wv" and "vw".
_APART: Final = str.maketrans({"d": "cl", "m": "rn", "w": "vv"})


def look_alike(one: str, other: str) -> bool:
    """Return True if two ids look alike: their visible forms are equal, or differ only in
    characters that are easily confused.
    """
    return not _skeletons(one).isdisjoint(_skeletons(other))


def _skeletons(text: str) -> set[str]:
    """Return the forms of *text* that are equal for ids that look alike; none if nothing of it is
    visible.

    Characters are confused before differences in case are removed and afterwards, because a capital
    I looks like an l, but is also an i; and as capitals, because a Cyrillic soft sign looks like a
    b only then.
    """
    plain = unicodedata.normalize("NFKC", text)
    capitals = "".join(each if each.isascii() else each.upper() for each in plain)
    forms = {folded(each.translate(_TO_ASCII)) for each in (text, plain, capitals)}
    forms.add(folded(plain).translate(_TO_ASCII))
    return {folded(form).translate(_APART) for form in forms} - {""}
