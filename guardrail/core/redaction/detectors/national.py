"""Recognises national identity and tax numbers whose form is distinctive, by their check digits.

``python-stdnum`` knows the check digits. Numbers without a distinctive form (eleven digits) need a
word before them, which ``labelled`` looks for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any

__all__ = ["is_national_id"]

# Forms, with 9 for a digit and A for a letter, and the modules of stdnum that check them.
_FORMS: dict[str, tuple[str, ...]] = {
    "AAAAAA99A99A999A": ("it.codicefiscale",),
    "99999999A": ("es.dni",),
    "99999999-A": ("es.dni",),
    "A9999999A": ("es.nie", "sg"),
    "A-9999999-A": ("es.nie",),
    "999.999.999-99": ("br.cpf",),
    "99.999.999/9999-99": ("br.cnpj",),
    "AA999999A": ("gb",),
    "AA 99 99 99 A": ("gb",),
    "9 99 99 99 999 999 99": ("fr.nir",),
    "999999999999999": ("fr.nir",),
    "999999-999A": ("fi.hetu",),
    "999999A999A": ("fi.hetu",),
    "999999-9999": ("se.personnummer", "fi.hetu"),
    "99999999-9999": ("se.personnummer",),
    "99.99.99-999.99": ("be.nn",),
    "756.9999.9999.99": ("ch.ssn",),
    "999.9999.9999.99": ("ch.ssn",),
    "9999 9999 9999": ("in_.aadhaar",),
    "AAAAA9999A": ("in_.pan",),
    "AAAA999999AAAAAA99": ("mx.curp",),
    "AAAA999999AAAAAAA9": ("mx.curp",),
    "99.999.999-9": ("cl.rut",),
    "99.999.999-A": ("cl.rut",),
    "9.999.999-9": ("cl.rut",),
    "99-99999999-9": ("ar.cuit",),
    "999999999999999999": ("cn.ric",),
    "99999999999999999A": ("cn.ric",),
    "999999-9999999": ("kr.rrn",),
    "999999/9999": ("cz.rc",),
    "999999/999": ("cz.rc",),
    "9999999999999": ("ro.cnp",),
}
# The parts of stdnum that have no check function of this name, or accept too much, are not used.
_SHAPE = str.maketrans("012345678ABCDEFGHIJKLMNOPQRSTUVWXYZ", "9" * 9 + "A" * 26)
_NINO = re.compile(
    r"(?!BG|GB|KN|NK|NT|TN|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?: ?[0-9]{2}){3} ?[A-D]\Z"
)


def _is_nino(text: str) -> bool:
    return _NINO.match(text) is not None


def _is_nric(text: str) -> bool:
    if text[0] not in "STFG":
        return False
    total = sum(
        int(digit) * weight for digit, weight in zip(text[1:8], (2, 7, 6, 5, 4, 3, 2), strict=True)
    )
    total += 4 * (text[0] in "TG")
    return ("JZIHGFEDCBA" if text[0] in "ST" else "XWUTRQPNMLK")[total % 11] == text[8]


# stdnum has no module for these.
_OWN: dict[str, Callable[[str], bool]] = {"gb": _is_nino, "sg": _is_nric}


def is_national_id(text: str) -> bool:
    """Return True if *text* has the form and the check digits of a national number."""
    modules = _FORMS.get(text.translate(_SHAPE)) if 8 < len(text) < 22 else None
    return modules is not None and any(_is_valid(name, text) for name in modules)


@lru_cache(maxsize=1024)
def _is_valid(name: str, text: str) -> bool:
    own = _OWN.get(name)
    if own is not None:
        return own(text)
    try:
        return bool(_module(name).is_valid(text))
    except LookupError:  # the library has no data on the place that the number names
        return False


@lru_cache(maxsize=64)
def _module(name: str) -> Any:
    return import_module(f"stdnum.{name}")
