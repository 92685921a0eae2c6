"""``# guardrail:ignore CODE reason``."""

from __future__ import annotations

from pathlib import Path

import pytest

from guardrail.authoring.lints.comments import comments
from tests.support.lints import look, said

READ = 'deny contains "d" if input.action.properties.args.x == 1'


@pytest.mark.parametrize(
    "body",
    [
        f"{READ} # guardrail:ignore optional-argument it is always there\n",
        f"# guardrail:ignore optional-argument it is always there\n{READ}\n",
        f"# guardrail:ignore untyped-comparison,optional-argument it is always there\n{READ}\n",
        f"# guardrail:ignore optional-argument it is always there\n\n# what x is\n{READ}\n",
        (
            '# guardrail:ignore optional-argument it is always there\ndeny contains "d" if'
            ' {\n\tinput.resource.id == "a"\n\tinput.action.properties.args.x == 1\n}\n'
        ),
        (
            'deny contains "d" if {\n\tinput.resource.id == "a"\n\t# guardrail:ignore'
            " optional-argument it is always there\n\tinput.action.properties.args.x == 1\n}\n"
        ),
    ],
)
def test_a_comment_with_a_reason_answers_for_a_warning(tmp_path: Path, body: str) -> None:
    """Behind the line, before it, and before the whole rule; the report counts it."""
    report = look(tmp_path, body)
    assert {lint.code for lint in report.lints} == {"untested-rule"}
    assert report.ignored == 1


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (f"{READ} # guardrail:ignore optional-argument\n", {(1, "ignore"), (1, "optional-argument")}),
        (f"{READ} # guardrail:ignore\n", {(1, "ignore"), (1, "optional-argument")}),
        (f"{READ} # guardrail:ignore optional-arguments it is there\n", {(1, "ignore"), (1, "optional-argument")}),
        (f"{READ} # guardrail:ignore never-fires it does\n", {(1, "optional-argument")}),
        (f"# guardrail:ignore optional-argument why\nx := 1\n\n{READ}\n", {(4, "optional-argument")}),
        (f"y := `\n# guardrail:ignore optional-argument why\n`\n\n{READ}\n", {(5, "optional-argument")}),
        (f'y := "# guardrail:ignore optional-argument why"\n\n{READ}\n', {(3, "optional-argument")}),
    ],
)  # fmt: skip
def test_a_comment_that_answers_for_nothing_leaves_the_warning(
    tmp_path: Path, body: str, left: set[tuple[int, str]]
) -> None:
    """Without a reason, of another code, elsewhere, or in a text; the first two are warned of
    themselves.
    """
    assert said(tmp_path, body) == left


def test_comments_are_told_from_texts() -> None:
    """Quotes, escapes and raw texts over several lines."""
    text = 'a := "x # no" # yes 1\nb := `# no\n# no` # yes 2\nc := "\\"# no" # yes 3\n\t# yes 4\n'
    assert list(comments(text)) == [
        (1, "# yes 1", False),
        (3, "# yes 2", False),
        (4, "# yes 3", False),
        (5, "# yes 4", True),
    ]
