"""Recognises variables, calls and lookups. On the right-hand side of ``token =``, these show where
a secret comes from but are not secrets themselves.

A text that could also be a password counts as a password: only text that clearly looks like code
counts as an expression.
"""

from __future__ import annotations

import re

from guardrail.core.redaction.key_forms import words
from guardrail.core.redaction.key_names import classify
from guardrail.core.redaction.spans import before

__all__ = [
    "is_expression",
    "is_folder",
    "is_name",
    "is_reference",
    "is_technical",
    "passes_on",
]

_REFERENCE = re.compile(
    r"\$(?:env:)?[A-Z]+(?:_[A-Z0-9]+)*\Z|%[A-Z][A-Z0-9_]{1,60}%\Z|\$?\{\{?[^{}\x00]{1,80}\}\}\Z|\$\([^()\x00]{1,200}\)\Z"
    r"|<[A-Za-z][\w \-]{1,60}>\Z|[*xX.\u2022]{3,}\Z|\[?REDACTED\]?\Z"
    # Parameters of a statement or a script, a YAML tag, and the address of a secret in a store.
    r"|\$\d{1,2}\Z|%(?:s|\d)\Z|!(?:Ref|Sub|GetAtt|ImportValue|vault|secret|env_var)\Z|op://[\w./ -]{3,120}\Z|env:[A-Z][A-Z0-9_]{1,60}\Z"
)
_BRACED = re.compile(r"\$?\{(?P<name>[A-Za-z_][\w.]{0,60})(?:[!:][^{}\x00]{0,20})?\}\Z")
_SIGIL = re.compile(r"\$(?:env:)?(?P<name>[A-Za-z_]\w{0,60})\Z", re.IGNORECASE)
# This is a parameter of a statement, as in "password = :password"
_BOUND = re.compile(r"[:@](?P<name>[A-Za-z_]{1,60})\Z")


def is_reference(word: str) -> bool:
    """Return True if *word* is a reference to a variable, a command or a placeholder: ``$TOKEN``,
    ``${{ secrets.X }}``, ``<your-token>``.
    """
    if _REFERENCE.match(word) is not None:
        return True
    braced = _BRACED.match(word)
    if braced is not None:
        return word[0] == "$" or _names_secret(braced.group("name"))
    sigil = _SIGIL.match(word) or _BOUND.match(word)
    return sigil is not None and _names_secret(sigil.group("name"))


_CHOSEN = re.compile(r"[0-9]{2}\Z|[!@#$%^&*+]")


def is_name(literal: str) -> bool:
    """Return True if *literal* is the name of a field with sensitive values. A password can contain
    such a name (``Pass1234``), but has figures at its end or a sign, as names do not.
    """
    return classify(literal).cls is not None and _CHOSEN.search(literal) is None


def _names_secret(name: str) -> bool:
    info = classify(name.rpartition(".")[2])
    return info.cls == "secret" or info.hints_secret


_PIECE = r"[A-Za-z_$]\w{0,63}"
_CHAIN = re.compile(
    rf"(?:(?:await|new|yield|async|not|typeof) {{1,2}})?[$@&]?(?P<chain>{_PIECE}(?:(?:\.|->|::|\?\.){_PIECE}){{0,8}})"
    r"(?P<open>[(\[]?)(?P<close>[)\]]?)(?P<first>[ ]{0,2}(?:[\"'A-Za-z_$*]|$)?)"
)
_LINKS = re.compile(r"\.|->|::|\?\.")
_NAME = re.compile(r"[A-Za-z_$]+[0-9]{0,2}(?:_[A-Za-z0-9]{1,12}){0,8}\Z")
_WORDY_CAMEL = re.compile(r"[a-z]+(?:[A-Z][a-z]+)+\Z|[a-z]+(?:_[a-z]+)+\Z")
_OBJECTS = (
    "os process env self this cls var local vars config settings secrets ctx context request req response resp res params args options "
    "opts inputs steps module github std sys app conf cfg"
)
_HOLDERS = frozenset(_OBJECTS.split())
_AFTER_NAME = frozenset(
    {"", " ", "\t", "\r", "\n", ",", ";", ")", "}", "]", '"', "'", "`", "|", "&", "\x00"}
)


