"""Generated policies, evaluated by the embedded engine and by a real OPA: what one of them allows,
both allow.

``GUARDRAIL_FUZZ`` says how many programs, ``GUARDRAIL_FUZZ_SEED`` which. A program whose rules are
refused goes on without them. A call that the embedded engine can't decide is denied, and counts as
loud.
"""

from __future__ import annotations

import os
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from guardrail.policy.embedded.workbench import Workbench
from tests.support.effort import effort
from tests.support.rego.comparison import Comparison, Outcome, Reference, call
from tests.support.rego.generator import Generator

COUNT = int(os.environ.get("GUARDRAIL_FUZZ") or effort(500, part=150))
SEED = os.environ.get("GUARDRAIL_FUZZ_SEED", "guardrail")
CALLS = 3


def outcomes(comparison: Comparison, seed: str, count: int) -> Iterator[tuple[int, Outcome]]:
    """Yield what became of each program."""
    for index in range(count):
        r = random.Random(f"{seed}-{index}")
        generator = Generator(r)
        modules, data = generator.program()
        calls = [call(r) for _ in range(CALLS)]
        yield index, comparison.run(modules, data, calls, list(generator.rules))


def test_generated_policies_are_decided_as_by_opa(
    reference: Reference, record_property: Callable[[str, object], None]
) -> None:
    """No program, call and rule has another value than in OPA, and nothing is allowed that OPA does
    not allow.
    """
    states: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    answers = loud = allowed = 0
    wrong: list[str] = []
    with Workbench(time_limit=5.0) as bench:
        for index, outcome in outcomes(Comparison(reference, bench), SEED, COUNT):
            states[outcome.state] += 1
            refused.update(outcome.refused)
            answers, loud = answers + outcome.answers, loud + outcome.loud
            allowed += outcome.allowed
            if index % 500 == 499:
                print(f"{index + 1} of {COUNT} programs, {len(wrong)} differ", file=sys.stderr)
            found = [*outcome.differences, *(outcome.flips if outcome.state == "compared" else ())]
            if found:
                text = "\n---\n".join(outcome.modules)
                wrong.append(f"program {index} of seed {SEED}: {found[0][:2000]}\n{text}")
    record_property(
        "figure",
        f"{COUNT} programs of seed {SEED}: {dict(states)}, {answers} answers compared, {allowed}"
        f" calls allowed, {loud} loud, {len(wrong)} programs that differ; rules refused:"
        f" {dict(refused.most_common())}",
    )
    assert not wrong, "\n\n".join(wrong[:5])
    assert states["compared"] > COUNT / 2
    assert allowed > COUNT / 5


PLANTED = [
    (
        (
            "y := input.resource.id if {\n\tinput.no\n} {\n\tinput.resource\n}\n\nallow contains"
            ' "any" if y == true\n'
        ),
        "a second body",
    ),
    (
        'allow contains "any" if {\n\t{"id": _} = input.context.agent\n}\n',
        "an object pattern",
    ),
]


@pytest.mark.parametrize("text", [text for text, _ in PLANTED], ids=[name for _, name in PLANTED])
def test_the_comparison_notices_what_the_preflight_is_for(reference: Reference, text: str) -> None:
    """Without the preflight, a call is allowed that OPA denies, and the comparison says so; with
    it, the rule is refused.
    """
    module = "package guardrail.policy\n\n" + text
    with Workbench(time_limit=5.0) as bench:
        calls = [call(random.Random(1))]
        found = Comparison(reference, bench, judged=False).run([module], {}, calls, [])
        assert found.state == "compared"
        assert found.flips
        assert found.differences
        assert Comparison(reference, bench).run([module], {}, calls, []).refused
