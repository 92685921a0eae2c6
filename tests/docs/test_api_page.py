"""docs/api.md covers every public name, and says what the code says."""

from __future__ import annotations

import importlib.util
import inspect
from enum import Enum
from pathlib import Path
from types import ModuleType

import pytest

import guardrail
import guardrail.integrations.anthropic
import guardrail.integrations.langchain
import guardrail.integrations.openai
import guardrail.testing
import guardrail.testing.conformance

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
PUBLIC = (
    guardrail,
    guardrail.testing,
    guardrail.testing.conformance,
    guardrail.integrations.anthropic,
    guardrail.integrations.langchain,
    guardrail.integrations.openai,
)


@pytest.fixture(scope="module")
def maker() -> ModuleType:
    """The program that writes the page."""
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_code_says(maker: ModuleType) -> None:
    """A signature or docstring that changed without ``make api`` fails here."""
    assert maker.page() == PAGE, "run: make api"


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_every_public_name_and_method_is_on_the_page(module: ModuleType) -> None:
    """Counted without the program that writes the page."""
    section = PAGE.split(f"## `{module.__name__}`\n", 1)[1].split("\n## ", 1)[0]
    for name in module.__all__:
        assert f"\n### `{name}`\n" in section
        value = getattr(module, name)
        if isinstance(value, type) and not issubclass(value, Enum):
            for member, what in vars(value).items():
                called = inspect.isfunction(what) or isinstance(what, property | classmethod)
                if called and not member.startswith("_"):
                    assert f"{name}.{member}" in section


def test_every_name_has_a_sentence_and_a_signature_that_can_be_read(maker: ModuleType) -> None:
    """No name stands there alone, and no default is shown as the address of an object."""
    for module in maker.MODULES:
        for name, value in maker.public(module):
            assert name == "__version__" or maker.first_sentence(value), name
    code = "".join(PAGE.split("```")[1::2])
    assert "<" not in code
    assert max(map(len, code.splitlines())) <= 100
