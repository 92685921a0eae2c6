"""What in a text looks like a secret or like personal data, whatever its place.

``scan`` takes ASCII or normalised text (``marks.normalised``). Several texts may be joined with ``JOINT`` and scanned at
once: no hit reaches over it, and each text gives the hits that it gives alone. Work is linear in the length of the text:
patterns are anchored on a literal that was found first, and every repetition is bounded or possessive by construction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from guardrail.core.keynames import classify, stricter
from guardrail.core.marks import FILLER, MARK_PREFIX, mask_marks

__all__ = ["JOINT", "Hit", "looks_random", "scan", "scan_secrets", "secretive"]

JOINT = "\x00"


class Hit(NamedTuple):
    """One stretch of a text that is to go."""

    start: int
    end: int
    cls: str
    rule: str
    """Name of the detector, e.g. ``card``; joined with ``+`` where several hit the same place."""


def scan(text: str) -> list[Hit]:
    """Return what is to be removed from *text*, in order, never overlapping."""
    if len(text) < 4:
        return []
    if MARK_PREFIX in text:
        text = mask_marks(text)
    hits: list[Hit] = []
    for detector in _SECRETS:
        hits += detector(text)
    for detector in _PERSONAL:
        hits += detector(text)
    return _merged(hits) if hits else hits


def scan_secrets(text: str) -> list[Hit]:
    """Return what ``scan`` does, but of class ``secret`` only."""
    if len(text) < 4:
        return []
    if MARK_PREFIX in text:
        text = mask_marks(text)
    hits: list[Hit] = []
    for detector in _SECRETS:
        hits += detector(text)
    return _merged([hit for hit in hits if hit.cls == "secret"]) if hits else hits


def _merged(hits: list[Hit]) -> list[Hit]:
    if len(hits) <= 1:
        return hits
    hits.sort(key=lambda hit: (hit.start, -hit.end))
    out: list[Hit] = [hits[0]]
    for hit in hits[1:]:
        last = out[-1]
        if hit.start >= last.end:
            out.append(hit)
            continue
        names = last.rule if hit.rule in last.rule.split("+") else f"{last.rule}+{hit.rule}"
        out[-1] = Hit(last.start, max(last.end, hit.end), stricter(last.cls, hit.cls), names)
    return out


# --- secrets by their own shape ---------------------------------------------------------------------------------------

_LONG = 16
_WORD = re.compile(r"[A-Za-z0-9_\-+/.~!:]{16,}={0,2}")
# Prefixes that providers put before their keys so that scanners find them, and how long what follows is at least.
_PROVIDERS = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA|AROA|AIDA|ABIA|ACCA|A3T[A-Z0-9])[A-Z0-9]{16}(?![A-Za-z0-9])"
    r"|gh[opusr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|gl(?:pat|ptt|rt|dt|soat|cbt|ft|imt|agent)-[\w.\-]{18,}"
    r"|[sr]k_(?:live|test|prod)_\w{10,}|pk_live_\w{10,}|sk-[\w\-]{16,}|whsec_[\w+/=]{16,}"
    r"|xox[a-z](?:\.xox[a-z])?-[\w\-]{8,}|xapp-[\w\-]{10,}|AIza[\w\-]{30,}|ya29\.[\w\-.]{16,}|GOCSPX-[\w\-]{16,}"
    r"|1//0[\w\-]{20,}|SG\.[\w\-]{12,}\.[\w\-]{16,}|key-[0-9a-f]{32}|np[mp]_[A-Za-z0-9]{20,}|pypi-[\w\-]{16,}"
    r"|do[oprt]_v1_[0-9a-f]{32,}|hf_[A-Za-z0-9]{20,}|r8_[A-Za-z0-9]{20,}|gsk_\w{20,}|xai-\w{20,}|pplx-\w{20,}"
    r"|dckr_(?:pat|oat)_[\w\-]{16,}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{16,}|sq0[a-z]{3}-[\w\-]{16,}|EAAA[\w\-]{40,}"
    r"|hv[sbr]\.[\w\-]{16,}|[sb]\.[A-Za-z0-9]{24}(?![A-Za-z0-9])|atlasv1\.[\w\-]{20,}|[A-Za-z0-9]{14}\.atlasv1\.[\w\-]{20,}"
    r"|dp\.(?:pt|st|sa|ct|scim|audit)\.[\w.\-]{16,}|pul-[0-9a-f]{32,}|dapi[0-9a-f]{32}(?:-\d)?|lin_api_\w{16,}"
    r"|secret_[A-Za-z0-9]{20,}|ntn_[A-Za-z0-9]{20,}|PMAK-[\w\-]{20,}|fig[dour]_[\w\-]{16,}|sntry[su]_[\w+/=\-]{16,}"
    r"|NRAK-[A-Z0-9]{16,}|NRJS-[0-9a-f]{12,}|NRII-[\w\-]{16,}|glc_[\w+/=]{16,}|glsa_\w{16,}|tskey-[\w\-]{8,}"
    r"|AGE-SECRET-KEY-1[A-Z0-9]{20,}|pscale_(?:tkn|pw|oauth)_[\w.\-]{16,}|rubygems_[0-9a-f]{16,}|CFPAT-[\w\-]{16,}"
    r"|bkua_[0-9a-f]{16,}|ATATT3[\w\-=]{16,}|ATCTT3[\w\-=]{16,}|ATBB[\w]{16,}|AKCp[\w]{16,}|cmVmdGtu\w{16,}"
    r"|xkeysib-[\w\-]{16,}|SK[0-9a-f]{32}(?![0-9a-f])|AC[0-9a-f]{32}(?![0-9a-f])|EZ[AT]K\w{20,}|live_\w{16,}|test_\w{24,}"
    r"|sgp_\w{16,}|sl[a]?\.[\w\-]{40,}|figd_[\w\-]{16,}|aio_[A-Za-z0-9]{16,}|tfp_\w{16,}|odt_\w{16,}|pat[A-Za-z0-9]{14}\.\w{16,}"
    r"|\d{8,10}:[A-Za-z0-9_\-]{34,36}(?![A-Za-z0-9_\-])|sq[apu]_[0-9a-f]{32,}|nfp_\w{16,}|rnd_\w{16,}|rk_\w{20,}|crates\w{20,}"
    r"|VF\.[A-Z]{2,4}\.[\w.\-]{16,}|oy2[a-z0-9]{43}|p8e-[\w\-]{16,}|ops_eyJ[\w]{16,}|phc_\w{16,}|phx_\w{16,}|rdme_\w{16,}"
    r"|tk[n]?\.v1_[\w=]{16,}|00[A-Za-z0-9]{13}![\w.]{40,}|vercel_\w{16,}|sbp_[0-9a-f]{32,}|sb_secret_[\w]{16,}"
    r"|(?:AccountKey|SharedAccessKey)=[A-Za-z0-9+/]{20,}={0,2}|amzn\.mws\.[0-9a-f\-]{20,}|LTAI[A-Za-z0-9]{12,}|AKID[A-Za-z0-9]{16,}"
    r"|pat-(?:na|eu|ap)\d-[0-9a-fA-F\-]{36}|1000\.[0-9a-f]{32}\.[0-9a-f]{32}|nvapi-[\w\-]{20,}"
    r"|EAA[A-Za-z0-9]{30,}|IGQV[\w\-]{30,}|[A-Za-z0-9]{32}-us\d{1,2}(?![0-9])"
    r")"
)
_JWT = re.compile(r"(?<![A-Za-z0-9_\-])e[yw][A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{6,}(?:\.[A-Za-z0-9_\-]*){0,3}")
_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\Z")
_HEX = re.compile(r"(?:0[xX])?(?:[0-9a-f]+|[0-9A-F]+)\Z")
# md5, sha-1, sha-224, sha-256, sha-384, sha-512, and the object ids of a document database
_DIGESTS = frozenset({24, 32, 40, 56, 64, 96, 128})
# "svc_" and a digest is how many providers write a key; of digests themselves the algorithm is named.
_PREFIXED_HEX = re.compile(r"(?!sha|md5|blake|git|etag|crc)[A-Za-z]{2,8}[_\-](?:[a-z]{2,6}[_\-])?(?:[0-9a-f]{32,}|[0-9A-F]{32,})\Z")
_PIECES = re.compile(r"[_\-.:~!]+")
_ALNUM_CHANGE = re.compile(r"[a-zA-Z][0-9]|[0-9][a-zA-Z]")
_CASE_CHANGE = re.compile(r"[a-z][A-Z]|[A-Z]{2}(?=[a-z])")


def looks_random(word: str) -> bool:
    """Return whether *word* looks drawn at random: no name, path, digest, UUID, date or number.

    A guess. It is taken in favour of removal for 20 characters and more.
    """
    if len(word) < 20 or word.isdigit() or _UUID.match(word):
        return False
    hexadecimal = _HEX.match(word)
    if hexadecimal is not None:
        size = len(word) - 2 * word.startswith(("0x", "0X"))
        return size not in _DIGESTS and size > 32 and not word.isalpha()
    if len(set(word)) < 10:
        return False
    if _PREFIXED_HEX.match(word):
        return True
    pieces = _PIECES.split(word)
    if len(pieces) > 1:
        return any(_random_piece(piece, 16) for piece in pieces)
    return _random_piece(word, 20)


def _random_piece(piece: str, least: int) -> bool:
    size = len(piece)
    if size < least or piece.isdigit() or len(set(piece)) < 9:
        return False
    if _HEX.match(piece) is not None:
        return False
    swaps = 0
    for _ in _ALNUM_CHANGE.finditer(piece):
        swaps += 1
    if "/" in piece:
        # A path has words between its slashes; base64 has none of its slashes where words end.
        return all(_random_piece(part, 8) for part in piece.split("/") if len(part) > 7) and swaps * 5 >= size
    if swaps >= 3 and swaps * 9 >= size:
        return True
    cases = 0
    for _ in _CASE_CHANGE.finditer(piece):
        cases += 1
    return size >= 20 and (cases + swaps) * 4 >= size and cases >= 3


def _long_words(text: str) -> Iterator[Hit]:
    if len(text) < _LONG:
        return
    at = 0
    for part in text.replace(JOINT, " ").replace(FILLER, " ").split():
        if len(part) < _LONG:
            continue
        at = text.find(part, at)
        end = at + len(part)
        for match in _WORD.finditer(text, at, end):
            yield from _judge_word(match.group(), match.start())
        at = end


def _judge_word(word: str, start: int) -> Iterator[Hit]:
    if _DIGIT.search(word) is None:
        # Words, names and paths. Only mixed case could still be a key.
        if word.islower() or len(word) < 20:
            return
        if "ey" not in word and not looks_random(word):
            return
    for match in _PROVIDERS.finditer(word):
        yield Hit(start + match.start(), start + match.end(), "secret", "provider-key")
    if "ey" in word or "ew" in word:
        for match in _JWT.finditer(word):
            yield Hit(start + match.start(), start + match.end(), "secret", "jwt")
    if word.startswith("LS0tLS1CRUdJTi"):
        yield Hit(start, start + len(word), "secret", "private-key")
        return
    offset = 0
    for run in _RUNS.split(word):
        # "host:port" and sentences glued by dots are judged piece by piece
        if len(run) >= 20 and looks_random(run):
            yield Hit(start + offset, start + offset + len(run), "opaque", "random")
        offset += len(run) + 1


_RUNS = re.compile(r"[:!~.]")
_PEM = "PRIVATE KEY"
_PEM_HEAD = re.compile(r"-{5}BEGIN[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-{5}")


def _pem(text: str) -> Iterator[Hit]:
    if _PEM not in text:
        return
    end = 0
    for match in _PEM_HEAD.finditer(text):
        if match.start() < end:
            continue
        stop = text.find(JOINT, match.end())
        stop = len(text) if stop < 0 else stop
        # Without its last line the rest of the text goes: a key that was cut off is still a key.
        tail = text.find("-----END", match.end(), stop)
        end = stop if tail < 0 else (text.find("-----", tail + 8, stop) + 5 if text.find("-----", tail + 8, stop) >= 0 else stop)
        yield Hit(match.start(), end, "secret", "private-key")


# --- secrets and personal data by the name before them ----------------------------------------------------------------

# Backwards from a separator: quotes and blanks, then a name.
_NAME_BACK = re.compile(r"[\"'\])\\]{0,3} {0,24}[\"'\])\\]{0,3}([\w.\-]{1,60})")
_BEFORE_NAME_BACK = re.compile(r"[\"']")
_VALUE = re.compile(
    r"[=>:]{0,2}[ \t]{0,24}(?:f|b|r)?(?:\\?[\"'`(]){0,2}[ \t]{0,2}(?P<v>(?:[^\s\"'`,;&<>()\[\]{}|\\\x00\x01]|\\(?![\"'nrt]))(?:[^\s\"'`,;&<>()\[\]{}|\\\x00\x01]|\\(?![\"'nrt]))*)"
)
_QUOTED = re.compile(r"[=>:]{0,2}[ \t\n]{0,24}(?:\\?(?P<q>[\"'`]))(?P<v>[^\"'`\r\n\x00\x01\\]+)")
_TO_END = re.compile(r"[=>:]{0,2}[ \t]{0,4}[\"']?(?P<v>[^\"'\r\n,;&|{}\x00\x01]+)")
_LINE = re.compile(r"[ \t]{0,4}[\"']?(?P<v>[^\"'\r\n\x00\x01]+)")
_HEADERS = frozenset({"authorization", "proxy_authorization", "cookie", "set_cookie"})
_SCHEMES = frozenset({"bearer", "basic", "token", "digest", "negotiate", "apikey", "key"})
_PLACEHOLDERS = frozenset(
    {"true", "false", "null", "none", "undefined", "nil", "string", "str", "int", "number", "required", "optional", "required."}
)
_RANDOMISH = re.compile(r"(?=[^\x00]*[0-9])[A-Za-z0-9_\-+/.=:$!@#%^*~]{10,}")


def _assignments(text: str) -> Iterator[Hit]:
    for separator in "=:":
        at = text.find(separator)
        while at >= 0:
            yield from _assignment(text, at)
            at = text.find(separator, at + 1)


def _assignment(text: str, at: int) -> Iterator[Hit]:
    if text.startswith("://", at):
        return
    back = _NAME_BACK.match(text[max(0, at - 92) : at][::-1])
    if back is None:
        return
    name = back.group(1)[::-1]
    if name.isdigit():
        return
    info = classify(name)
    cls = info.cls
    if cls is None and not info.hints_secret and _HINT.search(name) is None:
        return
    if cls == "secret" and _header(name) in _HEADERS and text[at] == ":":
        line = _LINE.match(text, at + 1)
        if line is not None and line.group("v").strip():
            yield Hit(line.start("v"), line.start("v") + len(line.group("v").rstrip()), "secret", "header")
        return
    if cls is None:
        value = _VALUE.match(text, at + 1)
        if value is not None and secretive(value.group("v")):
            yield Hit(value.start("v"), value.end("v"), "secret", "assignment")
    elif cls == "secret":
        yield from _secret_value(text, at)
    else:
        yield from _personal_value(text, at, cls, quoted=back.end() > len(name) and back.group()[0] in "\"'\\")


_HINT = re.compile(r"secret|passw|token|api_?key|private|access|SECRET|PASSW|TOKEN|KEY|PRIVATE|ACCESS|Secret|Token|Private")


def _header(name: str) -> str:
    return name.lower().replace("-", "_")


def _secret_value(text: str, at: int) -> Iterator[Hit]:
    value = _QUOTED.match(text, at + 1) or _VALUE.match(text, at + 1)
    if value is None:
        return
    word, start, end = value.group("v"), value.start("v"), value.end("v")
    if word.lower() in _SCHEMES and text[end : end + 1] == " ":
        following = _VALUE.match(text, end)
        if following is not None:
            end = following.end("v")
    elif word.lower() in _PLACEHOLDERS or (len(word) < 3 and not word.isalnum()):
        return
    yield Hit(start, end, "secret", "assignment")


def _personal_value(text: str, at: int, cls: str, *, quoted: bool) -> Iterator[Hit]:
    # In running text a name before a colon is too weak a sign: quotes, or a parameter of a URL or form, must say more.
    value = _QUOTED.match(text, at + 1)
    if value is None and text[at] == "=" and text[at + 1 : at + 2] not in {" ", "="}:
        value = _VALUE.match(text, at + 1)
    elif value is None and quoted:
        value = _VALUE.match(text, at + 1)
    if value is None:
        return
    word = value.group("v").strip()
    if word and word.lower() not in _PLACEHOLDERS:
        yield Hit(value.start("v"), value.end("v"), cls, "assignment")


def secretive(word: str) -> bool:
    """Return whether a value after a name that only hints at a secret looks like one."""
    if len(word) < 12 or len(set(word)) < 6 or ("/" in word and "." in word):
        return False
    if word.isdigit():
        return len(word) >= 15
    if word.isalpha():
        return len(word) >= 20 and not word.islower() and not word.isupper()
    return _DIGIT.search(word) is not None and _DATE.match(word) is None


_DIGIT = re.compile(r"[0-9]")
_KEYWORDS = ("pass", "pwd", "secret", "token", "key", "auth", "cred", "access", "private", "bearer", "basic ")
_AFTER_KEYWORD = re.compile(
    r"[A-Za-z_\-]{0,24}(?: (?:key|token|code|KEY|TOKEN|CODE))?[\"')]{0,2}(?:[ \t\r\n]{1,6}(?:is|was)[ \t]{1,2}|[ \t\r\n]{1,6}|[\-.,#'\"/]{1,3} ?)[\"'(]{0,2}"
    r"(?P<v>[A-Za-z0-9_\-+/.=:$!@#%^*~]{6,})"
)
_FLAG_BACK = re.compile(r"[A-Za-z\-_]{0,30}--(?![^\s\x00\"'])")
_IS = re.compile(r"[ \t](?:is|was)[ \t]")


def _keywords(text: str) -> Iterator[Hit]:
    low = text.lower()
    if len(low) != len(text):
        low = text.translate(_ASCII_LOWER)
    for keyword in _KEYWORDS:
        at = low.find(keyword)
        while at >= 0:
            match = _AFTER_KEYWORD.match(text, at + len(keyword.rstrip()))
            if match is not None and _follows(text, low, keyword, at, match):
                yield Hit(match.start("v"), match.end("v"), "secret", "keyword")
            at = low.find(keyword, at + len(keyword))


_ASCII_LOWER = {code: code + 32 for code in range(65, 91)}
_STRONG = frozenset({"pass", "pwd", "secret", "cred"})


def _follows(text: str, low: str, keyword: str, at: int, match: re.Match[str]) -> bool:
    word = match.group("v").rstrip(".:=")
    if keyword in {"bearer", "basic "}:
        return len(word) >= 8 and not word.isalpha()
    if keyword in _STRONG and _FLAG_BACK.match(text[max(0, at - 34) : at][::-1]) is not None:
        return word.lower() not in _PLACEHOLDERS  # --db-password hunter2
    if keyword in {"pass", "pwd"} and _IS.search(low, at, match.start("v")) is not None:
        return len(word) >= 6
    if len(word) < 10 or word.isdigit() and len(word) < 16 or word.isalpha():
        return False
    if not any(char.isdigit() for char in word) or len(set(word)) < 6:
        return False
    return _wordlike(word) is False


_WORDLIKE = re.compile(r"(?:[A-Za-z]{2,16}[0-9]{0,4}|[0-9]{1,8})(?:[_\-.:/](?:[A-Za-z]{2,16}[0-9]{0,4}|[0-9]{1,8}))*\Z")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ][\d:.]+(?:Z|[+-]\d{2}:?\d{2})?)?\Z")


def _wordlike(word: str) -> bool:
    """Return whether *word* reads as words, a short number, a date or a path."""
    return len(word) < 30 and (_WORDLIKE.match(word) is not None or _DATE.match(word) is not None)


_USERINFO = re.compile(r"//([^\s/?#\"'<>\x00\x01]{1,512})(?<=.)@")
_PASSWORD_HASH = re.compile(r"\$(?:[15678y]|2[abxy]?|argon2\w{1,2}|scrypt|pbkdf2[\w\-]{0,12}|apr1)\$[^\s\"'\x00\x01:,;]{8,512}")
_WEBHOOK = re.compile(r"://([^\s/\"'<>\x00\x01]{1,253})/([^\s\"'<>\x00\x01?#]{8,1024})")
_CURL_USER = re.compile(r"(?:-u|--user)[ =][\"']?([^\s:\"'\x00\x01]{1,200}:[^\s\"'\x00\x01]{1,300})")


def _urls(text: str) -> Iterator[Hit]:
    if "://" in text and "@" in text:
        at = text.find("://")
        while at >= 0:
            match = _USERINFO.match(text, at + 1)
            if match is not None:
                user, colon, _ = match.group(1).partition(":")
                start = match.start(1) + len(user) + 1 if colon else match.start(1)
                if match.end(1) > start:
                    yield Hit(match.start(1), match.end(1), "secret", "url-credentials")
            at = text.find("://", at + 3)
    if "hook" in text and "://" in text:
        # Whoever knows the path of a webhook may post to it.
        for match in _WEBHOOK.finditer(text):
            path = match.group(2)
            if ("hook" in path or "hook" in match.group(1)) and any(len(part) >= 8 and _DIGIT.search(part) for part in path.split("/")):
                yield Hit(match.start(2), match.end(2), "secret", "webhook")
    if "$" in text:
        for match in _PASSWORD_HASH.finditer(text):
            yield Hit(match.start(), match.end(), "secret", "password-hash")
    if "-u" in text:
        for match in _CURL_USER.finditer(text):
            yield Hit(match.start(1), match.end(1), "secret", "url-credentials")


# --- personal data -----------------------------------------------------------------------------------------------------

_LOCAL_BACK = re.compile(r"[\w.%+\-'!#$&*/=?^`{|}~]{1,64}")
_DOMAIN = re.compile(r"\[?[\w\-]{1,63}(?:\.[\w\-]{1,63}){1,8}")


def _emails(text: str) -> Iterator[Hit]:
    at = text.find("@")
    while at >= 0:
        local = _LOCAL_BACK.match(text[max(0, at - 64) : at][::-1])
        domain = _DOMAIN.match(text, at + 1)
        if local is not None and domain is not None:
            start, end = at - local.end(), domain.end()
            while text[start] in "'`{|/=?&*!#$~^-." and start < at - 1:
                start += 1
            cut = max(text.rfind(mark, start, at) for mark in "=/?&|'{")
            start = cut + 1 if cut >= start and cut + 1 < at else start
            while text[end - 1] in "-_":
                end -= 1
            if not text[end - 1].isdigit() and text[start:at] != "git":
                yield Hit(start, end, "contact", "email")
        at = text.find("@", at + 1)


_NUMBERS = re.compile(r"[0-9][0-9 ()./\-]{7,}[0-9]")
_CARD = re.compile(r"(?<![0-9])[2-6][0-9](?:[ \-]?[0-9]){11,17}(?![0-9])")
_SSN = re.compile(r"(?<![0-9\-])(?!000|666|9)[0-9]{3}([\- ])(?!00)[0-9]{2}\1(?!0000)[0-9]{4}(?![0-9\-])")
_PHONE = re.compile(
    r"\+[1-9][0-9]{0,2}[ .\-/]?(?:\(?[0-9]{1,5}\)?[ .\-/]?){2,5}[0-9]{2,}"
    r"|(?<![0-9.\-])(?:1[ .\-])?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[.\- ])[0-9]{3}[.\- ][0-9]{4}(?![0-9\-])"
)
_NOT_DIGITS = re.compile(r"[^0-9]+")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
_LEADING_DATE = re.compile(r"(?:19|20)[0-9]{2}[\-/. ]?[01][0-9][\-/. ]?[0-3][0-9]\b")


def _numbers(text: str) -> Iterator[Hit]:
    for match in _NUMBERS.finditer(text):
        run, start = match.group(), match.start()
        if len(run) < 11 and run[4:5] == "-" and _LEADING_DATE.match(run):
            continue
        digits = len(_NOT_DIGITS.sub("", run))
        if digits >= 12:
            yield from _cards(run, start)
        if start and (text[start - 1].isupper() or (text[start - 1] == " " and text[start - 2].isupper())):
            yield from _ibans(text, max(text.rfind(JOINT, 0, start) + 1, start - 12), match.end() + 40)
        if digits < 9 or len(run) == digits and text[start - 1 : start] != "+":
            continue
        if len(run) >= 11 and (run.count("-") >= 2 or run.count(" ") >= 2):
            for part in _SSN.finditer(run):
                yield Hit(start + part.start(), start + part.end(), "government_id", "ssn")
        while start and text[start - 1] in "+(" and match.start() - start < 2:
            start -= 1
        yield from _phones(text, text[start : match.end()], start)


def _ibans(text: str, start: int, end: int) -> Iterator[Hit]:
    joint = text.find(JOINT, start, end)
    end = min(end, len(text)) if joint < 0 else joint
    for match in _IBAN.finditer(text, start, end):
        whole = match.end() < end or end == len(text) or joint >= 0
        if whole and (match.start() == 0 or not text[match.start() - 1].isalnum()) and _iban(match.group()):
            yield Hit(match.start(), match.end(), "payment", "iban")


def _cards(run: str, start: int) -> Iterator[Hit]:
    for part in _CARD.finditer(run):
        if _card(_NOT_DIGITS.sub("", part.group())):
            yield Hit(start + part.start(), start + part.end(), "payment", "card")


def _phones(text: str, run: str, start: int) -> Iterator[Hit]:
    if _LEADING_DATE.match(run) or (start and run[0] != "+" and (text[start - 1].isalnum() or text[start - 1] in "._-#$")):
        return
    for part in _PHONE.finditer(run):
        if 8 <= len(_NOT_DIGITS.sub("", part.group())) <= 15:
            yield Hit(start + part.start(), start + part.end(), "contact", "phone")


def _card_sizes() -> dict[str, frozenset[int]]:
    """Return the lengths of card numbers by their first two digits."""
    sizes = {str(two): frozenset({13, 16, 19}) for two in range(40, 50)}
    sizes |= {str(two): frozenset({16}) for two in (*range(22, 28), *range(51, 56))}
    sizes |= {str(two): frozenset({16, 17, 18, 19}) for two in (35, 50, *range(56, 59), *range(60, 66), 67)}
    return sizes | {"34": frozenset({15}), "37": frozenset({15})} | {two: frozenset({14}) for two in ("30", "36", "38", "39")}


_CARD_SIZES = _card_sizes()
_DOUBLED = {"0": 0, "1": 2, "2": 4, "3": 6, "4": 8, "5": 1, "6": 3, "7": 5, "8": 7, "9": 9}.__getitem__


def _card(digits: str) -> bool:
    if len(digits) not in _CARD_SIZES.get(digits[:2], ()) or len(set(digits)) < 2:
        return False
    return (sum(map(int, digits[-1::-2])) + sum(map(_DOUBLED, digits[-2::-2]))) % 10 == 0


def _iban(text: str) -> bool:
    text = text.replace(" ", "")
    if not 15 <= len(text) <= 34:
        return False
    return int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1


_SECRETS: tuple[Callable[[str], Iterator[Hit]], ...] = (_long_words, _pem, _assignments, _keywords, _urls)
_PERSONAL: tuple[Callable[[str], Iterator[Hit]], ...] = (_emails, _numbers)
