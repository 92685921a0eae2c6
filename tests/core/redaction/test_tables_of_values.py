"""Cells of tables whose columns are named in another place: a list beside the rows, or the first
row.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.redaction import view

_NAME, _BORN = "Maren Quist", "1979-08-30"
_HIDDEN = (_NAME, _BORN)


@pytest.mark.parametrize(
    "args",
    [
        {"headers": ["Guest", "Birth Date", "Nights"], "rows": [[_NAME, _BORN, 3], ["Tove Lund", "1988-01-01", 1]]},
        {"fields": ["guest", "dob", "nights"], "values": [_NAME, _BORN, 3]},
        {"columns": "guest; dob; nights", "data": [[_NAME, _BORN, 3]]},
        {"cols": ("guest", "dob", "nights"), "records": ((_NAME, _BORN, 3),)},
        {"headers": ["guest", "dob"], "rows": [{"cells": [_NAME, _BORN]}]},
        {"schema": {"fields": [{"name": "guest"}, {"name": "dob"}]}, "rows": [{"f": [{"v": _NAME}, {"v": _BORN}]}]},
        {"columnMetadata": [{"label": "guest"}, {"label": "dob"}], "records": [[{"stringValue": _NAME, "type": "s"}, {"stringValue": _BORN}]]},
        {"values": [["Guest", "DOB", "Nights"], [_NAME, _BORN, 3]]},
        {"body": f'{{"header": ["guest", "dob"], "rows": [["{_NAME}", "{_BORN}"]]}}'},
        {"columns": ["name", "dob"], "rows": [[_NAME, _BORN]]},
    ],
)  # fmt: skip
def test_a_cell_goes_by_the_name_of_its_column(args: dict[str, Any]) -> None:
    shown = str(view(args).value)
    assert not [value for value in _HIDDEN if value in shown]
    for name in ("Nights", "nights", "guest", "Guest"):
        assert (name in str(args)) is (name in shown)


@pytest.mark.parametrize(
    "args",
    [
        {"headers": ["Commit", "Branch"], "rows": [["a81bc3d", "main"]]},
        {"headers": ["guest", "dob"], "rows": [["of", "other", "length"]]},
        {"headers": ["guest", {"x": 1}], "rows": [["Blue", "1979"]]},
        {"headers": ["guest", 7], "rows": [["Blue", "1979"]]},
        {"headers": ["guest", " "], "rows": [["Blue", "1979"]]},
        {"headers": ["guest"], "rows": [["blue"]]},
        {"schema": {"type": "object"}, "rows": [["a", "b"]]},
        {"fields": ["guest", "dob"], "filters": ["Blue", "1979"]},
        {"fields": ["guest", "dob"], "rows": [[["nested"], "x"]]},
        {"fields": ["guest", "dob"], "rows": [[{"other": 1}, "x"]]},
        {"a": [["password", "token"], ["page", "two"]]},
        {"a": [["city", "size", "height"], ["Rome", "L", "2"]]},
        {"a": [[{"x": 1}, "dob", "c"], ["x", "y", "z"]]},
        {"a": [["x", "y", "z"], {"x": 1}]},
        {"a": [["dob", "guest", "city"], ["x", "y"]]},
    ],
)
def test_a_list_that_is_no_row_stays(args: dict[str, Any]) -> None:
    assert view(args).value == args


def test_columns_do_not_apply_outside_of_their_table() -> None:
    args = {
        "table": {"headers": ["guest", "dob"], "rows": [[_NAME, _BORN]]},
        "size": ["Blue", "two"],
    }
    assert view(args).value["size"] == ["Blue", "two"]  # type: ignore[index]


def test_the_rest_of_a_text_stays_if_all_its_cells_are_replaced() -> None:
    """A replaced cell still stands under its name, and is not a new value."""
    text = f"guest;dob;team\n{_NAME};{_BORN};Blue\n"
    shown = view({"csv": text}).value["csv"]  # type: ignore[index]
    assert shown.startswith("guest;dob;team\n")
    assert shown.endswith(";Blue\n")
    assert "gr1:name:" in shown
    assert "gr1:dob:" in shown


def test_facts_in_an_object_that_a_name_classifies_stay() -> None:
    args = {"payment_methods": [{"number": "998877665544", "amount": 250, "currency": "EUR"}]}
    shown = view(args).value["payment_methods"][0]  # type: ignore[index]
    assert (shown["amount"], shown["currency"]) == (250, "EUR")
    assert shown["number"] != "998877665544"
    secret = view({"credentials": {"status": "opensesame"}}).value
    assert "opensesame" not in str(secret)
