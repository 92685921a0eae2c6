"""Finds passwords in sentences in languages other than English: ``Das Passwort lautet X``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from guardrail.core.redaction.expressions import is_reference
from guardrail.core.redaction.spans import Hit

__all__ = ["spoken"]

_TELLS = (
    "passwor", "passphrase", "passcode", "wifi key", "wi-fi key", "work key", "ss key", "pi key", " code", "kennwort", "wachtwoord", "contrase", "clave", "senha", "mot de passe", "haslo", "heslo", "losenord", "adgangskode", "salasana", "jelsz", "parol",
)  # fmt: skip
_FOREIGN_TELLS = (
    "hasło", "lösenord", "şifre", "пароль", "パスワード", "暗証番号", "密码", "密碼", "口令", "비밀번호", "암호",
)  # fmt: skip
_SENTENCE = re.compile(
    r"(?:\b(?:passwor[dt]|kennwort|wachtwoord|contrase(?:ñ|n)a|clave|senha|mot de passe|has(?:ł|l)o|heslo|l(?:ö|o)senord(?:et)?|adgangskode(?:n)?|salasana|jelsz(?:ó|o)|parola|şifre|пароль)"
    r"(?:[ \t][^\W\d_]{1,16}){0,3}?[ \t](?:ist|lautet|war|es|era|est|é|è|to|är|er|je|on|это|is)[ \t]{1,2}"
    r"|\b(?:password|passphrase|passcode|wi-?fi key|network key|access key|api key|(?:door|gate|alarm|entry|access) code)(?: (?:for|of|to|on|in)(?: [\w'\u2019\-]{1,24}){1,4}?)?(?: (?:is|was)(?: now| still)? )"
    r"|(?:パスワード|暗証番号|密码|密碼|口令|비밀번호|암호)[ \t]?(?:は|是|为|為|은|는)[ \t:]{0,2})"
    r"[\"'\u00ab\u201e\u201c(]{0,2}(?P<v>[!-~\u00a1-\u024f\u0400-\u04ff]{4,64})",
    re.IGNORECASE,
)
_AFTER = ".,;:!?\"')\u00bb\u201c\u201d"
# The mark of a password: "das Passwort ist falsch" has none.
_SIGN = re.compile(r"[0-9!@#$%^&*+_]")


def spoken(text: str, low: str) -> Iterator[Hit]:
    """Yield the passwords that a sentence names. *low* is *text* in lower case.

    The word must have a digit or a sign in it, because most sentences state a property.
    """
    if not [tell for tell in _TELLS if tell in low] and (
        low.isascii() or not [tell for tell in _FOREIGN_TELLS if tell in low]
    ):
        return
    for match in _SENTENCE.finditer(text):
        word = match.group("v").rstrip(_AFTER)
        if len(word) >= 4 and _SIGN.search(word) and not is_reference(word):
            yield Hit(match.start("v"), match.start("v") + len(word), "secret", "sentence")
