"""Finds passwords that commands and statements take as plain words, which only their position in
the syntax identifies.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from guardrail.core.redaction.expressions import is_reference
from guardrail.core.redaction.spans import Hit

__all__ = ["administered"]

_S = r"[ \t]{1,8}"
_SOME = r"[^\s\x00]{1,128}"
_REST = r"[^\n\x00]{0,96}?"
_DISTINCTIVE = r"(?=[^\s\x00]{0,255}[\d!@#$%^&*+\"'])"
"""Matches a password with a digit or a sign. A plain word in the same position may belong to a
sentence.
"""
_WORD = r"[\"']?(?P<one>[^\s\"'|;\x00]{1,256})"
_FORMS = {
    # Db2; Oracle without a database; Redis.
    "using ": rf"\bconnect{_S}to{_S}{_SOME}{_S}user{_S}{_SOME}{_S}using{_S}{_DISTINCTIVE}{_WORD}",
    "as sys": rf"\bconn(?:ect)?{_S}[\w$#]{{1,128}}/(?P<one>[^\s@/\"'\x00]{{1,256}})(?={_S}as{_S}sys)",
    "setuser": rf"\bacl{_S}setuser\b{_REST}[ \t]>(?P<one>[^\s\"'\x00]{{1,256}})",
    "mysqladmin": rf"\bmysqladmin\b{_REST}[ \t](?:old-)?password{_S}{_WORD}",
    # Windows.
    "net user": rf"\bnet{_S}user{_S}(?!/){_SOME}{_S}(?!/){_WORD}(?=[\"']?{_S}/\w)",
    "schtasks": rf"\bschtasks(?:\.exe)?\b{_REST}[ \t]/r?p{_S}(?!/){_WORD}",
    # The input of a command that reads a password.
    "echo ": (
        rf"\becho{_S}(?:-n{_S})?(?:\"(?P<two>[^\"\n\x00]{{1,256}})\"|'(?P<three>[^'\n\x00]{{1,256}})'|(?P<one>[^\s\"'|;\x00]{{1,256}}))"
        rf"[ \t]{{0,8}}\|[ \t]{{0,8}}(?:sudo{_S}(?:-\w{{1,8}}{_S}){{0,4}}-\w{{0,4}}S\b|(?:sudo{_S})?(?:passwd{_S}--stdin|chpasswd|kinit)\b)"
    ),
    "vault login": rf"\bvault{_S}login{_S}(?P<one>[^\s\"'=\-\x00][^\s\"'=\x00]{{7,255}})(?=[\s\"'\x00]|\Z)",
    "_authtoken": rf"\bset{_S}[^\s\x00]{{0,128}}_authtoken{_S}{_WORD}",
    # Routers and switches.
    "enable ": rf"\benable{_S}(?:secret|password){_S}(?:\d{{1,2}}{_S})?{_DISTINCTIVE}{_WORD}",
    "community": rf"\bsnmp[\w\-]{{0,20}}\b{_REST}\bcommunity(?:[ \t]{{1,8}}|[ \t]{{0,4}}[=:][ \t]{{0,4}})(?!(?:is|string|strings|name|names|the|in|of|for|and|or|r[ow])\b){_WORD}",
    "community ": rf"\br[ow]community6?{_S}{_WORD}",
    "com2sec": rf"\bcom2sec6?{_S}{_SOME}{_S}{_SOME}{_S}{_WORD}",
    "snmp-server host": rf"\bsnmp-server{_S}host{_S}{_SOME}{_S}(?:(?:traps|informs|vrf{_S}{_SOME}){_S}){{0,2}}(?:version{_S}[12]c?{_S})?(?!version\b){_WORD}",
    "-server key": rf"\b(?:tacacs|radius)-server{_S}key{_S}(?:\d{_S})?{_WORD}",
    "pre-shared-key": rf"\bpre-shared-key{_S}(?:(?:ascii-text|hexadecimal|local|remote|address{_S}{_SOME}|key){_S}){{0,2}}{_DISTINCTIVE}{_WORD}",
    "username ": rf"\busername{_S}{_SOME}{_S}(?:privilege{_S}\d{{1,2}}{_S})?(?:secret|password){_S}(?:\d{{1,2}}{_S})?{_DISTINCTIVE}{_WORD}",
}
_PATTERNS = {tell: re.compile(form, re.IGNORECASE) for tell, form in _FORMS.items()}


def administered(text: str, low: str, present: Collection[str]) -> Iterable[Hit]:
    """Return the passwords that a command or statement in *text* takes as plain words.

    *low* is *text* in lower case. *present* contains the keywords found in *text*, such as
    ``pass``.
    """
    # Some of the phrases contain a keyword. Looking for all of them in every text would cost more.
    if (
        present
        or "user" in low
        or "echo " in low
        or "vault l" in low
        or "as sys" in low
        or "schtasks" in low
        or "community" in low
        or "com2sec" in low
        or "snmp-server" in low
    ):
        return _found(text, low)
    return ()


def _found(text: str, low: str) -> Iterator[Hit]:
    for tell, pattern in _PATTERNS.items():
        if tell in low:
            for match in pattern.finditer(text):
                group = match.lastgroup or "one"
                if not is_reference(match.group(group)):
                    yield Hit(*match.span(group), "secret", "statement")
