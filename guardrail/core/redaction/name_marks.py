"""Classifies values by a name: the key of the value, or a name in a neighbouring field or list
element.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from guardrail.core.redaction.detectors.command import has_option, names_tool, passwords, tool_of
from guardrail.core.redaction.expressions import is_folder, is_technical
from guardrail.core.redaction.key_forms import words
from guardrail.core.redaction.key_names import Scope, classify
from guardrail.core.redaction.key_roles import OF_OWNER, OWNED_NAMES, Role
from guardrail.core.redaction.person_names import MAX_NAME as MAX_PERSON
from guardrail.core.redaction.person_names import is_person
from guardrail.core.redaction.roles import is_kind, mark_of_role
from guardrail.core.redaction.schema_marks import Mark
from guardrail.core.redaction.values import Path
from guardrail.errors import RedactionError

__all__ = [
    "LONG_NAME",
    "Named",
    "mark_and_hint",
    "mark_of_key",
    "marks_of_elements",
    "may_name",
    "named_tool",
    "plain_key",
]

Named = tuple[Mark | None, Mark | None, Role | Scope | None, bool, bool]
"""Classification and hint of a name; the role of the name or the scope of its classification, if the
value determines whether it applies; and two flags: True if the key does not look like a field name,
and True if the key is a word such as ``value``.
"""
LONG_NAME: Named = (None, None, None, True, False)
_VALUES = frozenset({"value", "values", "val", "v", "content", "default"})
# These fields can also contain prose, so only a single word in them is treated as the value of the
# neighbouring name.
_TEXTS = frozenset({"text", "data", "input", "string", "answer"})
# A field with the rows of a table; the names of its columns are in a neighbouring list.
_ROWS = frozenset({"rows", "row", "values", "data", "records", "tuples"})
_COLUMNS = frozenset({"columns", "column", "fields", "header", "headers", "keys", "names", "cols"})
# The private parts of a JSON Web Key (RFC 7518), in an object that states the kind of key.
_JWK = frozenset({"d", "p", "q", "dp", "dq", "qi", "k", "oth"})
_NAMES = frozenset(
    {"name", "key", "k", "n", "header", "field", "param", "parameter", "variable", "var", "property", "option", "attribute", "setting", "id", "label", "type", "system", "env", "path",
     "tag", "column", "attr", "flag", "arg", "argument", "config", "input", "element", "selector", "ref", "placeholder", "question", "title"}
)  # fmt: skip
_FIELDS = 24


@lru_cache(maxsize=4096)
def mark_of_key(name: str) -> Named | None:
    """Return the classification of a key, or None if it has none."""
    info = classify(name)
    parts = words(name)
    valued = bool(parts) and (
        parts[-1] in _VALUES or parts[-1] in _TEXTS or parts[-1] in _ROWS or name in _JWK
    )
    if info.cls is None and info.role is None and not (info.hints_secret or info.odd or valued):
        return None
    # The rule contains the class instead of the name, because a name can be a value in another
    # place. The pointer shows the name if that is permitted.
    rules = (f"key:{info.cls or 'hint'}",)
    mark = Mark(info.cls, rules) if info.cls is not None else None
    hint = Mark("secret", rules) if info.hints_secret and info.cls is None else None
    only = info.role if info.scope is Scope.ANY else info.scope
    return mark, hint, only, info.odd, valued


def mark_and_hint(
    known: Named,
    name: str,
    value: object,
    source: Mapping[str, object],
    path: Path = None,
) -> tuple[Mark | None, Mark | None]:
    """Return the classification and the hint for *value*, which *source* contains under *name*.
    *known* is the classification of the name, and *path* is the path of *source*.
    """
    mark, hint, only, _, valued = known
    if mark is None:
        if isinstance(only, Role):
            return _mark_of_role(only, name, value, source, path), hint
        if not valued or len(source) > _FIELDS:
            return None, hint
        return _mark_of_siblings(name, value, source)
    if only is not None and type(value) is not dict and type(value) is not list:
        return None, hint
    if isinstance(value, str) and (
        is_folder(name, value) or is_technical(name, value) or is_kind(mark[0], value)
    ):
        return None, hint
    return mark, hint


def _mark_of_role(
    role: Role, name: str, value: object, source: Mapping[str, object], path: Path
) -> Mark | None:
    """Return the classification of a value whose name means a role, or anything's name or number."""
    if role.words < 0 and role.number is not None:
        about = len(source) <= _FIELDS and any(_tells_of_person(key) for key in source)
        if not about and not _owner_words(path):
            return None
        mark = Mark(role.number, (f"key:{role.number}",))
        return mark if mark != _NAME else mark_of_role(Role(None, 2), value)
    if role is not OF_OWNER:
        return mark_of_role(role, value)
    last = _last_word(name)
    if last not in OWNED_NAMES:
        owned = _owned(_owner(path)[:_OWNER], name)
        return None if owned is None else _of_value(owned, value)[0]
    # A name is a person's if it is in a field that means a person, or next to personal data.
    least = _owner_words(path)
    if least:
        least = 1
    elif len(source) > _FIELDS:
        return None
    elif last in _NAME_PARTS:
        least = int(sum(part in source for part in _NAME_PARTS) > 1)
    elif (last == "display" and _refers_to_person(source)) or any(map(_is_of_person, source)):
        least = 2
    return mark_of_role(Role(None, least), value) if least else None


