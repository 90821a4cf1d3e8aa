"""One article, many addresses: which page's text is kept.

Pages arrive in no fixed order, and a second crawl of an unchanged site must keep the same ones. So a page that may
turn out to be the lesser copy waits until the crawl's end: the alias of a page that declares another as canonical, and
a text that the store has under another address which the crawl has not met yet.
"""

from collections.abc import Mapping

from scraper.items import Found
from textmill.articles import Article


class Duplicates:
    """Sorts the articles of one crawl.

    Attributes:
        dropped: how many pages were copies of others.
    """

    def __init__(self, stored: Mapping[str, str]) -> None:
        """Start a crawl.

        Args:
            stored: content hash to URL, of what the store has of this source; of several URLs, the least.
        """
        self._stored = stored
        self._urls: set[str] = set()  # of the articles kept
        self._texts: set[str] = set()  # their content hashes
        self._aliases: dict[str, Article] = {}  # by canonical URL
        self._copies: dict[str, Article] = {}  # by content hash
        self.dropped = 0

    def keep(self, found: Found) -> Article | None:
        """The article, if it is to be stored now."""
        article = found.article
        if article.url in self._urls or article.content_hash in self._texts:
            self.dropped += 1
            return None
        if found.is_alias:
            self.dropped += article.url in self._aliases
            self._aliases.setdefault(article.url, article)
            return None
        if self._stored.get(article.content_hash, article.url) != article.url:
            other = self._copies.get(article.content_hash, article)
            self.dropped += other is not article
            self._copies[article.content_hash] = min(article, other, key=lambda each: each.url)
            return None
        return self._take(article)

    def _take(self, article: Article) -> Article:
        self._urls.add(article.url)
        self._texts.add(article.content_hash)
        self.dropped += self._aliases.pop(article.url, None) is not None
        self.dropped += self._copies.pop(article.content_hash, None) is not None
        return article

    def rest(self) -> list[Article]:
        """The articles that waited for a better copy in vain, when no more pages come."""
        kept = []
        waiting = [*self._copies.values(), *self._aliases.values()]
        self._copies.clear()
        self._aliases.clear()
        for article in waiting:
            if article.url in self._urls or article.content_hash in self._texts:
                self.dropped += 1
            else:
                kept.append(self._take(article))
        return kept
