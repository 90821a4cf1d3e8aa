"""Block private and local addresses that pages, redirects or names may point a crawl to."""

from collections.abc import Collection, Sequence
from typing import Any

from twisted.internet.base import ReactorBase, ThreadedResolver
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import DNSLookupError

from scraper.extraction.urls import is_private


class GuardedResolver(ThreadedResolver):
    """Resolves names to public addresses only; names in the configuration may be private.

    The check runs when a connection is made, so redirects cannot bypass it. Nor can a name whose address changes: the
    first answer for a name holds until the process exits.

    Attributes:
        refused: names that resolved to a private address.
    """

    def __init__(self, reactor: ReactorBase, named: Collection[str], timeout_s: float) -> None:
        super().__init__(reactor)
        self._named = frozenset(named)
        self._timeout_s = timeout_s
        self._answers: dict[str, str] = {}
        self.refused: set[str] = set()

    def getHostByName(self, name: str, timeout: Sequence[int] = ()) -> "Deferred[str]":
        """Resolve a name.

        Raises:
            DNSLookupError: it resolves to a private address and is not in the configuration.
        """
        if name in self._answers:
            return succeed(self._answers[name])
        # twisted takes one number for the whole time
        found: Deferred[str] = super().getHostByName(name, (self._timeout_s,))  # type: ignore[arg-type]
        return found.addCallback(self._checked, name)

    def _checked(self, address: str, name: str) -> Any:
        if is_private(address) and name.lower() not in self._named:
            self.refused.add(name)
            raise DNSLookupError(f"{name} resolves to the private address {address}")
        self._answers[name] = address
        return address
