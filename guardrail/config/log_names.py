"""Creates names for new logs. The names are unique and human-readable.

A log keeps the name that it was created with, because the name is in every line and in every signed
head. The name of an existing log is therefore read from the log and never computed again, even if
its keys, its folder or its host change.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from guardrail.config.sections import is_default_place
from guardrail.config.settings import Settings
from guardrail.system.host import host_name

__all__ = ["configured_name", "is_of_project", "new_log_name", "possible_names"]

_DIGITS = 8
_LONGEST = 64
"""Maximum number of characters used from a host's or a project's name."""


def new_log_name(settings: Settings, public: str, *, part: str = "") -> str:
    """Return the name of a new log whose public key is *public* (64 hex characters).

    This is ``[ledger] log`` if it is set. Otherwise it is ``HOST/PROJECT-`` and the first eight
    digits of the public key itself, not of a digest: ``guardrail keys`` prints them too. PROJECT is
    the folder of guardrail.toml, followed by ``.TENANT`` for a tenant with its own table. If there
    is no such file, it is the folder that contains the ledger or its ``audit/`` folder. *part*
    distinguishes the logs of one project: ``access`` gives ``HOST/PROJECT.access-...``.

    The digits make names unique. They are not proof of anything; only signatures are. HOST and
    PROJECT keep letters and digits from any script, ``.``, ``_`` and ``-``; any other character
    becomes ``-``, because a name must not contain white space, ``+`` (C2SP signed-note), control
    characters or anything that is not Unicode, and because ``~`` precedes the restart number.
    """
    named = configured_name(settings)
    suffix = f".{part}" if part else ""
    return f"{named}{suffix}" if named else f"{_stem(settings)}{suffix}-{public[:_DIGITS]}"


def configured_name(settings: Settings) -> str:
    """Return ``[ledger] log``, with ``-`` for white space and ``+``, or an empty string if it is
    not set.
    """
    return _valid(settings.ledger.log)


def possible_names(settings: Settings, publics: Iterable[str]) -> list[str]:
    """Return the names that anchors may use for a lost log, one for each of its possible keys
    *publics*. The last name has no digits, as in earlier versions.
    """
    if settings.ledger.log:
        return [configured_name(settings)]
    earlier = _valid(f"{host_name()}/{settings.ledger.path.stem}")
    return [*(new_log_name(settings, each) for each in publics), earlier]


def is_of_project(settings: Settings, name: str) -> bool:
    """Return True if ``new_log_name`` could have given *name* to a log of this project, or to a
    restart of that log, with any key.
    """
    if settings.ledger.log:
        return False
    return re.fullmatch(rf"{re.escape(_stem(settings))}-[0-9a-f]{{8}}(~[0-9]+)?", name) is not None


def _stem(settings: Settings) -> str:
    if settings.source is not None:
        project = settings.source.parent
    else:
        ledger = Path(os.path.abspath(settings.ledger.path))
        project = ledger.parent.parent if is_default_place(ledger) else ledger.parent
    folder = Path(os.path.realpath(project)).name
    tenant = f".{settings.tenant_table}" if settings.tenant_table else ""
    return f"{_plain(host_name()) or 'host'}/{_plain(folder) or 'project'}{tenant}"


def _plain(text: str) -> str:
    """Return *text* with ``-`` instead of every character except letters, marks, numbers, ``.``,
    ``_`` and ``-``.
    """
    composed = unicodedata.normalize("NFC", text)
    kept = (
        each if each in "._-" or unicodedata.category(each)[0] in "LMN" else "-"
        for each in composed
    )
    return re.sub("-{2,}", "-", "".join(kept)).strip("-")[:_LONGEST].rstrip("-")


def _valid(name: str) -> str:
    return "".join("-" if each.isspace() or each == "+" else each for each in name)
