"""Passwords that stand behind a word without a sign: in SQL, in netrc and in lines of configuration files."""

from __future__ import annotations

import re
from collections.abc import Iterator

from guardrail.core.expressions import is_reference
from guardrail.core.hits import Hit, before
from guardrail.core.keynames import classify

__all__ = ["statements"]

_TEXT = r"(?:[NE]?'(?P<one>(?:[^'\x00]|''){1,512})'|\"(?P<two>[^\"\x00]{1,512})\"|\$\$(?P<three>[^$\x00]{1,512})\$\$"
_IDENTIFIED = re.compile(
    r"\bidentified\s{1,8}(?:with\s{1,8}[\w.\"'`]{1,64}\s{1,8})?(?:by|as)\s{1,8}(?:(?:password|values)\s{1,8})?"
    + _TEXT
    + r"|(?P<four>[^\s;'\"\x00]{1,256}))",
    re.IGNORECASE,
)
_PASSWORD = re.compile(
    r"\b(?:password|passwd|secret|secret_access_key|passphrase)(?:\s{1,8}(?:for\s{1,8}[^\s\x00]{1,64}\s{1,8}(?:=\s{0,8})?)?|\s?\(\s?)"
    + _TEXT
    + ")",
    re.IGNORECASE,
)
_NETRC = re.compile(
    r"\blogin\s{1,8}[^\s\x00]{1,128}\s{1,8}(?:account\s{1,8}[^\s\x00]{1,128}\s{1,8})?password\s{1,8}[\"']?(?P<one>[^\s\"'\x00]{1,256})",
    re.IGNORECASE,
)
_SETTING = re.compile(
    r"(?:^|(?<=[\n\x00]))[ \t]{0,16}(?P<name>[A-Za-z][\w.\-]{1,40})[ \t]{1,16}[\"']?(?P<one>[^\s\"'=:,;\x00][^\s\"'\x00]{2,255})[\"']?[ \t\r]{0,16}(?=[\n\x00]|\Z)"
)
# Directives that take a password and nothing else.
_DIRECTIVES = frozenset({"bindpw", "rootpw", "bind_pw", "adminpw", "requirepass", "masterauth", "ldap_default_authtok"})  # fmt: skip
# What the name of a line holds. Whoever scans several texts at once asks for one of these in any of them.
_TELLS = re.compile(r"pass|secret|pw", re.IGNORECASE)
_USER = re.compile(r"\b(?:user|role|link|grant)\b", re.IGNORECASE)
_SIGN = re.compile(r"[0-9!@#$%^&*+]")


def statements(text: str, low: str) -> Iterator[Hit]:
    """Yield passwords of SQL statements, netrc entries and lines that hold a name and a value. *low* is *text* in lower case."""
    if "identified" in low:
        yield from _quoted(_IDENTIFIED, text)
    if "pass" in low or "secret" in low or "pw" in low:
        yield from _quoted(_PASSWORD, text)
        if "login" in low:
            yield from _quoted(_NETRC, text)
    if "pass" in low or "secret" in low or "pw" in low or "auth" in low:
        for match in _SETTING.finditer(text):
            if _is_setting(match.group("name"), match.group("one")):
                yield Hit(match.start("one"), match.end("one"), "secret", "setting")


def _quoted(pattern: re.Pattern[str], text: str) -> Iterator[Hit]:
    for match in pattern.finditer(text):
        group = match.lastgroup or "one"
        # "identified by the team" is prose.
        told = group != "four" or _USER.search(before(text, match.start(), 200))
        if told and not is_reference(match.group(group)):
            yield Hit(match.start(group), match.end(group), "secret", "statement")


def _is_setting(name: str, value: str) -> bool:
    if is_reference(value):
        return False
    if name.lower() in _DIRECTIVES:
        return True
    if len(value) < 6 or _TELLS.search(name) is None or _SIGN.search(value) is None:
        return False
    return classify(name).cls == "secret"
