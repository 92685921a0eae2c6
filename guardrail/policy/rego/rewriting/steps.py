"""The steps of rewriting, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from guardrail.policy.rego.rewriting.arithmetic import with_exact_arithmetic
from guardrail.policy.rego.rewriting.assignments import with_assignments
from guardrail.policy.rego.rewriting.dotted_heads import with_plain_heads
from guardrail.policy.rego.rewriting.every import with_bound_elements
from guardrail.policy.rego.rewriting.hoisting import with_calls_in_order, with_defined_negations
from guardrail.policy.rego.rewriting.imports import written_out
from guardrail.policy.rego.rewriting.keyed_sets import with_objects_of_sets
from guardrail.policy.rego.rewriting.keys import with_distinct_keys
from guardrail.policy.rego.rewriting.packages import with_package_objects
from guardrail.policy.rego.rewriting.patterns import with_compared_patterns
from guardrail.policy.rego.rewriting.prints import without_prints
from guardrail.policy.rego.rewriting.regexes import with_checked_patterns
from guardrail.policy.rego.rewriting.walks import with_walk_results
from guardrail.policy.rego.tree import Module

__all__ = ["steps"]

Step: TypeAlias = "Callable[[Sequence[Module]], list[str]]"


def steps(data: str) -> Iterator[Step]:
    """Yield functions that return the texts of all modules, rewritten. Each step reads the result
    of the step before it; variables have unambiguous names from the beginning. *data* is the data
    document, a JSON object.
    """
    yield written_out
    yield lambda modules: with_package_objects(modules, data)
    yield from _STEPS


_STEPS: tuple[Step, ...] = (
    with_plain_heads,
    without_prints,
    with_bound_elements,
    with_walk_results,
    with_objects_of_sets,
    with_assignments,
    with_compared_patterns,
    with_distinct_keys,
    with_checked_patterns,
    with_exact_arithmetic,
    with_defined_negations,
    with_calls_in_order,
    # An expression that was moved may contain others.
    with_defined_negations,
    with_calls_in_order,
)