_NAME_PARTS = frozenset({"given", "family", "first", "last"})
_PERSON_REFERENCE = re.compile(r"(?:Patient|Practitioner|RelatedPerson|Person)/")


def _refers_to_person(source: Mapping[str, object]) -> bool:
    """Return True if *source* is a reference to a person in FHIR."""
    reference = source.get("reference")
    return isinstance(reference, str) and _PERSON_REFERENCE.match(reference) is not None


def _owner_words(path: Path) -> int:
    """Return the least number of words of a name in the object at *path*, or 0 if the object does
    not mean a person.
    """
    owner = _owner(path)
    return max(0, _least_words(owner)) if owner else 0


def _owner(path: Path) -> str:
    """Return the key that contains the object at *path*, directly or as an element of a list."""
    while path is not None and type(path[2]) is int:
        path = path[0]
    return "" if path is None else str(path[2])


_OWNER = 40


@lru_cache(maxsize=2048)
def _owned(owner: str, name: str) -> Named | None:
    """Return the classification of a number in an object under the key *owner*, or under its plural:
    ``{"accounts": [{"number": ...}]}``.
    """
    if not owner:
        return None
    named = mark_of_key(f"{owner}_{name}")
    if (named is None or _says_nothing(named)) and owner[-1] == "s":
        named = mark_of_key(f"{owner[:-1]}_{name}")
    return None if named is None or _says_nothing(named) else named


def _says_nothing(named: Named) -> bool:
    return named[0] is None and (not isinstance(named[2], Role) or named[2] is OF_OWNER)


@lru_cache(maxsize=1024)
def _least_words(owner: str) -> int:
    role = classify(owner).role if len(owner) <= MAX_PERSON else None
    if role is None:
        return 0
    return 2 if role.words < 0 and role.number == "name" else role.words


@lru_cache(maxsize=1024)
def _is_of_person(key: str) -> bool:
    return len(key) <= MAX_PERSON and classify(key).cls in _OF_PERSONS


@lru_cache(maxsize=1024)
def _tells_of_person(key: str) -> bool:
    """Return True if *key* is personal or means a person in a role."""
    if len(key) > MAX_PERSON:
        return False
    info = classify(key)
    return info.cls in _OF_PERSONS or (info.role is not None and info.role.words > 0)


def _mark_of_siblings(
    name: str, value: object, source: Mapping[str, object]
) -> tuple[Mark | None, Mark | None]:
    """Return the classification and the hint that neighbouring fields in *source* give about
    *value*: a name, column names, or the type of a key.
    """
    if name in _JWK and "kty" in source:
        return _SECRET, None
    last = _last_word(name)
    if isinstance(value, str):
        found = _mark_of_name_field(source, value)
        if last in _VALUES or " " not in value or (found[0] is not None and _fits(found[0], value)):
            return found
        return None, None
    if last in _ROWS and isinstance(value, list | tuple) and _has_secret_column(source, value):
        return _SECRET, None
    if last in _VALUES:
        return _mark_of_name_field(source, value)
    return None, None


