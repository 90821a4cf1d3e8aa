"""Choose which page to keep when several addresses have the same article.

Pages arrive in no fixed order, but crawling an unchanged site again must keep the same ones. So possible copies wait
until the end of the crawl: a page that declares another as canonical, and a text that the store has under another
address that the crawl has not met yet.
"""

from collections.abc import Mapping

from scraper.items import Found


class Duplicates:
    """Separates one crawl's articles from their copies.

    Attributes:
        dropped: URLs of pages that were copies.
    """

    def __init__(self, stored: Mapping[str, str]) -> None:
        """Start a crawl.

        Args:
            stored: this source's stored articles, content hash to URL; for several URLs, the lowest.
        """
        self._stored = stored
        self._urls: set[str] = set()  # of the articles kept
        self._texts: set[str] = set()  # their content hashes
        self._aliases: dict[str, Found] = {}  # by canonical URL
        self._copies: dict[str, Found] = {}  # by content hash
        self.dropped: list[str] = []

    def keep(self, found: Found) -> Found | None:
        """The article if it should be stored now, else None."""
        article = found.article
        if article.url in self._urls or article.content_hash in self._texts:
            self._drop(found)
            return None
        if found.is_alias:
            if article.url in self._aliases:
                self._drop(found)
            self._aliases.setdefault(article.url, found)
            return None
        if self._stored.get(article.content_hash, article.url) != article.url:
            other = self._copies.get(article.content_hash)
            better = min(found, other or found, key=lambda each: each.article.url)
            if other:
                self._drop(found if better is other else other)
            self._copies[article.content_hash] = better
            return None
        return self._take(found)

    def confirm(self, url: str, content_hash: str) -> None:
        """Record an article as unchanged (status 304)."""
        self._urls.add(url)
        self._texts.add(content_hash)
        self._drop(self._aliases.pop(url, None))
        self._drop(self._copies.pop(content_hash, None))

    def _take(self, found: Found) -> Found:
        self.confirm(found.article.url, found.article.content_hash)
        return found

    def _drop(self, found: Found | None) -> None:
        if found:
            self.dropped.append(found.page.url or found.article.url)

    def rest(self) -> list[Found]:
        """The waiting articles for which no better copy came. Call it at the end of the crawl."""
        kept = []
        waiting = [*self._copies.values(), *self._aliases.values()]
        self._copies.clear()
        self._aliases.clear()
        for found in waiting:
            if found.article.url in self._urls or found.article.content_hash in self._texts:
                self._drop(found)
            else:
                kept.append(self._take(found))
        return kept
