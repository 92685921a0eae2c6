"""Witness anchor: sends heads to a third party's server, which cosigns a head after checking that
it extends the previous one (c2sp.org/tlog-witness).
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from guardrail.anchors.anchor import AnchoredHead, Prove, check_follows
from guardrail.anchors.http import AnchorEndpoint
from guardrail.core.log.checkpoint import (
    MAX_NOTE,
    Algorithm,
    Checkpoint,
    NoteKey,
    SignedNote,
    Verify,
)
from guardrail.core.words import counted
from guardrail.errors import AnchorError, ConfigError, NoteError
from guardrail.system.http import HttpReply

__all__ = ["MAX_PROOF", "WitnessAnchor", "request_body"]

MAX_PROOF = 63
"""Maximum number of hashes in a consistency proof (c2sp.org/tlog-witness)."""
_TRIES = 3
_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n?")
_SIZE_TYPE = "text/x.tlog.size"


def request_body(old: int, proof: Sequence[bytes], note: SignedNote) -> bytes:
    """Return the body of a request to ``add-checkpoint``."""
    lines = [f"old {old}", *(base64.b64encode(each).decode() for each in proof), "", ""]
    return "\n".join(lines).encode("ascii") + note.encode()


class WitnessAnchor:
    """Sends heads to one witness. Trusts only the witness's cosignature, which is checked with the
    pinned key.
    """

    def __init__(
        self,
        url: str,
        *,
        key: NoteKey,
        verify: Verify,
        ca: Path | None = None,
        deadline: float = 10.0,
    ) -> None:
        """*key* is the witness's public key, and *deadline* is the total time for one head, in
        seconds.

        Raises ``ConfigError``.
        """
        if key.algorithm is not Algorithm.COSIGNATURE_V1:
            raise ConfigError(
                "[anchors] witness: expected a witness key (type 0x04)",
                code="config.anchor_key",
                hint="use the key that guardrail witness init prints",
            )
        self.name = f"witness:{key.name}"
        self._key = key
        self._verify = verify
        self._deadline = deadline
        self._server = AnchorEndpoint(url, what=f"the witness {key.name}", setting="witness", ca=ca)

    def publish(
        self, note: SignedNote, prove: Prove, known: Checkpoint | None = None
    ) -> AnchoredHead:
        """Request a cosignature of *note*. See ``Anchor.publish``."""
        head = Checkpoint.parse(note.text)
        end = time.monotonic() + self._deadline
        old = min(known.size, head.size) if known is not None else 0
        for _ in range(_TRIES):
            proof = prove(old, head.size) if 0 < old < head.size else ()
            reply = self._server.ask(
                "POST",
                "/add-checkpoint",
                body=request_body(old, proof, note),
                end=end,
                limit=MAX_NOTE,
            )
            if reply.status == 200:
                return self._check_cosignature(reply, note, head)
            if reply.status == 403:
                self._judge_foreign(head, prove)
            if reply.status != 409:
                raise self._refusal_error(reply)
            old = self._witness_size(reply, old, head, known)
        raise self._error("it reports a different size for every request", "anchor.malformed")

    def is_proved_by(self, note: SignedNote) -> bool:
        """Return True if *note* carries the witness's cosignature."""
        return note.cosigned_by(self._key, self._verify) is not None

    def latest(self, origin: str) -> SignedNote | None:
        """Return the newest head of *origin* that the witness has cosigned, or None if it has
        cosigned none.

        Raises ``AnchorError``. Works only with witnesses that support ``GET /latest``, such as
        ``guardrail witness serve``.
        """
        reply = self._server.ask(
            "GET",
            f"/latest?origin={quote(origin, safe='')}",
            end=time.monotonic() + self._deadline,
            limit=MAX_NOTE,
        )
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise self._refusal_error(reply)
        try:
            note = SignedNote.parse(reply.body)
            head = Checkpoint.parse(note.text)
        except NoteError:
            raise self._error("its response is not a head", "anchor.malformed") from None
        if head.origin != origin:
            raise self._error("it returned the head of a different log", "anchor.malformed")
        if note.cosigned_by(self._key, self._verify) is None:
            raise self._error("it returned a head without its cosignature", "anchor.malformed")
        return note

    def heads(self, origin: str) -> Sequence[SignedNote]:
        """Return the head that ``latest`` returns, as a list: a witness stores one head, and
        accepts only heads that extend it. Raises ``AnchorError``.
        """
        found = self.latest(origin)
        return () if found is None else (found,)

    def _check_cosignature(
        self, reply: HttpReply, note: SignedNote, head: Checkpoint
    ) -> AnchoredHead:
        try:
            lines = SignedNote.parse_signature_lines(reply.body)
        except NoteError:
            raise self._error(
                "its response does not consist of signatures", "anchor.malformed"
            ) from None
        mine = [
            line
            for line in lines
            if line.name == self._key.name and line.key_id == self._key.key_id
        ]
        seen = SignedNote(note.text, tuple(mine)).cosigned_by(self._key, self._verify)
        if seen is None:
            raise self._error(
                "its response has no valid signature by the pinned key",
                "anchor.malformed",
                "compare the key in guardrail.toml with the witness's own",
            )
        return AnchoredHead(self.name, head.size, float(seen.time), note.with_signatures(mine))

    def _witness_size(
        self, reply: HttpReply, old: int, head: Checkpoint, known: Checkpoint | None
    ) -> int:
        """Return the size of the witness's head if the ledger can extend that head."""
        if reply.content_type != _SIZE_TYPE or not _SIZE.fullmatch(reply.body):
            if old == head.size:
                raise self._fork_error(old)
            raise self._error("it returned 409 without its size", "anchor.malformed")
        size = int(reply.body)
        if size == old:
            if old == head.size:
                raise self._fork_error(old)
            raise self._error("it rejected the size that it had reported", "anchor.malformed")
        if size > head.size:
            raise self._error(
                f"it holds a head of {counted(size, 'record')}, but the ledger has only "
                f"{head.size}: the ledger was truncated, rolled back or replaced",
                "anchor.conflict",
                "guardrail verify",
            )
        if known is not None and size < known.size:
            raise self._error(
                f"it holds a head of {counted(size, 'record')}, but it had cosigned a head of "
                f"{known.size}: it has lost its memory",
                "anchor.conflict",
                "contact the operator of the witness; a witness restored from a backup must not "
                "be used again",
            )
        return size

    def _judge_foreign(self, head: Checkpoint, prove: Prove) -> None:
        """Raise ``AnchorError`` (``anchor.conflict``) if the witness holds a head that a different
        key signed and that the ledger contradicts.

        ``verify`` compares that head as well, because it can belong to a log that this ledger
        replaced.
        """
        try:
            held = self.latest(head.origin)
        except AnchorError:
            return  # it rejected the head for a different reason
        if held is None:
            return
        try:
            check_follows(Checkpoint.parse(held.text), head, prove, signed=lambda: False)
        except AnchorError as error:
            raise self._error(error.message, error.code, error.hint) from None

    def _fork_error(self, size: int) -> AnchorError:
        return self._error(
            f"it holds a different head of {counted(size, 'record')}: the ledger was changed or "
            "forked",
            "anchor.conflict",
            "guardrail verify",
        )

    def _refusal_error(self, reply: HttpReply) -> AnchorError:
        if reply.status == 404:
            return self._error(
                "it does not know this log",
                "anchor.refused",
                "on the witness, run: guardrail witness add --db FILE --log KEY, with the key "
                "that guardrail keys prints here",
            )
        if reply.status == 403:
            return self._error(
                "the log's signature is not by the key registered for a log with this name",
                "anchor.refused",
                "put back the ledger and the keys that the witness knows; if they are lost, "
                "this log needs a new name (docs/keys.md, If keys are lost)",
            )
        if reply.status == 422:
            return self._error(
                "it holds a different history of this log: the ledger was changed or forked",
                "anchor.conflict",
                "guardrail verify",
            )
        if reply.status in (408, 425, 429) or reply.status >= 500:
            return self._error(
                f"it is temporarily unavailable (status {reply.status})",
                "anchor.unreachable",
                "guardrail anchor",
            )
        return self._error(
            f"it does not accept heads at this URL (status {reply.status})",
            "anchor.refused",
            "correct the URL in [anchors] witness",
        )

    def _error(self, why: str, code: str, hint: str = "guardrail anchor") -> AnchorError:
        return AnchorError(f"the witness {self._key.name}: {why}", code=code, hint=hint)
