"""A fair queue: parties are served round-robin, regardless of how many items each of them has.

A party with a thousand items delays only itself. If the queue is full, the newest item of the party
with the most items is removed, so that no party can crowd out the others.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Generic, TypeVar

__all__ = ["FairQueue", "party"]

T = TypeVar("T")
_SEPARATOR = "\x00"


@lru_cache(maxsize=1024)
def party(shard: str) -> str:
    """Return the party to which *shard* belongs: its tenant and principal, which are the first two
    parts of *shard*. Each party gets its own turn.
    """
    return _SEPARATOR.join(shard.split(_SEPARATOR, 2)[:2])


class FairQueue(Generic[T]):
    """Queues items by party and serves the parties round-robin. Not thread-safe: the owner must
    hold a lock.
    """

    def __init__(self, *, most: int, most_bytes: int = 1 << 62) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._parties: OrderedDict[str, deque[tuple[T, int]]] = OrderedDict()
        """The parties in the order of their turns. None of them has an empty queue."""
        self._sizes: dict[str, int] = {}
        self._count = 0
        self.size = 0
        """Total size of the items in bytes."""

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        return (item for items in self._parties.values() for item, _ in items)

    def has_others(self, who: str) -> bool:
        """Return True if a party other than *who* has items."""
        return len(self._parties) > (who in self._parties)

    def push(self, who: str, item: T, size: int = 0, *, front: bool = False) -> list[T]:
        """Add *item*. Return the items that were removed to make room for it, which can include
        *item* itself.

        If *front* is True, the item goes before all others of *who*.
        """
        items = self._parties.setdefault(who, deque())
        if front:
            items.appendleft((item, size))
        else:
            items.append((item, size))
        self._add(who, 1, size)
        gone = []
        while self._count > self._most or self.size > self._most_bytes:
            by_bytes = self.size > self._most_bytes
            largest = max(
                self._parties,
                key=lambda each: self._sizes[each] if by_bytes else len(self._parties[each]),
            )
            dropped, bytes_ = self._parties[largest].pop()
            self._add(largest, -1, -bytes_)
            gone.append(dropped)
        return gone

    def pop(self, may: Callable[[str], bool]) -> tuple[str, T] | None:
        """Remove and return the oldest item of the next party for which *may* returns True, or None
        if there is no such party.
        """
        for who, items in self._parties.items():
            if may(who):
                item, size = items.popleft()
                self._parties.move_to_end(who)
                self._add(who, -1, -size)
                return who, item
        return None

    def take(self, which: Callable[[T], bool]) -> list[T]:
        """Remove and return every item for which *which* returns True."""
        taken: list[T] = []
        for who in list(self._parties):
            kept: deque[tuple[T, int]] = deque()
            for item, size in self._parties[who]:
                if which(item):
                    taken.append(item)
                    self._count -= 1
                    self.size -= size
                    self._sizes[who] -= size
                else:
                    kept.append((item, size))
            self._parties[who] = kept
            self._add(who, 0, 0)
        return taken

    def _add(self, who: str, count: int, size: int) -> None:
        self._count += count
        self.size += size
        self._sizes[who] = self._sizes.get(who, 0) + size
        if not self._parties[who]:
            del self._parties[who], self._sizes[who]
