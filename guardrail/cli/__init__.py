"""The command line. It only parses arguments and formats output; the data comes from
``guardrail.review`` and ``guardrail.authoring``.

Importing this package loads nothing else: ``main`` imports only the modules that the command needs,
so ``guardrail --help`` is fast.
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
    gc.freeze()  # otherwise, the interpreter examines every object again at exit
    sys.exit(code)


_MODULES = 100_000
"""Larger than the number of objects that the modules of a reading command create."""


def _collect_later() -> None:
    """Delay garbage collection until a command has created more objects than its modules do.
    Modules are never freed, but would be examined again and again while they are loaded.
    """
    import gc

    usual = gc.get_threshold()

    def collect_as_usual(phase: str, info: object) -> None:  # noqa: ARG001 - given by gc
        gc.callbacks.remove(collect_as_usual)
        gc.set_threshold(*usual)

    gc.callbacks.append(collect_as_usual)
    gc.set_threshold(_MODULES, *usual[1:])
