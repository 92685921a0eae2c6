"""Inspects the code of a generator to determine, before a ``with`` block begins, whether the block
yields.
"""

from __future__ import annotations

import functools
from types import CodeType

__all__ = ["yields_inside"]

_SUSPENDED = frozenset({1, 2})
"""Arguments of RESUME after ``yield`` and ``yield from``; 3 is after ``await``."""


_AWAITING = frozenset(
    {
        "GET_AWAITABLE",
        "LOAD_CONST",
        "SEND",
        "YIELD_VALUE",
        "RESUME",
        "JUMP_BACKWARD_NO_INTERRUPT",
        "CLEANUP_THROW",
        "END_SEND",
    }
)
"""Instructions between the call of ``__aenter__`` and its block."""


@functools.lru_cache(maxsize=256)
def yields_inside(code: CodeType, offset: int) -> bool:
    """Return True if the block whose ``__enter__`` is called at *offset* in *code* contains a
    ``yield``.

    Also return True if no block begins there, as in a call of ``ExitStack.enter_context``: the
    entered context may still be open at the next ``yield``.
    """
    import dis

    bytecode = dis.Bytecode(code)
    steps = list(bytecode)
    entries = getattr(bytecode, "exception_entries", ())
    after = dict(zip((step.offset for step in steps), steps[1:], strict=False))

    def handlers(at: int) -> list[int]:
        # Ranges do not overlap: nested code has the inner handler, whose own code has the outer
        # one.
        found: list[int] = []
        target: int | None = at
        while target is not None:
            at = target
            target = next((each.target for each in entries if each.start <= at < each.end), None)
            if target in found:
                break
            found += [] if target is None else [target]
        return found

    around = handlers(offset)
    for step in steps:
        if step.offset <= offset:
            continue
        inner = handlers(step.offset)
        if inner and inner[0] not in around:
            break
        if step.opname not in _AWAITING:
            return True
    else:
        return True
    block = inner[0]
    if after[block].opname != "WITH_EXCEPT_START":
        return True
    return any(
        step.opname == "YIELD_VALUE"
        and (after[step.offset].arg or 0) & 3 in _SUSPENDED
        and block in handlers(step.offset)
        for step in steps
    )
