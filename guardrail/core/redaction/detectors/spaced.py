"""Finds passwords that follow a word with only a space between them: in SQL, in netrc, and in lines
of configuration files.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from guardrail.core.redaction.detectors.administering import administered
from guardrail.core.redaction.detectors.table import tables
from guardrail.core.redaction.expressions import is_reference, is_technical
from guardrail.core.redaction.key_names import classify
from guardrail.core.redaction.spans import Hit, before

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
# Words in the names of such lines. When several texts are scanned at once, all are checked if one
# of these words occurs in any of them.
_TELLS = re.compile(r"pass|secret|pw", re.IGNORECASE)
_WORD = r"[\"']?(?P<one>[^\s\"'\x00]{1,256})"
# Redis: AUTH X, AUTH user X and HELLO 3 AUTH user X, alone on a line and in capitals, unlike prose;
# and CONFIG SET requirepass X.
_AUTH = re.compile(
    r"AUTH(?:[ \t]{1,4}[\w.@\-]{1,64})?[ \t]{1,4}" + _WORD + r"[\"']?[ \t\r]{0,8}(?=[\n\x00]|\Z)"
)
_BEFORE_AUTH = re.compile(r"[ \t]*(?:HELLO[ \t]+\d[ \t]+)?\Z")
_CONFIG_SET = re.compile(
    r"set[ \t]{1,4}(?:requirepass|masterauth)[ \t]{1,4}" + _WORD, re.IGNORECASE
)
# Windows: the word before or after the user, unless it is an option.
_NET_USE = re.compile(
    r"\bnet(?:\.exe)?[ \t]{1,4}use\b[^\n\x00]{0,256}?/user:(?:\"[^\"\n\x00]{1,128}\"|[^\s\"\x00]{1,128})[ \t]{1,4}(?!/)"
    + _WORD
    + r"|\bnet(?:\.exe)?[ \t]{1,4}use(?:[ \t]{1,4}(?:\w:|\*))?[ \t]{1,4}\\\\[^\s\x00]{1,200}[ \t]{1,4}(?!/)[\"']?(?P<two>[^\s\"'\x00]{1,256})[\"']?[ \t]{1,4}/user:",
    re.IGNORECASE,
)
# Variables that are set without an equals sign (setx, csh, fish, Dockerfile, Apache), and headers
# in nginx and Apache.
_SETTERS = (
    "setx ",
    "setenv ",
    "set -x ",
    "set -gx ",
    "env ",
    "proxy_set_header ",
    "requestheader set ",
    "configure set ",
)
_NAME_VALUE = re.compile(
    r"[ \t]{0,8}[\"']?(?P<name>[A-Za-z_][\w\-]{1,63})[\"']?[ \t]{1,8}(?:\"(?P<two>[^\"\n\x00]{1,256})\"|'(?P<three>[^'\n\x00]{1,256})'|(?P<one>[^\s\"'=;\x00]{1,256}))"
)
# htpasswd takes the password last, after a file (not with -n) and a user.
_HTPASSWD = re.compile(
    r"\bhtpasswd(?:[ \t]{1,4}-[A-Za-z]{1,8}(?:[ \t]{1,4}\d{1,3})?){0,4}[ \t]{1,4}-(?P<flags>[A-Za-z]{0,7}b[A-Za-z]{0,7})(?:[ \t]{1,4}-[A-Za-z]{1,8}){0,4}"
    r"(?P<words>(?:[ \t]{1,4}[^\s\-\x00][^\s\x00]{0,255}){2,3})"
)
# Calls that take a user's name and a password as two literals.
_CALLS = (
    "sp_addlogin ", "sp_password ", "httpbasicauth(", "basicauth(", "setbasicauth(", "basic_auth(", "httpdigestauth(", "digestauth(", "networkcredential(", "pscredential(", "usernamepasswordcredentials(", "passwordauthentication(",
    ".login(", ".auth(", ".authenticate(", ".changeuserpassword(",
)  # fmt: skip
# Calls whose user and password follow another argument: an address, a connection or a source.
_CALLS_WITH_PLACE = (
    "new pdo(", "mysqli_connect(", "new mysqli(", "mysql_connect(", "drivermanager.getconnection(", "ldap_bind(", "ftp_login(", "ssh2_auth_password(", "imap_open(", "oci_connect(", "dbi->connect(", "pymysql.connect(", "mysqldb.connect(", "odbc_connect(",
)  # fmt: skip
_PLACE = r"\s{0,8}(?:\\?\"[^\"\n\x00]{0,256}\"|'[^'\n\x00]{0,256}'|[$\w.>\-]{1,64}(?:\([^()\n\x00]{0,128}\))?)\s{0,4},"
_TWO = re.compile(
    r"\s{0,8}N?(?:\\?\"[^\"\n\x00]{0,128}\"|'[^'\n\x00]{0,128}')\s{0,4},\s{0,8}N?(?:\\?\"(?P<two>[^\"\n\x00\\]{1,256})|'(?P<one>[^'\n\x00\\]{1,256}))"
)
_PLACE_TELLS = ("connect", "pdo(", "mysqli", "_bind(", "login(", "password(", "open(")
_THREE = re.compile(
    _PLACE + _PLACE + r"\s{0,8}(?:\\?\"(?P<two>[^\"\n\x00\\]{1,256})|'(?P<one>[^'\n\x00\\]{1,256}))"
)
# Password hashes that include the name of their scheme, as in htpasswd files and LDAP.
_SCHEME = re.compile(
    r"\{(?:S?SHA(?:\d{3})?|SMD5|MD5|CRYPT)\}(?P<one>[A-Za-z0-9+/=$.,{}\-]{8,512})",
    re.IGNORECASE,
)
_USER = re.compile(r"\b(?:user|role|link|grant)\b", re.IGNORECASE)
_SIGN = re.compile(r"[0-9!@#$%^&*+]")


def statements(text: str, low: str, present: Collection[str]) -> Iterator[Hit]:
    """Yield the passwords in SQL statements, netrc entries, and lines that consist of a name and a
    value.

    *low* is *text* in lower case. *present* lists the keywords among ``pass``, ``secret``,
    ``auth``, ``key`` and ``token`` that *text* contains.
    """
    yield from administered(text, low, present)
    if "identified" in low:
        yield from _quoted(_IDENTIFIED, text)
    announced = "pass" in present or "secret" in present or "pw" in low
    if announced:
        yield from _quoted(_PASSWORD, text)
        if "login" in low:
            yield from _quoted(_NETRC, text)
    announced = announced or "auth" in present
    if "/user:" in low:
        yield from _named(_NET_USE, text)
    if announced:
        yield from _announced(text, low)
    if announced or "key" in present or "token" in present:
        if "\n" in text:
            yield from tables(text, low)
        if "set" in low or "env " in low:
            yield from _variables(text, low)
    if "{" in text and ("sha" in low or "md5}" in low or "{crypt" in low):
        yield from _named(_SCHEME, text)
    if "'" in text or '"' in text:
        if announced or "login" in low or "credential" in low:
            yield from _calls(_CALLS, _TWO, text, low)
        if any(tell in low for tell in _PLACE_TELLS):
            yield from _calls(_CALLS_WITH_PLACE, _THREE, text, low)


def _announced(text: str, low: str) -> Iterator[Hit]:
    """Yield the hits in texts that mention a password or a login."""
    if "AUTH" in text:
        for match in _AUTH.finditer(text):
            line = before(text, match.start(), 32).rpartition("\n")[2]
            if _BEFORE_AUTH.match(line) and not is_reference(match.group("one")):
                yield Hit(*match.span("one"), "secret", "statement")
    if "requirepass" in low or "masterauth" in low:
        yield from _named(_CONFIG_SET, text)
    if "htpasswd" in low:
        yield from _htpasswd(text)
    for match in _SETTING.finditer(text):
        if _is_setting(match.group("name"), match.group("one")):
            yield Hit(match.start("one"), match.end("one"), "secret", "setting")


def _named(pattern: re.Pattern[str], text: str) -> Iterator[Hit]:
    for match in pattern.finditer(text):
        group = match.lastgroup or "one"
        if not is_reference(match.group(group)):
            yield Hit(*match.span(group), "secret", "statement")


def _matches_after(
    words: tuple[str, ...], pattern: re.Pattern[str], text: str, low: str
) -> Iterator[re.Match[str]]:
    """Yield the matches of *pattern* right after one of *words*, unless the word is part of a
    longer one.
    """
    for word in words:
        at = low.find(word)
        while at >= 0:
            if word[0] == "." or not low[at - 1 : at].isalnum():
                match = pattern.match(text, at + len(word))
                if match is not None:
                    yield match
            at = low.find(word, at + len(word))


def _calls(calls: tuple[str, ...], pattern: re.Pattern[str], text: str, low: str) -> Iterator[Hit]:
    for match in _matches_after(calls, pattern, text, low):
        group = match.lastgroup or "one"
        if not is_reference(match.group(group)):
            yield Hit(*match.span(group), "secret", "statement")


def _variables(text: str, low: str) -> Iterator[Hit]:
    for match in _matches_after(_SETTERS, _NAME_VALUE, text, low):
        group = match.lastgroup or "one"
        announced = classify(match.group("name")).cls == "secret"
        if announced and not is_reference(match.group(group)):
            yield Hit(*match.span(group), "secret", "setting")


def _htpasswd(text: str) -> Iterator[Hit]:
    for match in _HTPASSWD.finditer(text):
        wanted = 2 if "n" in match.group("flags") else 3
        words = list(re.finditer(r"[^\s]+", match.group("words")))
        if len(words) >= wanted and not is_reference(words[wanted - 1].group()):
            start = match.start("words") + words[wanted - 1].start()
            yield Hit(start, start + len(words[wanted - 1].group()), "secret", "statement")


def _quoted(pattern: re.Pattern[str], text: str) -> Iterator[Hit]:
    for match in pattern.finditer(text):
        group = match.lastgroup or "one"
        # "identified by the team" is prose, not SQL.
        announced = group != "four" or _USER.search(before(text, match.start(), 200))
        if announced and not is_reference(match.group(group)):
            yield Hit(match.start(group), match.end(group), "secret", "statement")


def _is_setting(name: str, value: str) -> bool:
    if is_reference(value) or is_technical(name, value):
        return False
    if name.lower() in _DIRECTIVES:
        return True
    if len(value) < 6 or _TELLS.search(name) is None or _SIGN.search(value) is None:
        return False
    return classify(name).cls == "secret"
