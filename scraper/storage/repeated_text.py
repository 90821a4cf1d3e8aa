"""Paragraphs that a site repeats over its pages: subscription notices, disclaimers, calls to share.

A paragraph that stands on many of a site's pages is about the site, not about any of them. Within a batch of new
articles that shows at once; the rest is found when a crawl ends, from the hashes that each article's document keeps.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace

from scraper.storage.crawl_store import CrawlStore
from textmill.articles.article import Article, now

PAGES = 10  # at least, that share a paragraph
SHARE = 0.1  # of the site's articles, at least
BATCH_SHARE = 0.5  # of a batch: enough to tell before the rest of the site is known
WORDS = 5  # of a paragraph, at least: 'Notes' and 'See also' head sections of their own
REFUSED = "repeated text only"
_SLOTS = 1 << 22  # counters that pages are first counted in, a byte each
_REWRITTEN = 50  # articles in one write


def paragraph_hashes(text: str) -> tuple[int, ...]:
    """A 63-bit hash of each different paragraph that is long enough to tell."""
    return tuple({_hash(each): None for each in text.split("\n\n") if len(each.split()) >= WORDS})


def without(article: Article, repeated: Collection[int]) -> Article:
    """An article without the paragraphs that its site repeats."""
    if not repeated:
        return article
    kept = [each for each in article.text.split("\n\n") if _hash(each) not in repeated]
    return replace(article, text="\n\n".join(kept))


def repeated_in(batch: Iterable[Collection[int]]) -> set[int]:
    """The paragraphs that most articles of a batch have.

    Args:
        batch: the paragraph hashes of each article.
    """
    articles = list(batch)
    counts = Counter(each for hashes in articles for each in hashes)
    return {each for each, count in counts.items() if count >= max(PAGES, BATCH_SHARE * len(articles))}


async def repeated_over(store: CrawlStore, source: str) -> set[int]:
    """The paragraphs that many articles of a source have; in memory that does not grow with the source."""
    slots, articles = bytearray(_SLOTS), 0
    async for _, hashes in store.paragraphs(source):
        articles += 1
        for each in hashes:
            slots[each % _SLOTS] = min(slots[each % _SLOTS] + 1, 255)
    if articles < PAGES or max(slots) < PAGES:
        return set()
    counts: Counter[int] = Counter()
    async for _, hashes in store.paragraphs(source):
        counts.update(each for each in hashes if slots[each % _SLOTS] >= PAGES)
    return {each for each, count in counts.items() if count >= max(PAGES, SHARE * articles)}


async def clean(
    store: CrawlStore, source: str, known: set[int], configured: Collection[str], min_words: int
) -> set[int]:
    """Take what a site turns out to repeat out of the articles that were stored before that was known.

    Returns:
        Everything that the site repeats, as it is now kept in the store.
    """
    fresh = (await repeated_over(store, source) | known) - await store.repeated(source)
    if not fresh:
        return known
    affected = [key async for key, hashes in store.paragraphs(source) if not fresh.isdisjoint(hashes)]
    for first in range(0, len(affected), _REWRITTEN):
        articles = [without(a, fresh | known) for a in await store.current(affected[first : first + _REWRITTEN])]
        empty = [a.key for a in articles if len(a.text.split()) < min_words]
        await store.write([a for a in articles if a.key not in empty], configured, {})
        if empty:
            await store.withdraw(empty, REFUSED, now())
    await store.keep_repeated(source, fresh | known)  # last: a crawl killed before this does it all again
    return fresh | known


def _hash(paragraph: str) -> int:
    # 63 bits, as MongoDB's integers are signed
    return int.from_bytes(hashlib.blake2b(" ".join(paragraph.split()).encode(), digest_size=8).digest()) >> 1
