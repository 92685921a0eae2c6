"""``guardrail demo``: a scripted agent under policy, from the first call to a tampered ledger.

The demo runs in a temporary folder, or in a folder of your choice. It does not need a model, an API
key or a network.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ["run"]


def run(*, keep: str | os.PathLike[str] | None = None) -> int:
    """Run the demo and return its exit code: 0 if everything went as described.

    *keep* is a new or empty folder for the ledger, the keys and the tools' output. Raises
    ``UsageError`` if that folder is not empty.
    """
    from guardrail.cli.app import Exit
    from guardrail.cli.output import Style, remark

    try:
        from guardrail.demo.story import Story, UnexpectedError
    except ImportError as error:
        if "langchain" not in str(error).lower():
            raise
        remark(
            "error: the demo's tools are LangChain tools, and LangChain is not installed", Style.BAD
        )
        remark("next:  install guardrail with the 'langchain' extra (README.md)")
        return Exit.UNKNOWN
    from guardrail.demo.telling import heading, item, say

    with tempfile.TemporaryDirectory(prefix="guardrail-demo-") as temporary:
        folder = _folder(keep) if keep is not None else Path(temporary)
        try:
            Story(folder).run()
        except UnexpectedError as error:
            remark(f"error: the demo did not run as described: {error}", Style.BAD)
            return Exit.BUG
        heading("Where to go from here")
        if keep is None:
            say(
                "This ran in a temporary folder, which has been removed. To keep it: "
                "guardrail demo --keep FOLDER"
            )
        else:
            say(f"Everything is in {folder}.")
        item("guardrail init creates a project with a policy that you can edit")
        item("from guardrail.integrations.langchain import govern: your tools, governed")
        item("docs/writing-policies.md explains how to write and test rules")
    return Exit.YES


def _folder(keep: str | os.PathLike[str]) -> Path:
    from guardrail.errors import UsageError

    folder = Path(keep).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise UsageError(
            f"{folder} is not empty",
            code="usage.demo_folder",
            hint="choose a new or empty folder",
        )
    return folder
