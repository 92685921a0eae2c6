"""Finds secrets by their form: keys with a provider's prefix, web tokens, private keys, and words
that look random.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator

from guardrail.core.redaction.marks import FILLER
from guardrail.core.redaction.spans import JOINT, Hit

__all__ = ["DIGIT", "long_words", "looks_random", "pem"]

DIGIT = re.compile(r"[0-9]")
_LONG = 16
_WORD = re.compile(r"[A-Za-z0-9_\-+/.~!:]{16,}={0,2}")
# Each character that can be in such a word becomes "w", and all others become " ".
_WORD_SHAPES = bytes(
    0x77 if re.match(r"[A-Za-z0-9_\-+/.~!:]", chr(one)) else 0x20 for one in range(256)
)
_LONG_SHAPE = b"w" * _LONG
# Prefixes that providers give their keys so that scanners find them, with the minimum length of the
# rest.
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
    r"|(?:bot)?\d{8,10}:[A-Za-z0-9_\-]{34,36}(?![A-Za-z0-9_\-])|sq[apu]_[0-9a-f]{32,}|nfp_\w{16,}|rnd_\w{16,}|rk_\w{20,}|crates\w{20,}"
    r"|VF\.[A-Z]{2,4}\.[\w.\-]{16,}|oy2[a-z0-9]{43}|p8e-[\w\-]{16,}|ops_eyJ[\w]{16,}|phc_\w{16,}|phx_\w{16,}|rdme_\w{16,}"
    r"|tk[n]?\.v1_[\w=]{16,}|00[A-Za-z0-9]{13}![\w.]{40,}|vercel_\w{16,}|sbp_[0-9a-f]{32,}|sb_secret_[\w]{16,}"
    r"|(?:AccountKey|SharedAccessKey)=[A-Za-z0-9+/]{20,}={0,2}|amzn\.mws\.[0-9a-f\-]{20,}|LTAI[A-Za-z0-9]{12,}|AKID[A-Za-z0-9]{16,}"
    r"|pat-(?:na|eu|ap)\d-[0-9a-fA-F\-]{36}|1000\.[0-9a-f]{32}\.[0-9a-f]{32}|nvapi-[\w\-]{20,}"
    r"|EAA[A-Za-z0-9]{30,}|IGQV[\w\-]{30,}|[A-Za-z0-9]{32}-us\d{1,2}(?![0-9])"
    r")"
)
_CAPITALS = re.compile(r"(?:AKIA|ASIA|AROA|AIDA|ABIA|ACCA|A3T[A-Z])[A-Z]{16}(?![A-Za-z0-9])")
_JWT = re.compile(
    r"(?<![A-Za-z0-9_\-])e[yw][A-Za-z0-9_\-]{10,}\.[A-Za-z0-9_\-]{6,}(?:\.[A-Za-z0-9_\-]*){0,3}"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}\Z")
_HEX = re.compile(r"(?:0[xX])?(?:[0-9a-f]+|[0-9A-F]+)\Z")
# Lengths of md5, sha-1, sha-224, sha-256, sha-384 and sha-512 digests, and of the object ids of a
# document database.
_DIGESTS = frozenset({24, 32, 40, 56, 64, 96, 128})
# Many providers write a key as "svc_" and a digest. An ordinary digest follows the name of its
# algorithm.
_PREFIXED_HEX = re.compile(
    r"(?!sha|md5|blake|git|etag|crc)[A-Za-z]{2,8}[_\-](?:[a-z]{2,6}[_\-])?(?:[0-9a-f]{32,}|[0-9A-F]{32,})\Z"
)
_PIECES = re.compile(r"[_\-.:~!]+")
_ALNUM_CHANGE = re.compile(r"[a-zA-Z][0-9]|[0-9][a-zA-Z]")
_CASE_CHANGE = re.compile(r"[a-z][A-Z]|[A-Z]{2}(?=[a-z])")


def looks_random(word: str) -> bool:
    """Return True if *word* looks random, and not like a name, path, digest, UUID, date or number.

    This is a heuristic. If a word of 20 characters or more is unclear, it counts as random.
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
        # A path has words between its slashes. In base64, words do not end at slashes.
        return (
            all(_random_piece(part, 8) for part in piece.split("/") if len(part) > 7)
            and swaps * 5 >= size
        )
    if swaps >= 3 and swaps * 9 >= size:
        return True
    cases = 0
    for _ in _CASE_CHANGE.finditer(piece):
        cases += 1
    return size >= 20 and (cases + swaps) * 4 >= size and cases >= 3


def long_words(text: str) -> Iterator[Hit]:
    if _LONG_SHAPE not in text.encode("ascii", "replace").translate(_WORD_SHAPES):
        return  # nearly no text has such a long word
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
    decoded = _decoded(word)
    if decoded:
        if _PROVIDERS.search(decoded) is not None:
            yield Hit(start, start + len(word), "secret", "encoded-key")
            return
        if _HEX.match(word) is not None and _is_text(decoded):
            yield Hit(start, start + len(word), "opaque", "encoded-text")
            return
    if DIGIT.search(word) is None:
        # These are words, names and paths. Only mixed case could still be a key.
        if word.islower() or len(word) < 20:
            return
        # One in thirty random keys of this kind has no digit.
        if "ey" not in word and not looks_random(word) and not _CAPITALS.search(word):
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
        # "host:port" and sentences joined by dots are judged piece by piece
        if len(run) >= 20 and looks_random(run):
            yield Hit(start + offset, start + offset + len(run), "opaque", "random")
        offset += len(run) + 1


def _decoded(word: str) -> str:
    """Return the text that *word* encodes in hexadecimal or base64, or an empty string if *word*
    encodes no text.
    """
    size = len(word)
    if not 24 <= size <= _MAX_ENCODED or size % 2:
        return ""
    try:
        if _HEX.match(word) is not None:
            return bytes.fromhex(word).decode("ascii")
        if size % 4:
            return ""
        return b64decode(word.translate(_URL_SAFE), validate=True).decode("ascii")
    except ValueError:
        return ""


def _is_text(decoded: str) -> bool:
    """Return True if *decoded* is text, as the octets of a digest practically never are."""
    return decoded.isprintable() and sum(map(str.isalpha, decoded)) >= _LETTERS


_LETTERS = 3
# Keys are short. Of longer text that looks like base64, only the size is recorded.
_MAX_ENCODED = 1_024
_URL_SAFE = str.maketrans("-_", "+/")
_RUNS = re.compile(r"[:!~.]")
# PEM, PGP and, with four dashes and blanks, SSH2 keys.
_KEY_HEAD = re.compile(
    r"-{4,5} ?BEGIN[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)? ?-{4,5}|Private-Lines:[ \t]{0,4}\d{1,6}"
)
_KEY_TAIL = re.compile(
    r"-{4,5} ?END[A-Z0-9 ]{0,60}(?:-{4,5})?|Private-MAC:[ \t]{0,4}[0-9a-fA-F]{0,128}"
)


def pem(text: str) -> Iterator[Hit]:
    if "P" not in text or ("PRIVATE KEY" not in text and "Private-Lines" not in text):
        return
    end = 0
    for match in _KEY_HEAD.finditer(text):
        if match.start() < end:
            continue
        stop = text.find(JOINT, match.end())
        stop = len(text) if stop < 0 else stop
        # If the last line is missing, the rest of the text is removed, because a truncated key is
        # still a key.
        tail = _KEY_TAIL.search(text, match.end(), stop)
        end = stop if tail is None else tail.end()
        yield Hit(match.start(), end, "secret", "private-key")
