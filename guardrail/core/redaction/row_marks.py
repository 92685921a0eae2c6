"""Classifies the cells of a table whose columns are named elsewhere: in a neighbouring list
(``{"headers": [...], "rows": [[...]]}``) or in the first row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

from guardrail.core.redaction.key_forms import words
from guardrail.core.redaction.name_marks import Named, mark_and_hint
from guardrail.core.redaction.schema_marks import Mark

__all__ = ["Columns", "columns_of", "marks_of_cells"]

Columns = tuple[str, ...]
"""The names of a table's columns, in order."""

_COLUMNS = frozenset(
    {"columns", "column", "fields", "header", "headers", "keys", "names", "cols", "metadata", "schema", "labels", "attributes", "titles"}
)  # fmt: skip
_ROWS = frozenset(
    {"rows", "row", "values", "data", "records", "tuples", "cells", "items", "results", "result", "entries", "lines", "table", "matrix", "body", "content", "batch"}
)  # fmt: skip
# In a description of a column, these fields contain its name.
_NAME_FIELDS = ("name", "label", "title", "header", "field", "key", "id")
# A cell can be an object with nothing but the value and its type.
_CELL_FIELDS = frozenset(
    {"v", "value", "text", "content", "stringValue", "longValue", "doubleValue", "displayValue", "formattedValue", "userEnteredValue", "type", "S", "N", "VarCharValue", "ScalarValue"}
)  # fmt: skip
_MOST = 64
_LONGEST = 64
_FIELDS = 24


def columns_of(
    source: Sequence[object],
    parent: Mapping[str, object] | None,
    key: object,
    mark_of_key: Callable[[str], Named | None],
) -> Columns | None:
    """Return the names of the columns of *source*, the list in *parent* under *key*, or None if it
    is not the beginning of a table.
    """
    if parent is not None and 1 < len(parent) <= _FIELDS and type(key) is str and _means_rows(key):
        for name, held in parent.items():
            if held is not source and _means_columns(str.__str__(name)):
                columns = _names_in(held)
                if columns is not None:
                    return columns
    if len(source) > 1 and type(source[0]) in {list, tuple}:
        return _first_row(source, mark_of_key)
    return None


@lru_cache(maxsize=1024)
def _means_rows(key: str) -> bool:
    parts = words(key)
    return bool(parts) and parts[-1] in _ROWS


@lru_cache(maxsize=1024)
def _means_columns(key: str) -> bool:
    parts = words(key)
    return bool(parts) and parts[-1] in _COLUMNS


def _names_in(names: object) -> Columns | None:
    if type(names) is dict:  # {"schema": {"fields": [...]}}
        names = next((held for key, held in names.items() if _means_columns(str(key))), None)
    if type(names) is str:
        names = names.split(";" if ";" in names else ",")
    if type(names) not in {list, tuple} or not 1 < len(names) <= _MOST:  # type: ignore[arg-type]
        return None
    found = [_name_of(each) for each in names]  # type: ignore[attr-defined]
    return None if None in found else tuple(filter(None, found))


def _name_of(column: object) -> str | None:
    if type(column) is dict:
        column = next((column[key] for key in _NAME_FIELDS if key in column), None)
    if type(column) is not str:
        return None
    name = column.strip()
    return name if 0 < len(name) <= _LONGEST else None


def _first_row(
    rows: Sequence[object], mark_of_key: Callable[[str], Named | None]
) -> Columns | None:
    """Return the names of columns in the first of *rows*, or None if it contains no name that means
    personal data or a secret.
    """
    first, second = rows[0], rows[1]
    # Lists of two elements are usually pairs of a name and a value.
    if type(first) is not type(second) or not 2 < len(first) == len(second):  # type: ignore[arg-type]
        return None
    names = None if any(type(each) is dict for each in first) else _names_in(first)  # type: ignore[attr-defined]
    return names if names is not None and any(map(mark_of_key, names)) else None


def marks_of_cells(
    columns: Columns, row: Sequence[object], mark_of_key: Callable[[str], Named | None]
) -> dict[int, Mark]:
    """Return the classification of the cells in *row*, a row of a table with *columns*. A list that
    is not a row has none, and neither has a cell that contains the name of its column.
    """
    if len(row) != len(columns) or not all(map(_is_cell, row)):
        return {}
    marks: dict[int, Mark] = {}
    source = dict(zip(columns, row, strict=True))
    for index, (name, cell) in enumerate(zip(columns, row, strict=True)):
        known, value = mark_of_key(name), _content(cell)
        if known is not None and not (type(value) is str and value.strip() == name):
            mark, _ = mark_and_hint(known, name, value, source)
            if mark is not None:
                marks[index] = mark
    return marks


def _is_cell(value: object) -> bool:
    if type(value) is dict:
        return value.keys() <= _CELL_FIELDS
    return type(value) not in {list, tuple}


def _content(value: object) -> object:
    """Return the text in a cell that is an object."""
    if type(value) is dict:
        return next((held for key, held in value.items() if key != "type"), None)
    return value
