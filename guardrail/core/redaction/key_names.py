"""Classifies values by the names of their keys. The rules are based on families of names, not on
lists of field names.

A name is split into words (``userHomeAddress2`` -> user home address). The last word that carries
meaning determines the class, and the words before it qualify it. Words that only describe a value
(``_count``, ``_type``, ``is_``) remove the class.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from guardrail.core.redaction.key_english import ABOUT_LAST, JUDGES, word_set
from guardrail.core.redaction.key_forms import MAX_NAME, is_field_name, words
from guardrail.core.redaction.key_names_foreign import (
    FOREIGN_AFTER,
    FOREIGN_ENDINGS,
    FOREIGN_KEYS,
    FOREIGN_SECRETS,
    names_secret,
)
from guardrail.core.redaction.key_names_personal import judge_personal
from guardrail.core.redaction.key_roles import Role
from guardrail.core.redaction.key_scripts import judge_script
from guardrail.core.redaction.marks import is_mark_key

__all__ = ["CLASSES", "KeyInfo", "Scope", "classify", "rank", "stricter"]

CLASSES = (
    "secret",
    "government_id",
    "payment",
    "health",
    "biometric",
    "special",
    "dob",
    "address",
    "contact",
    "name",
    "financial",
    "person_id",
    "device",
    "opaque",
)
"""Built-in classes, strictest first. ``opaque`` is for values that only look random.

