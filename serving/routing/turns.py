"""The queue of one version: many requests of one client do not hold up one of another."""

import asyncio
from collections import Counter, OrderedDict, deque
from typing import Any

Waiting = asyncio.Future[Any]


class Turns:
    """Futures that wait, by client. The client with the fewest texts being written is next."""

    def __init__(self) -> None:
        self._head: deque[tuple[str, Waiting]] = deque()
        self._clients: OrderedDict[str, deque[Waiting]] = OrderedDict()  # of equals, the first is next
        self._written: Counter[str] = Counter()  # texts being written, by client
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def of(self, client: str) -> int:
        """How many of a client wait."""
        return len(self._clients.get(client, ()))

    def append(self, client: str, future: Waiting) -> None:
        """Wait behind the client's others."""
        self._clients.setdefault(client, deque()).append(future)
        self._count += 1

    def to_head(self, client: str, future: Waiting) -> None:
        """Wait before all: it had its turn, and lost its worker."""
        self._head.appendleft((client, future))
        self._count += 1

    def next(self) -> Waiting:
        """Take out the one whose turn it is; its text counts as being written. Not to be called where none waits."""
        self._count -= 1
        if self._head:
            client, future = self._head.popleft()
        else:
            client = min(self._clients, key=self._written.__getitem__)
            waiting = self._clients.pop(client)
            future = waiting.popleft()
            if waiting:
                self._clients[client] = waiting  # behind its equals
        self._written[client] += 1
        return future

    def ended(self, client: str) -> None:
        """A text of this client is no longer written."""
        self._written[client] -= 1
        if not self._written[client]:
            del self._written[client]

    def remove(self, client: str, future: Waiting) -> bool:
        """Take one out; false where it does not wait."""
        if (client, future) in self._head:
            self._head.remove((client, future))
        elif future in (waiting := self._clients.get(client, deque())):
            waiting.remove(future)
            if not waiting:
                del self._clients[client]
        else:
            return False
        self._count -= 1
        return True