def _fits(mark: Mark, value: str) -> bool:
    """Return True if all of a text of several words can be a value of the class of *mark*."""
    if mark[0] == "name":
        return is_person(value, 1)
    return mark[0] != "secret" and len(value) <= MAX_PERSON and any(map(str.isdigit, value))


@lru_cache(maxsize=1024)
def _last_word(name: str) -> str:
    return (words(name) or ("",))[-1]


def _has_secret_column(source: Mapping[str, object], rows: object) -> bool:
    """Return True if a list of names in *source* contains the name of a secret: ``{"columns": [...,
    "password"], "rows": ...}``.
    """
    for key, names in source.items():
        if names is rows or not isinstance(names, list | tuple) or len(names) > _FIELDS * 2:
            continue
        if _is_columns(key) and any(
            isinstance(each, str) and len(each) <= 64 and classify(each).cls == "secret"
            for each in names
        ):
            return True
    return False


@lru_cache(maxsize=1024)
def _is_columns(key: str) -> bool:
    parts = words(key)
    return bool(parts) and parts[-1] in _COLUMNS


def _of_value(named: Named, value: object) -> tuple[Mark | None, Mark | None]:
    """Return the classification and the hint that *named*, a neighbour's name, gives *value*."""
    if isinstance(named[2], Role):
        return mark_of_role(named[2], value), named[1]
    return (named[0], named[1]) if named[2] is None else (None, None)


def _mark_of_name_field(
    source: Mapping[str, object], value: object
) -> tuple[Mark | None, Mark | None]:
    """Return the classification and the hint that a name in an object gives about the object's
    value: ``{"name": "DB_PASSWORD", "value": ...}``.
    """
    for key, label in source.items():
        if isinstance(label, str) and 1 < len(label) <= 64 and _labels(key):
            named = mark_of_key(str.__str__(label))
            found = (None, None) if named is None else _of_value(named, value)
            if found != (None, None):
                return found
    return None, None


@lru_cache(maxsize=1024)
def _labels(key: str) -> bool:
    parts = words(key)
    return bool(parts) and parts[-1] in _NAMES


_OPTION = re.compile(r"--?(?P<name>[A-Za-z][\w.\-]{2,48})\Z")
_HEADER = re.compile(
    r"(?:proxy-)?authorization\Z|(?:set-)?cookie\Z|x-[\w\-]*(?:key|token|secret|auth|password)\Z",
    re.IGNORECASE,
)
_SECRET = Mark("secret", ("key:secret",))
_NAME = Mark("name", ("key:name",))
_OF_PERSONS = frozenset(
    {"contact", "dob", "government_id", "person_id", "payment", "health", "name"}
)


def may_name(source: Sequence[object], pair: bool) -> bool:
    """Return True if ``marks_of_elements`` might find something.

    This check is cheap, because nearly all lists contain no such names.
    """
    if type(source[0]) is dict:
        return any(map(_opens_key, _lines_in(source)))
    if type(source[0]) is not str:
        return False
    try:
        text = "\n".join(source)  # type: ignore[arg-type]
    except TypeError:
        return True
    if (pair and len(source) == 2) or "-" in text or "uthorization" in text or "ookie" in text:
        return True
    return "/" in text and has_option(text.lower())


_STARTERS = frozenset(
    {"command", "cmd", "program", "executable", "exec", "binary", "bin", "tool", "path", "file", "argv0", "entrypoint", "process", "exe", "name"}
)  # fmt: skip