Classes that a schema or a policy defines rank after ``secret``.
"""

_RANK = {cls: index * 10 for index, cls in enumerate(CLASSES)}
_FOREIGN_RANK = 5


def rank(cls: str) -> int:
    """Return the strictness of *cls* as a number: smaller is stricter."""
    return _RANK.get(cls, _FOREIGN_RANK)


def stricter(one: str, other: str) -> str:
    """Return the stricter of two classes; *one* if they are equally strict."""
    return one if rank(one) <= rank(other) else other


class Scope(StrEnum):
    """The values under a key to which its class applies."""

    ANY = "any"
    CONTAINER = "container"
    """Only the content of an object or a list: the value of ``payment_method`` is often a word."""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """The classification of one key."""

    cls: str | None
    scope: Scope
    hints_secret: bool
    """True if the name hints at a secret: values under it count as secrets if they look random."""
    odd: bool
    """True if the name does not look like a field name. It is scanned, as it may itself be data."""
    role: Role | None = None
    """If ``cls`` is None: the role that the name means, from which the value determines the class."""


_TRAILING_DIGITS = re.compile(r"(?<=[a-z])[0-9]+$")


# Words that add nothing at the end of a name: password_value, new_password_confirm.
_NEUTRAL = word_set(
    "value val text txt raw plain plaintext cleartext field input data b64 base64 hash hashed encrypted enc "
    "digest confirm confirmation confirmed again repeat hint old new current primary secondary default main full"
)
# A name that begins with one of these words describes a value instead of containing it.
_ABOUT_FIRST = word_set(
    "is has have had num number_of no_of max min total count include includes require requires required use uses show hide "
    "allow allows enable enabled disable need needs accept accepts should can"
    "n len next prev previous page sort order group filter search"
)
# These words of the two sets above can also be part of a name that means personal data.
_TOLD = word_set("name names id ids policy policies no num n account next serial sort")

_SECRET = word_set(
    "password passwords passwd pwd pswd passphrase passphrases passcode secret secrets credential credentials creds cred "
    "authorization apikey apikeys accesskey secretkey privatekey authkey accesstoken authtoken refreshtoken clientsecret "
    "cvv cvv2 cvc cvc2 csc cvn puk puk1 puk2 mtan smstan phototan pushtan chiptan otp totp hotp pin jwt bearer csrf xsrf crumb cookie cookies pat mnemonic kubeconfig dsn "
    "pw bindpw rootpw adminpw requirepass masterauth psk storepass keypass dbpass dbpw userpass smtppass mailpass sshpass"
)
_SECRET |= FOREIGN_SECRETS
_ALONE = [[each] for each in sorted(FOREIGN_SECRETS)]
_SECRET_ENDINGS = (
    "password", "passwd", "passphrase", "secret", "apikey", "secretkey", "privatekey", "accesskey", "accesstoken",
    "authtoken", "refreshtoken", "sessiontoken", "credential", "credentials", "pwd", *FOREIGN_ENDINGS,
)  # fmt: skip
# "token" counts, unless it is a page token or a count of a model's tokens.
_TOKEN_BENIGN = word_set(
    "next prev previous page paging pagination continuation cursor sync start end max min total prompt completion input "
    "output stop special mask pad unk eos bos cls sep num"
)
_TOKENS_SECRET = word_set(
    "access refresh auth api session bearer secret id device push personal deploy service"
)
_KEY_SECRET = word_set(
    "api access secret private encryption encrypt decryption signing sign master license auth shared service subscription "
    "ssh gpg pgp deploy hmac aes rsa client app application consumer account session security storage function "
    "integration admin root server webhook crypto wallet host live test functions product rest publishable"
)
_KEY_BENIGN = word_set(
    "primary foreign sort partition object cache row issue project idempotency public map hot shard bucket composite "
    "lookup group index item routing dedup deduplication metadata unique natural order config dict cell answer"
)
# Parameters of presigned URLs: anyone who has the signature can read the file.
_SIGNED_URLS = word_set("amz goog oss obs cos tos q ks bce access")
_PASS_BENIGN = word_set(
    "boarding season day ski bus free all first second by test press hall single by train rail travel"
)
_CODE_SECRET = word_set(
    "otp puk tan verification security auth authentication authorization access recovery backup mfa 2fa sms totp pin confirmation "
    "one unlock door alarm invite device gate safe keypad lockbox garage buzzer"
)


# Values under these names are secrets if they look random.
_HINTS = word_set(
    "token auth sid salt sessionid jsessionid phpsessid sessid aspsessionid sessionkey"
)


def classify(name: str) -> KeyInfo:
    """Return the classification by *name*. Cached for names of ordinary length."""
    return (
        _classify(name)
        if len(name) <= MAX_NAME
        else KeyInfo(None, Scope.ANY, hints_secret=False, odd=True)
    )


@lru_cache(maxsize=4096)
def _classify(name: str) -> KeyInfo:
    if is_mark_key(name):
        return KeyInfo(None, Scope.ANY, hints_secret=False, odd=False)
    odd = not is_field_name(name)
    if not name.isascii() and names_secret(name):
        return KeyInfo("secret", Scope.ANY, hints_secret=True, odd=odd)
    script = None if name.isascii() else judge_script(name)
    if isinstance(script, str):
        return KeyInfo(script, Scope.ANY, hints_secret=False, odd=odd)
    if script is not None:
        return KeyInfo(None, Scope.ANY, hints_secret=False, odd=odd, role=script)
    raw = words(name)
    if raw[-2:] == ["last", "4"] or "last4" in raw:
        return KeyInfo("payment", Scope.ANY, hints_secret=False, odd=odd)
    parts = [_TRAILING_DIGITS.sub("", part) or part for part in raw]
    # as in "address_2", "phone 1"
    while len(parts) > 1 and (parts[-1].isdigit() or parts[-1] in _NEUTRAL):
        parts.pop()
    while len(parts) > 1 and parts[0] in {
        "the",
        "my",
        "your",
        "new",
        "old",
        "x",
        "input",
        "current",
        "confirm",
    }:
        parts.pop(0)
    if not parts:
        return KeyInfo(None, Scope.ANY, hints_secret=False, odd=odd)
    cls, scope = _judge(parts)
    # "password_count" is not a password; "full_name" and "user_id" end in such a word and were
    # handled above.
    hints = cls == "secret" or parts[-1] in _HINTS
    hints = hints or (
        parts[-1] in {"key", "keys"} and (len(parts) == 1 or parts[-2] not in _KEY_BENIGN)
    )
    role = None
    if cls is None and parts[-1] not in ABOUT_LAST - _TOLD and parts[0] not in _ABOUT_FIRST - _TOLD:
        found = judge_personal(parts)
        role = found if isinstance(found, Role) else None
        cls = found if isinstance(found, str) else None
    return KeyInfo(cls, scope, hints_secret=hints, odd=odd, role=role)


def _judge(parts: list[str]) -> tuple[str | None, Scope]:
    head, first = parts[-1], parts[0]
    before = parts[-2] if len(parts) > 1 else ""
    if len(parts) > 1 and first in _ABOUT_FIRST and first not in {"no", "order", "group", "sort"}:
        # "is_pregnant" says the same as "pregnant".
        told = _judge(parts[1:])[0] if first in {"is", "has", "was", "had"} else None
        return (told if told in {"health", "special"} else None), Scope.ANY
    if _is_secret(parts, head, before):
        return "secret", Scope.ANY
    for judge in JUDGES:
        cls = judge(parts, head, before)
        if cls is not None:
            boxed = cls == "payment" and head in {"method", "methods"} and before == "payment"
            return cls, Scope.CONTAINER if boxed and head == "method" else Scope.ANY
    return None, Scope.ANY


def _is_secret(parts: list[str], head: str, before: str) -> bool:
    if head in _SECRET or head in {"auth", "authentication"}:
        return True
    if head.endswith(_SECRET_ENDINGS) or _is_foreign_secret(parts) or _opens(head, before):
        return True
    if head in {"signature", "sig"}:
        return before in _SIGNED_URLS
    if head == "pass":
        return before not in _PASS_BENIGN
    if head == "token":
        return before not in _TOKEN_BENIGN
    if head == "tokens":
        return before in _TOKENS_SECRET
    if head in {"key", "keys"}:
        return before in _KEY_SECRET
    if head in {"code", "codes"}:
        return before in _CODE_SECRET or (before in {"time", "factor"} and len(parts) > 2)
    if head == "phrase":
        return before in {"seed", "recovery", "pass"}
    if head in {"string", "str"}:
        return before in {"connection", "secret"}
    if head == "answer":
        return before in {"security", "secret"}
    # the last word describes, the word before decides: card_verification_number, security_number
    if head in {"number", "value", "num"}:
        return before in {"verification", "pin"}
    return head == "connection" and before in {"db", "database"}


def _opens(head: str, before: str) -> bool:
    """Return True for a token in one word (csrftoken, but not pagetoken) and for the combination of
    a lock.
    """
    if head in {"combo", "combination"}:
        return before in {"lock", "lockbox", "padlock", "safe", "vault"}
    stem = head.removesuffix("token")
    return stem not in {head, ""} and stem not in _TOKEN_BENIGN


def _is_foreign_secret(parts: list[str]) -> bool:
    if tuple(parts[-2:]) in FOREIGN_KEYS or tuple(parts[-3:]) in FOREIGN_KEYS:
        return True
    if parts[-1] not in FOREIGN_AFTER:
        return False
    return (
        parts[:-1] in _ALONE
        or tuple(parts[-3:-1]) in FOREIGN_KEYS
        or tuple(parts[-4:-1]) in FOREIGN_KEYS
    )
