"""Finds secrets and personal data based on the text before them: in assignments, headers,
parameters, command lines and URLs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from guardrail.core.redaction.detectors.code import literals
from guardrail.core.redaction.detectors.command import commands, has_option, names_tool
from guardrail.core.redaction.detectors.connect import accounts, braced, raw_userinfo
from guardrail.core.redaction.detectors.labels import labels
from guardrail.core.redaction.detectors.neighbours import name_info, neighbours
from guardrail.core.redaction.detectors.paired import paired
from guardrail.core.redaction.detectors.shape import DIGIT
from guardrail.core.redaction.detectors.spaced import statements
from guardrail.core.redaction.detectors.spoken import spoken
from guardrail.core.redaction.detectors.tails import secret_end
from guardrail.core.redaction.expressions import (
    is_expression,
    is_folder,
    is_reference,
    is_technical,
    passes_on,
)
from guardrail.core.redaction.key_forms import words
from guardrail.core.redaction.key_names_foreign import ends_phrase
from guardrail.core.redaction.spans import Hit

__all__ = ["assignments", "keywords", "looks_secret", "urls"]

# Matched backwards from a separator: quotes and blanks, then a name.
_NAME_BACK = re.compile(r"[\"'\])\\?+]{0,3} {0,24}[\"'\])\\]{0,3}([\w.\-]{1,60})")
_BEFORE_NAME_BACK = re.compile(r"[\"']")
# An entity is part of a value, unless it separates the parameters of a URL.
_SIGN = r"[^\s\"'`,;&<>()\[\]{}|\\\x00\x01]|\\(?![\"'nrt])|&(?!amp;[\w.\-]{1,40}=)(?:#\w{1,7}|[A-Za-z]{2,8});"
_VALUE = re.compile(
    rf"[=>:]{{0,2}}[ \t]{{0,24}}(?:(?:&\w{{1,32}}|!!\w{{1,16}})[ ]{{1,2}})?(?:[fbr](?=\\?[\"'`]))?(?:\\?[\"'`(]){{0,2}}[ \t]{{0,2}}(?P<v>(?:{_SIGN})(?:{_SIGN})*)"
)
_QUOTED = re.compile(
    r"[=>:]{0,2}[ \t\n]{0,24}(?:[NUEL](?=[\"']))?(?:\\?(?P<q>[\"'`]))(?P<v>[^\"'`\r\n\x00\x01\\]+)"
)
_TO_END = re.compile(r"[=>:]{0,2}[ \t]{0,4}[\"']?(?P<v>[^\"'\r\n,;&|{}\x00\x01]+)")
_LINE = re.compile(r"[ \t]{0,4}(?:[fbr](?=[\"']))?[\"']?(?P<v>[^\"'\r\n\x00\x01]+)")
_HEADERS = frozenset({"authorization", "proxy_authorization", "cookie", "set_cookie"})
_SCHEMES = frozenset({"bearer", "basic", "token", "digest", "negotiate", "apikey", "key"})
_PLACEHOLDERS = frozenset(
    {
        "true",
        "false",
        "null",
        "none",
        "undefined",
        "nil",
        "string",
        "str",
        "int",
        "number",
        "required",
        "optional",
        "required.",
        "secretstr",
        "secretbytes",
        "bytes",
    }
)
_RANDOMISH = re.compile(r"(?=[^\x00]*[0-9])[A-Za-z0-9_\-+/.=:$!@#%^*~]{10,}")


def assignments(text: str) -> Iterator[Hit]:
    for separator in "=:":
        at = text.find(separator)
        while at >= 0:
            done = at + 1
            for hit in _assignment(text, at):
                yield hit
                # The inside of a removed value is not searched again, which keeps the work linear.
                done = hit.end
            at = text.find(separator, done)


# These are not assignments: "Token::new", ".token::after"
_SCOPE = re.compile(r"::[A-Za-z_]")


def _assignment(text: str, at: int) -> Iterator[Hit]:
    if text[at] == ":" and (text.startswith("://", at) or _SCOPE.match(text, at) is not None):
        return
    back = _NAME_BACK.match(text[max(0, at - 92) : at][::-1])
    if back is None:
        return
    name = back.group(1)[::-1]
    if name.isdigit():
        return
    name = name.removeprefix("-D")  # a property of the Java virtual machine
    info = name_info(text, at - back.end(), name, at)
    cls = info.cls
    if cls is None and ends_phrase(text, at - back.end(), name):
        cls = "secret"
    if cls is None and not info.hints_secret and _HINT.search(name) is None:
        signature = _SIGNATURE.match(name) if text[at] == "=" else None
        if signature is not None:
            least = _CODE if signature.group("code") else _SIGNED
            yield from _signature(text, at, at - back.end(), least)
        return
    if cls == "secret" and _header(name) in _HEADERS and text[at] == ":":
        line = _LINE.match(text, at + 1)
        if line is not None and line.group("v").strip() and not _only_names(line.group("v")):
            yield Hit(
                line.start("v"), line.start("v") + len(line.group("v").rstrip()), "secret", "header"
            )
        return
    if cls is None:
        # The search is bounded while it is only a guess, because otherwise a text full of such
        # names would be read repeatedly.
        value = _VALUE.match(text, at + 1, at + _HINTED)
        if (
            value is not None
            and looks_secret(value.group("v"))
            and not is_expression(text, value.start("v"), name)
        ):
            value = _VALUE.match(text, at + 1) or value
            yield Hit(value.start("v"), value.end("v"), "secret", "assignment")
    elif cls == "secret":
        yield from _secret_value(text, at, name)
    else:
        yield from _personal_value(
            text, at, cls, quoted=back.end() > len(name) and back.group()[0] in "\"'\\"
        )


# JSON writes "\\u0026Signature="; "sig" belongs to a shared access signature; "code" is the key of
# an Azure function if it has the right length.
_SIGNATURE = re.compile(
    r"(?:u0026)?(?:[\w\-]{1,32}[\-_.])?(?:sig(?:nature)?|(?P<code>code))\Z", re.IGNORECASE
)


_SIGNED, _CODE = 12, 40


def _signature(text: str, at: int, start: int, least: int) -> Iterator[Hit]:
    """Yield the signature of a presigned URL, which is one of its query parameters."""
    value = _VALUE.match(text, at + 1)
    if (
        value is None
        or len(value.group("v")) < least
        or text[max(0, start - 1) : start] not in _BEFORE_PARAMETER
    ):
        return
    yield Hit(value.start("v"), value.end("v"), "secret", "assignment")


_BEFORE_PARAMETER = frozenset({"?", "&", ";", "\\"})
_WORDY = re.compile(r"\w")
_HINTED = 512
_HINT = re.compile(
    r"secret|passw|token|api_?key|private|access|SECRET|PASSW|TOKEN|KEY|PRIVATE|ACCESS|Secret|Token|Private"
)


def _header(name: str) -> str:
    return name.lower().replace("-", "_")


def _only_names(line: str) -> bool:
    """Return True if a header value is only a variable, with or without a scheme:
    ``Bearer $TOKEN``.
    """
    rest = line.strip().strip("`").split()
    while rest and rest[0].lower() in _SCHEMES:
        del rest[0]
    return not rest or is_reference(" ".join(rest))


def _secret_value(text: str, at: int, name: str) -> Iterator[Hit]:
    quoted = _QUOTED.match(text, at + 1)
    value = quoted or _VALUE.match(text, at + 1)
    special = _unquoted(text, at, name, value) if quoted is None else None
    if special is not None or value is None:
        yield from special or ()
        return
    word, start, end = value.group("v"), value.start("v"), value.end("v")
    after = _MORE.match(text, end)
    if quoted is None and text[end : end + 1] == "(":
        yield from literals(text, start)
    elif quoted is None and "(" in (between := text[at + 1 : start]):
        # as in auth=("user", "password")
        yield from literals(text, text.index("(", at))
        if between.endswith("(") and text[end : end + 1] == ",":
            return
    elif after is not None:
        # These literals are used if the value is missing, or are combined with it.
        yield from literals(text, after.start("sign"), "name" if after.group("sign") else "literal")
    if is_reference(word) or is_technical(name, word) or (quoted is None and is_folder(name, word)):
        return
    following = (
        _VALUE.match(text, end) if word.lower() in _SCHEMES and text[end : end + 1] == " " else None
    )
    if following is not None:
        end = following.end("v")
    elif (
        word.lower() in _PLACEHOLDERS
        or _WORDY.search(word) is None
        or (
            _is_prose_or_path(text, at, name, word)
            if quoted is None
            else _is_symbol(text, at, name, word)
        )
    ):
        return
    yield Hit(start, secret_end(text, end, quoted), "secret", "assignment")


def _unquoted(text: str, at: int, name: str, value: re.Match[str] | None) -> Iterable[Hit] | None:
    """Return the hit for a value without quotes, or None if *value* looks like an ordinary word."""
    typed = _TYPED.match(text, at) if text[at] == ":" else None
    if typed is not None:
        return literals(text, typed.end())
    if "{" in text[at + 1 : at + 6]:
        place = braced(text, at + 1, name)
        if place is not None:
            return [Hit(*place, "secret", "assignment")]
    empty = _EMPTY.match(text, at + 1)
    if value is None or empty is not None:
        begins = empty or _LITERAL.match(text, at + 1)
        sign = "" if empty is None else "literal"
        return [] if begins is None else literals(text, begins.end(), sign)
    if not is_folder(name, value.group("v")) and is_expression(text, value.start("v"), name):
        return literals(text, value.start("v"))
    return None


def _is_prose_or_path(text: str, at: int, name: str, word: str) -> bool:
    """Return True if *word* begins a sentence or is a file path."""
    low = word.lower()
    if low in _PROSE and _GOES_ON.match(text, at) is not None:
        return True
    if _FILE.match(word) is not None:
        return True
    if low in _SCHEMES:
        return _last_word(name) == "auth"
    return _SENTENCE.match(text, at) is not None and _last_word(name) in _NEVER_WORDS


def _last_word(name: str) -> str:
    """Return the last word of *name*, or an empty string if *name* is not in the Latin script."""
    return (words(name) or ("",))[-1]


def _is_symbol(text: str, at: int, name: str, word: str) -> bool:
    """Return True if the value is a programming-language token in a comparison, as in ``token ==
    "if"``.
    """
    if not text.startswith("==", at) or not word.isalpha() or len(word) > _SYMBOL:
        return False
    return _last_word(name) == "token"


_SYMBOL = 8
_FILE = re.compile(r"\.{1,2}/[\w./\-]*\.\w{1,8}\Z")
# Names whose values are never a lower-case word, unlike "auth: user alice logged in"
_NEVER_WORDS = frozenset({"token", "auth", "authentication"})
_SENTENCE = re.compile(r":[ \t]{1,4}[a-z]{2,20} [\w'\"(]")
# A declaration with a type is not an assignment: "password: str = ", "apiKey: string = ", "token:
# &str = "
_TYPED = re.compile(
    r":\s{0,4}(?:&(?:'\w{1,16} )?)?[A-Za-z_][A-Za-z_.]{0,40}(?:\[[\w., |\[\]]{0,40}\]|<[\w., |<>]{0,40}>)?\??(?:\s?\|\s?[a-zA-Z]{1,20}){0,3}"
    r"\s{0,4}=\s{0,4}(?=[bruNE]?\\?[\"'`])"
)
# In "token: see below", this is the first of several words after a colon. The other words would be
# recorded anyway.
_PROSE_WORDS = (
    "see the a an is are your our their this that these it its not must should will can may has have was be use used using enter provide provided please ask "
    "contact click copy paste stored kept only same no any if when how what where which who never both either in on from as for to of by at with and or least "
    "minimum maximum"
)
_PROSE = frozenset(_PROSE_WORDS.split())
_GOES_ON = re.compile(r":[ \t]{1,4}[A-Za-z]{1,12} [A-Za-z0-9]")
_LITERAL = re.compile(r"[=>:]{0,2}\s{0,24}(?=[(\"'`])")
_EMPTY = re.compile(r"[=>:]{0,2}[ \t]{0,24}[bfru]?(?:\"\"(?!\")|''(?!'))(?=[ \t]{1,4}[\w|?+])")
_MORE = re.compile(r"\\?[\"'`]?[)\]]{0,3}[ \t]{0,8}(?P<sign>\|\||\?[?:]|\bor\b|\bif\b|\+|(?=\"))")


def _personal_value(text: str, at: int, cls: str, *, quoted: bool) -> Iterator[Hit]:
    # In running text, a name before a colon is too weak a sign: it also needs quotes, or a
    # parameter of a URL or form.
    value = _QUOTED.match(text, at + 1)
    if (value is None and text[at] == "=" and text[at + 1 : at + 2] not in {" ", "="}) or (
        value is None and quoted
    ):
        value = _VALUE.match(text, at + 1)
    if value is None:
        return
    word = value.group("v").strip()
    if word and word.lower() not in _PLACEHOLDERS:
        yield Hit(value.start("v"), value.end("v"), cls, "assignment")


def looks_secret(word: str) -> bool:
    """Return True if *word* looks like a secret. Used after names that merely hint at a secret."""
    if len(word) < 12 or len(set(word)) < 6 or ("/" in word and "." in word):
        return False
    if word.isdigit():
        return len(word) >= 15
    if word.isalpha():
        return len(word) >= 20 and not word.islower() and not word.isupper()
    return DIGIT.search(word) is not None and _DATE.match(word) is None


_KEYWORDS = (
    "pass",
    "pwd",
    "secret",
    "token",
    "key",
    "auth",
    "cred",
    "access",
    "private",
    "bearer",
    "basic ",
)
_AFTER_KEYWORD = re.compile(
    r"[A-Za-z_\-]{0,24}(?: (?:key|token|code|KEY|TOKEN|CODE))?[\"')]{0,2}(?:[ \t\r\n]{1,6}(?:is|was)[ \t]{1,2}|[ \t\r\n]{1,6}|[\-.,#'\"/]{1,3} ?)[\"'(]{0,2}"
    r"(?P<v>[A-Za-z0-9_\-+/.=:$!@#%^*~]{6,256})"
)
_RUN_ON = re.compile(r"[A-Za-z0-9_\-+/.=:$!@#%^*~]+")
_FLAG_BACK = re.compile(r"[A-Za-z\-_]{0,30}-(?![^\s\x00\"'])")
_IS = re.compile(r"[ \t](?:is|was)[ \t]")


def keywords(text: str) -> Iterator[Hit]:
    low = text.lower()
    if len(low) != len(text):
        low = text.translate(_ASCII_LOWER)
    present = [keyword for keyword in _KEYWORDS if keyword in low]
    yield from statements(text, low, present)
    yield from paired(text, low)
    yield from spoken(text, low)
    yield from labels(text)
    yield from neighbours(text, low, present)
    if has_option(low) and names_tool(low):
        yield from commands(text, low)
    for keyword in present:
        at = low.find(keyword)
        while at >= 0:
            done = at + len(keyword)
            # The part to be judged is bounded, and the rest of the removed part is read once.
            # Otherwise, a text full of keywords would be read again for each keyword.
            match = _AFTER_KEYWORD.match(text, at + len(keyword.rstrip()))
            if match is not None and _follows(text, low, keyword, at, match):
                end = match.end("v")
                rest = _RUN_ON.match(text, end)
                end = end if rest is None else rest.end()
                yield Hit(match.start("v"), end, "secret", "keyword")
                done = max(done, end - 64)
            at = low.find(keyword, done)


_ASCII_LOWER = {code: code + 32 for code in range(65, 91)}
_ARGUMENT = re.compile(r"[a-z_]{2,40}=")
_STRONG = frozenset({"pass", "pwd", "secret", "cred"})


def _follows(text: str, low: str, keyword: str, at: int, match: re.Match[str]) -> bool:
    word = match.group("v").rstrip(".:=")
    if is_reference(word) or (keyword == "pass" and passes_on(low, at, word)):
        return False
    if _ARGUMENT.match(match.group("v")) and "," in text[at : match.start("v")]:
        return False  # as in "--password", required=True
    if keyword in {"bearer", "basic "}:
        return len(word) >= 8 and not word.isalpha()
    if keyword in _STRONG and _FLAG_BACK.match(text[max(0, at - 34) : at][::-1]) is not None:
        return word.lower() not in _PLACEHOLDERS  # as in --db-password hunter2
    if keyword in {"pass", "pwd"} and _IS.search(low, at, match.start("v")) is not None:
        return len(word) >= 6
    if len(word) < 10 or (word.isdigit() and len(word) < 16) or word.isalpha():
        return False
    if DIGIT.search(word) is None or len(set(word)) < 6:
        return False
    return _wordlike(word) is False


_WORDLIKE = re.compile(
    r"(?:[A-Za-z]{2,16}[0-9]{0,4}|[0-9]{1,8})(?:[_\-.:/](?:[A-Za-z]{2,16}[0-9]{0,4}|[0-9]{1,8}))*\Z"
)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ][\d:.]+(?:Z|[+-]\d{2}:?\d{2})?)?\Z")


def _wordlike(word: str) -> bool:
    """Return True if *word* looks like words, a short number, a date or a path."""
    return len(word) < 30 and (_WORDLIKE.match(word) is not None or _DATE.match(word) is not None)


_USERINFO = re.compile(r"//([^\s/?#\"'<>\x00\x01]{1,512})(?<=.)@")
_PASSWORD_HASH = re.compile(
    r"\$(?:[15678y]|2[abxy]?|argon2\w{1,2}|scrypt|pbkdf2[\w\-]{0,12}|apr1)\$[^\s\"'\x00\x01:,;]{8,512}"
)
_WEBHOOK = re.compile(r"://([^\s/\"'<>\x00\x01]{1,253})/([^\s\"'<>\x00\x01?#]{8,1024})")
# In Oracle's cloud, anyone who has the address can read the file.
_PREAUTHENTICATED = re.compile(r"objectstorage\.[\w.\-]{1,128}/p/([\w\-]{8,256})/n/")
_CURL_USER = re.compile(
    r"(?:-u|--user|--proxy-user)[ =][\"']?([^\s:\"'\x00\x01]{1,200}:[^\s\"'\x00\x01]{1,300})"
)


def _userinfos(text: str) -> Iterator[Hit]:
    at = text.find("://")
    last = text.rfind("@")
    while 0 <= at < last:
        match = _USERINFO.match(text, at + 1)
        raw = raw_userinfo(text, at, -1 if match is None else match.end(1))
        if raw is not None:
            yield Hit(*raw, "secret", "url-credentials")
        elif match is not None:
            user, colon, _ = match.group(1).partition(":")
            start = match.start(1) + len(user) + 1 if colon else match.start(1)
            if match.end(1) > start and not is_reference(text[start : match.end(1)]):
                yield Hit(match.start(1), match.end(1), "secret", "url-credentials")
        at = text.find("://", at + 3)


def urls(text: str) -> Iterator[Hit]:
    if "@" in text and "/" in text:
        yield from _userinfos(text)
        yield from accounts(text)
    if "hook" in text and "://" in text:
        # Anyone who knows the path of a webhook can post to it.
        for match in _WEBHOOK.finditer(text):
            path = match.group(2)
            if ("hook" in path or "hook" in match.group(1)) and any(
                len(part) >= 8 and DIGIT.search(part) for part in path.split("/")
            ):
                yield Hit(match.start(2), match.end(2), "secret", "webhook")
    if "objectstorage" in text:
        for match in _PREAUTHENTICATED.finditer(text):
            yield Hit(match.start(1), match.end(1), "secret", "url-credentials")
    if "$" in text:
        for match in _PASSWORD_HASH.finditer(text):
            yield Hit(match.start(), match.end(), "secret", "password-hash")
    if "-u" in text:
        for match in _CURL_USER.finditer(text):
            if is_reference(match.group(1).partition(":")[2]):
                continue
            yield Hit(match.start(1), match.end(1), "secret", "url-credentials")
