"""A writer's connection that can also delete records and repair tables, for pruning and
recovery.
"""

from __future__ import annotations

from collections.abc import Sequence

from guardrail.ledger.rows import Cache
from guardrail.ledger.sqlite.appending import Store
from guardrail.ledger.sqlite.pruning import delete_records, overwrite_deleted, overwrite_wal
from guardrail.ledger.sqlite.repair import rebuild, remove_outside

__all__ = ["MaintenanceStore"]


class MaintenanceStore(Store):
    """Deletes and rewrites rows, in addition to appending them. Every method raises
    ``sqlite3.Error``.
    """

    def overwrite_deleted(self) -> None:
        """Overwrite the text of rows that this connection deletes from now on."""
        overwrite_deleted(self._execute)

    def delete_records(self, before: int) -> int:
        """Delete the records from 1 to *before* - 1 inside the transaction, and return their
        number.

        Their leaf hashes are kept. Raises ``LedgerError`` if one of their calls is open, if a key
        that they certify is still in use, or if they were already pruned; and ``ValueError`` if a
        leaf hash is missing.
        """
        self._located.forget()
        return delete_records(self._execute, before, self.keep_leaves)

    def overwrite_wal(self, size: int) -> bool:
        """Overwrite the ``-wal``, *size* bytes long, with zeros, outside a transaction. Return True
        if no older content is left in it.
        """
        return overwrite_wal(self._connection, size)

    def rebuild(self, caches: Sequence[Cache]) -> None:
        """Rewrite the tables of *caches* from the lines, inside the transaction."""
        self._located.forget()
        rebuild(self._execute, caches)

    def remove_outside(self) -> int:
        """Delete the rows before line 0, inside the transaction; return their number."""
        return remove_outside(self._execute)
