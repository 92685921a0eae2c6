"""Runs the command line: ``python -m guardrail``."""

from __future__ import annotations

from guardrail.cli import main

if __name__ == "__main__":
    main()
