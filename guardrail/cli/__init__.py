"""The command line. It only parses and formats; the data comes from ``guardrail.review`` and
``guardrail.authoring``.

Importing this package loads nothing else: ``main`` imports only the modules that the given command
needs, so ``guardrail --help`` is fast.
"""

from __future__ import annotations

from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line and exit with its code (docs/cli.md)."""
    import gc
    import sys

    _collect_later()
    from guardrail.cli.app import run

    code = run(sys.argv[1:])
    gc.freeze()  # the interpreter would examine every object again before it ends
    sys.exit(code)


_MODULES = 100_000
"""More objects than the modules of a command that reads."""


def _collect_later() -> None:
    """Delay garbage collection until a command has created more objects than loading it does:
    modules are never freed, but would be examined again and again while they are loaded.
    """
    import gc

    usual = gc.get_threshold()

    def collect_as_usual(phase: str, info: object) -> None:  # noqa: ARG001 - given by gc
        gc.callbacks.remove(collect_as_usual)
        gc.set_threshold(*usual)

    gc.callbacks.append(collect_as_usual)
    gc.set_threshold(_MODULES, *usual[1:])
