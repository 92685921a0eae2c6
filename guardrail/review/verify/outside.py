"""Reads external heads and keys for ``verify``, from files and from anchors."""

from __future__ import annotations

from pathlib import Path

from guardrail.anchors.lines import parse_lines
from guardrail.core.log.checkpoint import Algorithm, NoteKey
from guardrail.errors import NoteError
from guardrail.review.verify.report import HeadError, OutsideHead
from guardrail.system.input_files import read_input
from guardrail.system.ownership import denial_of, explain_error

__all__ = ["load_heads", "load_key"]

_MAX_FILE = 256 << 20
_MAX_KEY = 4096


def load_heads(path: Path) -> list[OutsideHead]:
    """Return the heads in a file: one signed note, or the lines of a file anchor, a captured stream
    or a system log.

    Every head in a file with many lines is returned once, because an attacker who can only append
    could add a head from a different history after the true heads. Anything that is not a head is
    returned as malformed. Raises ``HeadError`` if the file can't be read.
    """
    try:
        raw = read_input(path, _MAX_FILE)
    except OSError as error:
        why, way = explain_error(error, path)
        raise HeadError(
            f"{path}: the head can't be read ({why})",
            hint=way or "guardrail checkpoint prints a head to store outside the ledger",
        ) from None
    lines = parse_lines(raw)
    if not lines:
        return [OutsideHead.parse(str(path), raw)]
    kept: dict[tuple[str, int, bytes], OutsideHead] = {}
    for line in lines:
        head = line.head
        kept[head.origin, head.size, head.root] = OutsideHead(str(path), line.note, head, line.time)
    return list(kept.values())


def load_key(text: str) -> str:
    """Return the public key of a log as 64 hex characters. *text* is hex, a note key, or the path
    of a file that contains either.

    Raises ``HeadError``.
    """
    found = _key(text)
    if found is not None:
        return found
    try:
        found = _key(read_input(Path(text), _MAX_KEY).decode("utf-8", "replace"))
    except (OSError, ValueError) as error:
        missing = denial_of(error, Path(text)) if isinstance(error, OSError) else None
        if missing is not None:
            raise HeadError(
                f"the key can't be read: {missing.what}", code="verify.key", hint=missing.hint
            ) from None
    if found is None:
        raise HeadError(
            "the key is neither 64 hex characters, nor a note key, nor a file that contains either",
            code="verify.key",
            hint="guardrail keys prints the key of a log",
        )
    return found


def _key(text: str) -> str | None:
    text = text.strip()
    try:
        if len(text) == 64 and len(bytes.fromhex(text)) == 32:
            return text.lower()
    except ValueError:
        pass
    try:
        key = NoteKey.parse(text)
    except NoteError:
        return None
    return key.public.hex() if key.algorithm is Algorithm.ED25519 else None
