"""Remove paragraphs that a site repeats on many pages, such as subscription notices.

A paragraph on many of a site's pages is about the site, not about one page. Repetition within a batch of new articles is
found at once; the rest at the end of the crawl, from the paragraph hashes in the articles' documents.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import replace

from scraper.storage.crawl_store import CrawlStore
from textmill.articles.article import Article, now
from textmill.ground.words import count

PAGES = 10  # at least, that share a paragraph
SHARE = 0.1  # of the site's articles, at least
BATCH_SHARE = 0.5  # of a batch: enough to tell before the rest of the site is known
WORDS = 5  # of a paragraph, at least: 'Notes' and 'See also' head sections of their own
REFUSED = "repeated text only"
_SLOTS = 1 << 22  # counters that pages are first counted in, a byte each
_REWRITTEN = 50  # articles in one write


def paragraph_hashes(text: str) -> tuple[int, ...]:
    """A 63-bit hash of each distinct paragraph, except short ones."""
    return tuple({_hash(each): None for each in text.split("\n\n") if count(each) >= WORDS})


def without(article: Article, repeated: Collection[int]) -> Article:
    """The article without its site's repeated paragraphs."""
    if not repeated:
        return article
    kept = [each for each in article.text.split("\n\n") if _hash(each) not in repeated]
    return replace(article, text="\n\n".join(kept))


def repeated_in(batch: Iterable[Collection[int]]) -> set[int]:
    """The paragraphs that occur in most articles of a batch.

    Args:
        batch: the paragraph hashes of each article.
    """
    articles = list(batch)
    counts = Counter(each for hashes in articles for each in hashes)
    return {each for each, count in counts.items() if count >= max(PAGES, BATCH_SHARE * len(articles))}


async def repeated_over(store: CrawlStore, source: str) -> set[int]:
    """The paragraphs that occur in many articles of a source. Memory use does not grow with the source."""
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
    """Remove newly found repeated text from articles stored earlier.

    Returns:
        All repeated paragraphs of the site, as now stored.
    """
    fresh = (await repeated_over(store, source) | known) - await store.repeated(source)
    if not fresh:
        return known
    affected = [key async for key, hashes in store.paragraphs(source) if not fresh.isdisjoint(hashes)]
    for first in range(0, len(affected), _REWRITTEN):
        articles = [without(a, fresh | known) for a in await store.current(affected[first : first + _REWRITTEN])]
        empty = [a.key for a in articles if count(a.text) < min_words]
        await store.write([a for a in articles if a.key not in empty], configured, {})
        if empty:
            await store.withdraw(empty, REFUSED, now())
    await store.keep_repeated(source, fresh | known)  # last: a crawl killed before this does it all again
    return fresh | known


def _hash(paragraph: str) -> int:
    # 63 bits, as MongoDB's integers are signed
    return int.from_bytes(hashlib.blake2b(" ".join(paragraph.split()).encode(), digest_size=8).digest()) >> 1
