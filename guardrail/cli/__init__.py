"""The command line. It only parses and formats; the data comes from ``guardrail.review`` and
``guardrail.authoring``.

Importing this package loads nothing else: ``main`` imports only what the named command needs, so
that ``guardrail --help`` is fast.
"""

from __future__ import annotations

from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command line and exit with its code (docs/cli.md)."""
    import sys

    from guardrail.cli.app import run

    sys.exit(run(sys.argv[1:]))
