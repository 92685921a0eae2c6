"""Finds strings that look like time zones but are none, and offsets in tests that contradict the
zone data of this machine.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from guardrail.authoring.lints.findings import Code, Lint
from guardrail.policy.embedded.compiled import CompiledPolicies
from guardrail.policy.embedded.observed import ObservedCall
from guardrail.policy.embedded.rehearsal import test_rules
from guardrail.policy.library_calls import may_use_zones
from guardrail.policy.named_zones import nearest_zone, unknown_in_data, unknown_in_text
from guardrail.policy.rego.tree import Module
from guardrail.system.zones import ZoneTable

__all__ = ["check", "check_offsets"]

_MOST = 20
"""Maximum number of warnings, because the search for a similar name takes time."""


def check(modules: Sequence[Module], data: str) -> Iterator[Lint]:
    """Yield a lint for each string in the authors' *modules* or in *data* that looks like a zone,
    such as ``Europe/Bonn``, but is none. The guard has no offset for it, so calls that need one are
    denied.
    """
    sources = [module.source for module in modules if not (module.test or module.source.installed)]
    if any(may_use_zones(source.text) for source in sources):
        yield from itertools.islice(_unknown(sources, data), _MOST)


def _unknown(sources: Sequence[Any], data: str) -> Iterator[Lint]:
    for source in sources:
        if may_use_zones(source.text):
            for line, zone in unknown_in_text(source.text):
                yield _lint(source.name, line, "", zone)
    for path, zone in unknown_in_data(data):
        yield _lint("-", 0, f"{path[:200]}: ", zone)


def _lint(file: str, line: int, place: str, zone: str) -> Lint:
    message, hint = nearest_zone(zone)
    consequence = "calls that need its local time are denied"
    return Lint(file, line, Code.UNKNOWN_ZONE, f"{place}{message}; {consequence}", hint)


def check_offsets(compiled: CompiledPolicies, seen: Iterable[ObservedCall]) -> Iterator[Lint]:
    """Yield a lint for each offset in a call of a test that the zone does not have at the time of
    that call, so the test describes a call that no guard makes.
    """
    places = {name: (file, line) for _, name, file, line in test_rules(compiled)}
    tables: dict[str, ZoneTable] = {}
    for call in seen:
        for zone, stated, moment in _stated(json.loads(call.input)):
            table = tables.setdefault(zone, ZoneTable([zone]))
            try:
                real = table.at(moment).get(zone)
            except ValueError:  # a test can contain any text
                continue
            if real is not None and real != stated:
                file, line = places.get(call.test, ("-", 0))
                yield Lint(
                    file,
                    line,
                    Code.WRONG_OFFSET,
                    f"{call.test}: at {moment}, the offset of {zone} is {real}, not {stated}",
                    f'write "{zone}": {real}',
                )


def _stated(document: Any) -> Iterator[tuple[str, float, str]]:
    context = document.get("context") if isinstance(document, Mapping) else None
    if not isinstance(context, Mapping):
        return
    zones, moment = context.get("zones"), context.get("time")
    if isinstance(zones, Mapping) and isinstance(moment, str) and moment.endswith("Z"):
        for zone, offset in zones.items():
            if isinstance(offset, int | float) and not isinstance(offset, bool):
                yield zone, offset, moment
