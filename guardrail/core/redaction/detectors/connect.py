"""Finds passwords in connection strings: URLs with unescaped special characters in the password,
``user/password@host``, and values in braces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from guardrail.core.redaction.expressions import is_expression, is_reference
from guardrail.core.redaction.spans import JOINT, Hit, before

__all__ = ["accounts", "braced", "raw_userinfo"]

# --- URLs ---

_SCHEME_BACK = re.compile(r"[\w.+\-]{1,32}")
_RAW = re.compile(
    r"//(?P<user>[^\s/?#:@\"'<>\[\x00\x01]{0,128}):(?P<rest>[^\s\"'<>`\x00\x01]{1,512})"
)
_HOST = re.compile(
    r"@(?!\d{1,9}\b(?![.:]))(?:[\w.\-]{1,253}|\[[0-9a-fA-F:.]{2,45}\])(?::\d{1,5})?(?=[/?#,;)\]}&\\]|\Z)"
)
_CLEAR_HOST = re.compile(
    r"(?:\[[0-9a-fA-F:.]{2,45}\](?::\d{1,5})?|[\w\-]{1,63}\.[\w.\-]{1,190}|localhost|[\w.\-]{1,253}:\d{1,5})\Z"
)
_AFTER = re.compile(r"[/?#\\,;)&\s\"'<>\x00].*", re.DOTALL)
_PORT = re.compile(r"\d{0,5}\Z")
_OPEN = frozenset("${<%*")
_FETCHED = frozenset({"http", "https", "ws", "wss", "file", "data"})


def raw_userinfo(text: str, at: int, strict: int) -> tuple[int, int] | None:
    """Return the position of ``user:password`` in a URL whose password contains ``/``, ``?``, ``#``
    or ``@`` unescaped. *at* is the position of ``://``. *strict* is the end of the userinfo
    according to a strict URL parser, or -1.
    """
    match = _RAW.match(text, at + 1)
    if match is None:
        return None
    rest, start = match.group("rest"), match.start("rest")
    last = _last_host(rest)
    if last < 0 or start + last <= strict:
        return None
    if strict >= 0:
        # If the URL already has a valid userinfo, the search continues only if the userinfo is
        # followed by the rest of a password instead of a host. The URLs of pages often contain an
        # "@" in the path, and those of databases hardly ever do.
        if _CLEAR_HOST.match(_AFTER.sub("", text[strict + 1 : strict + 260], 1)) and _is_fetched(
            text, at
        ):
            return None
        if _CLEAR_HOST.match(_AFTER.sub("", rest[last + 1 :], 1)) is None:
            return None
        return match.start("user"), start + last
    first = re.split(r"[/?#]", rest[:last], maxsplit=1)[0]
    if first[:1] in _OPEN or is_reference(rest[:last]):
        return None
    if _PORT.match(first) is not None and not _is_password(text, at, match.group("user"), first):
        return None
    return match.start("user"), start + last


def _last_host(rest: str) -> int:
    """Return the position of the last ``@`` in *rest* that is followed by a host, or -1 if there is
    none.
    """
    at = rest.rfind("@")
    for _ in range(8):
        if at < 0:
            return -1
        host = _HOST.match(rest, at)
        if host is not None:
            return at
        at = rest.rfind("@", 0, at)
    return -1


def _is_password(text: str, at: int, user: str, digits: str) -> bool:
    """Return True if the digits after the colon begin a password rather than a port, as in
    ``redis://app:12/34@cache:6379``.
    """
    return bool(digits) and "." not in user and user != "localhost" and not _is_fetched(text, at)


def _is_fetched(text: str, at: int) -> bool:
    """Return True if the URL at *at* is for a page or a file, or has no scheme."""
    scheme = _SCHEME_BACK.match(text[max(0, at - 32) : at][::-1])
    return scheme is None or scheme.group()[::-1].lower() in _FETCHED


# --- user/password@host ---

_ACCOUNT_BACK = re.compile(
    r"(?P<v>\\?\"[^\"\s\x00\x01]{1,128}\"|[^\s\"'@/\\<>()=,;\x00\x01]{1,128})/(?P<user>[\w$#.\-\[\]]{1,128})(?![\w/@\\.~\-])"
)
# The text after the account: a host with a port and a service, an easy connect string with slashes,
# or a description.
_SERVICE = re.compile(
    r"@(?://[\w.\-\[]|[\w.\-]{1,253}:\d{2,5}(?:/[A-Za-z]|:[A-Za-z])|\(DESCRIPTION|\(description)"
)
# The "@" before the version of a package, an action or an image does not follow an account.
_ALIAS = re.compile(
    r"@[\"']?(?!v\d|sha\d+:|(?:latest|next|main|master|stable)\b)[A-Za-z][\w.\-$]{0,253}"
)
_CONTEXT = re.compile(
    r"oracle|sqlplus|sqlldr|sqlcl|\brman\b|expdp|impdp|oci8?:|\bconn(?:ect)?\b|userid\s?=|\btns\w{0,12}|logon"
    r"|(?:\btarget|\bcatalog|\bauxiliary|\bexp|\bimp)[ =]{1,3}\Z",
    re.IGNORECASE,
)
_NEAR = 96
_GO_BACK = re.compile(r"(?P<v>[^\s\"'<>\x00\x01:]{1,256}):[\w.\-$]{1,128}(?![\w/])")


def accounts(text: str) -> Iterator[Hit]:
    """Yield the passwords in Oracle's ``user/password@host`` and Go's ``user:password@tcp(host)``."""
    at = text.find("@")
    while at >= 0:
        slash = text.rfind("/", max(0, at - 132), at)
        if text.startswith(("@tcp(", "@unix(", "@udp("), at):
            back = _GO_BACK.match(text[max(0, at - 386) : at][::-1])
            value = "//" if back is None else back.group("v")[::-1]
            if not value.startswith("//") and not is_reference(value):
                yield Hit(at - len(value), at, "secret", "account")
        elif slash > 0 and text[slash - 1] not in "/:":
            yield from _account(text, at)
        at = text.find("@", at + 1)


def _account(text: str, at: int) -> Iterator[Hit]:
    back = _ACCOUNT_BACK.match(text[max(0, at - 264) : at][::-1])
    if back is None or is_reference(back.group("v")[::-1]):
        return
    user = back.group("user")[::-1]
    if _SERVICE.match(text, at) is None:
        start = at - back.end()
        near = before(text, start, _NEAR)
        if _ALIAS.match(text, at) is None or near.endswith("mailto:") or not _CONTEXT.search(near):
            return
    if not any(map(str.isalpha, user)):
        return
    start = at - back.end("v")
    yield Hit(start, at, "secret", "account")


# --- values in braces ---

_BRACES = re.compile(r"[ \t]{0,4}\{(?P<v>(?:[^}\r\n\x00\x01]|\}\}){1,256})\}(?!\})")
_PAIRS = re.compile(
    r"\b(?:driver|server|uid|dsn|database|data source|user id|trusted_connection|port|host|user|hostname|address|network|dbq|encrypt)\s?=",
    re.IGNORECASE,
)
_DOUBLED = re.compile(r"\}\}[^}]")
_BESIDE = 160
_CODE = re.compile(r"[\s\"'`(]|=>|[A-Za-z_$][\w.\[\]]*(?:![rsa])?(?::[^{}]*)?=?\Z")


def braced(text: str, at: int, name: str) -> tuple[int, int] | None:
    """Return the position of the value in braces that is assigned at *at*, as ODBC writes it:
    ``PWD={a;b}}c}``.
    """
    match = _BRACES.match(text, at)
    if match is None:
        return None
    value = match.group("v")
    if is_reference("{" + value + "}"):
        return None
    code = _CODE.match(value) is not None or any(map(str.isspace, value)) or value[0] == "{"
    # In code, a doubled closing brace in the middle always has an opening brace before it.
    odbc = _DOUBLED.search(value) is not None and "{" not in value
    left = before(text, at, _BESIDE)
    # This is the end of f"{{pwd={x}}}".
    code = code or (value.endswith("}}") and "{{" in left)
    if odbc or (not code and not is_expression(text, match.start("v"), name)):
        return match.span("v")
    # Text that could also be code counts as a value if it is next to other values.
    paired = left[:-1].rstrip(" \t").removesuffix(name).rstrip()[-1:] == ";"
    if paired or _PAIRS.search(left) is not None:
        return match.span("v")
    right = text[match.end() : match.end() + _BESIDE].partition(JOINT)[0]
    return None if _PAIRS.search(right) is None else match.span("v")
