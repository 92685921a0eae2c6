"""Uploads policies to a development server, module by module, without bundles. Not for production:
an upload is not atomic, and the server's responses do not contain a revision.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from guardrail.config import OpaSection
from guardrail.errors import ConfigError, Finding, PolicyLoadError
from guardrail.policy.opa import bundle
from guardrail.policy.opa.admin import OpaAdmin
from guardrail.policy.opa.target import OpaTarget
from guardrail.policy.sources import load_policies

__all__ = ["PushResult", "push"]

_PREFIX = "guardrail-push/"
"""Id prefix of uploaded modules. A push removes modules with this prefix that are no longer part of
the policies.
"""
_HINT = (
    "modules that call each other's functions can't be uploaded one by one; use "
    "guardrail policy bundle -o FILE"
)


@dataclass(frozen=True, slots=True)
class PushResult:
    """The modules and data on the server after a push."""

    stored: tuple[str, ...]
    removed: tuple[str, ...]
    others: tuple[str, ...]
    """Policies on the server that were not pushed. Their rules also affect decisions."""
    tests: int = 0
    """Number of the policies' test files, which are neither uploaded nor run."""


def push(paths: Sequence[Path], section: OpaSection) -> PushResult:
    """Upload the policies below *paths*, their data and guardrail's own policies to the server in
    *section*.

    When this returns, the server has these modules, and no other modules from earlier pushes.
    Raises ``ConfigError`` (``config.opa_bundles``) if the server loads its policies from bundles
    (nothing has been uploaded), ``PolicyLoadError`` if guardrail or OPA rejects the policies (some
    may have been uploaded), and ``PolicyError`` if the server can't be reached.
    """
    policies = load_policies(paths)
    target = OpaTarget(section)
    target.resolve()
    admin = OpaAdmin(target)
    try:
        _refuse_bundles(admin)
        texts = {
            _PREFIX + name: (source.name, source.text) for name, source in bundle.names(policies)
        }
        before = admin.policies()
        stale = [name for name in before if name.startswith(_PREFIX) and name not in texts]
        for key, value in json.loads(policies.data).items():
            admin.put_data([key], value)
        _exchange(admin, texts, stale)
        others = tuple(name for name in before if not name.startswith(_PREFIX))
        return PushResult(tuple(sorted(texts)), tuple(stale), others, len(policies.tests))
    finally:
        admin.close()


def _refuse_bundles(admin: OpaAdmin) -> None:
    names = admin.bundle_names()
    if names:
        raise ConfigError(
            f"this server loads its policies from bundles ({', '.join(names)})",
            code="config.opa_bundles",
            hint="run guardrail policy bundle -o FILE, and configure the server to load that file",
        )


def _exchange(admin: OpaAdmin, texts: dict[str, tuple[str, str]], stale: list[str]) -> None:
    # OPA compiles after each step. It rejects a call of a function that does not exist yet, the
    # removal of a function that is still called, and a second default for a rule. The steps
    # therefore run in rounds, as long as each round makes progress.
    removing, waiting = list(stale), dict(texts)
    while removing or waiting:
        kept = [name for name in removing if admin.delete_policy(name) is not None]
        refused = {}
        for name, (file, text) in waiting.items():
            problem = admin.put_policy(name, text)
            if problem is not None:
                refused[name] = (file, text, problem)
        if len(kept) == len(removing) and len(refused) == len(waiting):
            findings = [
                Finding(file, 0, "opa", f"the OPA server rejected this module ({problem})", _HINT)
                for file, _, problem in refused.values()
            ]
            findings += [
                Finding(name, 0, "opa", "the OPA server did not delete this module", _HINT)
                for name in kept
            ]
            raise PolicyLoadError(findings)
        removing = kept
        waiting = {name: (file, text) for name, (file, text, _) in refused.items()}
