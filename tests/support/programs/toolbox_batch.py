"""A process that runs the calls of one response on a real ledger: half of the bodies end, and the
others never do. Each body first makes a file with its number.

Arguments: the folder, and ``run`` or ``arun``. It is killed from outside.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path

from tests.support.guards import guarded
from tests.support.model_server import Call, Turn
from tests.support.toolboxes import RESPONSES

CALLS = 20


def main(folder: Path, how: str) -> None:
    never = threading.Event()
    response = RESPONSES.ask(Turn(calls=[Call("work", {"n": n}) for n in range(CALLS)]))
    with guarded(folder) as guard:
        box = RESPONSES.box(guard)

        def begin(n: int) -> bool:
            (folder / f"body-{n}").touch()
            return n % 2 == 1

        if how == "run":

            @box.tool
            def work(n: int) -> None:
                if begin(n):
                    never.wait()

            box.run(response)
        else:

            @box.tool(name="work")
            async def awork(n: int) -> None:
                if begin(n):
                    await asyncio.Event().wait()

            asyncio.run(box.arun(response))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