def is_expression(text: str, start: int, name: str) -> bool:
    """Return True if a call, a lookup or an identifier begins at *start*.

    *name* is the name to which a value is assigned.
    """
    match = _CHAIN.match(text, start, start + 700)
    if match is None:
        return False
    chain, end = match.group("chain"), match.end("chain")
    pieces = _LINKS.split(chain)
    if not all(map(_NAME.match, pieces)):
        return False
    if match.group("open"):
        # "Summer(2024)" can be a password, but "self.get(2024)" and "get('x')" are calls.
        if len(pieces) > 1 or _WORDY_CAMEL.match(chain) is not None:
            return True
        return bool(match.group("close") or match.group("first").strip())
    if text[end : end + 1] not in _AFTER_NAME:
        return False
    if len(pieces) > 1:
        return pieces[0] in _HOLDERS or _names_secret(pieces[-1])
    # "token=token", "self.token = token"
    own = words(name.rpartition(".")[2])
    return words(chain) in (own, words(name)) or (
        text[end : end + 1] == ")" and _argument(text, start, chain)
    )


def _argument(text: str, start: int, chain: str) -> bool:
    """Return True if a name is passed as an argument of a call, as in
    ``connect(password=db_password)``.
    """
    if _WORDY_CAMEL.match(chain) is None or not _names_secret(chain):
        return False
    left = before(text, start, 200)
    return left.rfind("(") > left.rfind(")")


_FOLDER = re.compile(r"(?:/|~/|[A-Za-z]:\\)[\w.\-/\\ ]*\Z")
_WORKING = frozenset({"PWD", "OLDPWD", "pwd", "oldpwd"})


def is_folder(name: str, value: str) -> bool:
    """Return True if *value* is a shell's working directory. Its variable, ``PWD``, is also a
    common name for a password.
    """
    return name in _WORKING and _FOLDER.match(value) is not None


_UPSTREAM = re.compile(
    r"(?:(?:https?|grpcs?|s?uwsgi|scgi)://|unix:/)[\w.\-/:$]{1,200};?\Z|[a-z][\w.\-]{0,63}:\d{2,5};?\Z"
)
_PROXIES = frozenset({"proxy", "fastcgi", "uwsgi", "scgi", "grpc", "memcached"})
_WIRE = re.compile(r"GPIO[_ ]?\d{1,2}\Z")
_IN_MEMORY = re.compile(r"0x[0-9a-fA-F]{4,16}\Z")


def is_technical(name: str, value: str) -> bool:
    """Return True if *value* shows that *name* means a part of a computer: the server to which nginx
    passes requests (``proxy_pass``), a ``pin`` of a board, or an ``address`` in memory.
    """
    if value[:2] == "0x":
        return _IN_MEMORY.match(value) is not None and words(name)[-1:] in (["address"], ["addr"])
    if value[:4] == "GPIO":
        return _WIRE.match(value) is not None and words(name)[-1:] == ["pin"]
    if ":" not in value or _UPSTREAM.match(value) is None:
        return False
    parts = words(name)
    return parts[-1:] == ["pass"] and parts[-2:-1] != [] and parts[-2] in _PROXIES


_DIRECTIVE_BACK = re.compile(r"_[a-z]{4,9}(?![a-z_])")


def passes_on(low: str, at: int, word: str) -> bool:
    """Return True if the keyword ``pass`` at *at* is the end of ``proxy_pass``."""
    name = _DIRECTIVE_BACK.match(low[max(0, at - 12) : at][::-1])
    return name is not None and is_technical(f"{name.group()[::-1]}pass", word)
