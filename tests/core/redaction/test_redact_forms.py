"""Values of many classes in many forms: the table of the page, and the view that needs no
detection.
"""

from __future__ import annotations

import importlib.util
import random
import sys
from types import ModuleType

import pytest

from guardrail.core.redaction.redactor import Redactor
from guardrail.core.redaction.session_memory import Memory
from guardrail.keys.tenant_keys import TenantKeys
from tests.support.paths import ROOT
from tests.support.sensitive_values import CLASSES, FORMS, is_gone

KEYS = TenantKeys(b"\x01" * 32, "default")
REDACTOR = Redactor(token=KEYS.value_token, mark=KEYS.mark)


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    path = ROOT / "docs" / "make_redaction_table.py"
    spec = importlib.util.spec_from_file_location("make_redaction_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_redaction_table"] = module
    spec.loader.exec_module(module)
    return module


def test_the_table_of_the_page_is_what_the_redactor_does(maker: ModuleType) -> None:
    assert maker.PAGE.read_text(encoding="utf-8") == maker.page(), "run make api"


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.title)
def test_the_minimal_view_holds_no_value_in_any_form(form: object) -> None:
    """Also those that detection can't find: a value that is split over two arguments."""
    for cls in CLASSES:
        value = cls.make(random.Random(7))
        args = form.args(cls, value)  # type: ignore[attr-defined]
        view = REDACTOR.inspect(args, schema=None, declared=False, memory=Memory()).view()
        assert is_gone(form.hidden(cls, value), view.value), cls.title  # type: ignore[attr-defined]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.title)
def test_a_view_that_keeps_a_value_counts_as_such(cls: object) -> None:
    """The table would otherwise say ``all`` whatever the redactor does."""
    value = cls.make(random.Random(7))  # type: ignore[attr-defined]
    for form in FORMS:
        assert not is_gone(form.hidden(cls, value), form.args(cls, value)), form.title