def named_tool(source: Mapping[str, object], words_of: object) -> str | None:
    """Return the tool whose name is in a field next to *words_of*: ``{"command": "redis-cli",
    "args": [...]}``.
    """
    for key, label in source.items():
        if label is words_of or not _names_program(key):
            continue
        if isinstance(label, str):
            texts: list[object] = list(label[:_COMMAND].split())
        else:
            texts = list(label[:_FIELDS]) if isinstance(label, list | tuple) else []
        for text in reversed(texts):
            tool = tool_of(text) if isinstance(text, str) else None
            if tool is not None:
                return tool
    return None


_COMMAND = 256


@lru_cache(maxsize=1024)
def _names_program(key: str) -> bool:
    parts = words(key)
    return bool(parts) and parts[-1] in _STARTERS


def marks_of_elements(
    source: Sequence[object], *, pair: bool, parent: Mapping[str, object] | None = None
) -> dict[int, Mark]:
    """Return the classification of elements that are identified by a preceding element: options,
    headers, pairs, and lines in a private key.

    *pair* is True if *source* is itself an element of a list. *parent* is the object that contains
    it.
    """
    if type(source[0]) is dict:
        return dict.fromkeys(_key_lines(_lines_in(source)), _SECRET)
    try:
        texts = list(map(str.__str__, source))
    except TypeError:
        texts = [str.__str__(item) if isinstance(item, str) else "" for item in source]
    marks: dict[int, Mark] = {}
    joined = "\n".join(texts)
    if joined[:1] == "-" or "\n-" in joined or ("/" in joined and has_option(joined.lower())):
        tool = None
        if parent is not None and len(parent) <= _FIELDS:
            tool = named_tool(parent, source)
        if tool is not None or names_tool(joined):
            marks = {index: _SECRET for index, _, _ in passwords(texts, tool)}
    inside = False
    before = ""
    for index, text in enumerate(texts):
        following = text
        if inside:
            if "---- END" in text or "-----END" in text or text.startswith("Private-MAC"):
                inside = False
            if not text.startswith(("-----END", "---- END")):
                marks[index] = _SECRET
        elif before and text:
            mark = _named_by(before, text, pair=pair and len(source) == 2)
            if mark is not None:
                marks[index] = mark
                following = ""
        inside = inside or _opens_key(following)
        before = following
    return marks


_LINE_FIELDS = 8


def _lines_in(source: Sequence[object]) -> list[str]:
    """Return, for each object in a list, the line of a file that the object contains: its longest
    text, or an empty string if it contains no text. Tools that read and edit files pass lines in
    this form.
    """
    return [
        max((text for text in item.values() if type(text) is str), key=len, default="")
        if type(item) is dict and len(item) <= _LINE_FIELDS
        else ""
        for item in source
    ]


def _key_lines(lines: Sequence[str]) -> Iterator[int]:
    """Yield the indexes of the lines inside a private key."""
    inside = False
    for index, line in enumerate(lines):
        if inside and ("---- END" in line or "-----END" in line):
            inside = False
        if inside:
            yield index
        inside = inside and not line.startswith("Private-MAC")
        inside = inside or _opens_key(line)


_BEGINS = re.compile(r"-{4,5} ?BEGIN ")


def _opens_key(text: str) -> bool:
    if text.startswith("Private-Lines:"):
        return "\n" not in text
    return (
        "PRIVATE KEY" in text
        and _BEGINS.search(text) is not None
        and "---END" not in text
        and "--- END" not in text
    )


def _named_by(before: str, text: str, *, pair: bool) -> Mark | None:
    option = _OPTION.match(before)
    if option is not None:
        named = None if text.startswith("-") else mark_of_key(option.group("name"))
        return None if named is None else _of_value(named, text)[0]
    if len(before) > 64 or (text.isidentifier() and classify(text).cls is not None):
        return None
    if pair:
        named = mark_of_key(before)
        return None if named is None else _of_value(named, text)[0]
    return _SECRET if _HEADER.match(before) is not None and not text.isalpha() else None


def plain_key(name: object) -> str:
    """Return a key as a plain string. Raises ``RedactionError`` if it is not a string."""
    if isinstance(name, str):
        return str.__str__(name)
    raise RedactionError("a key is not a string", code="redaction.type")
