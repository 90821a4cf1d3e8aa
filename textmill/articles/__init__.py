"""Articles in MongoDB: immutable versions, one current version per canonical URL, and snapshots of them all.

Two collections carry them. `articles` has one document per canonical URL with the state of its crawl;
`article_versions` has every text an article ever had, each with the time from which it held. A version is written
before the article points at it, so a crawl killed between the two loses nothing and repeats nothing.
`snapshots` records what the store held at one time; a run reads exactly that, however the store has moved on.
`forgotten` has the keys of articles whose text was taken out; they are not stored again.

    article     one text with its origin, and its key
    writes      what has to be written for a batch of articles, whoever writes it
    snapshot    what the store held at one time, and its digest
    store       the collections of one database, read and written
"""

from textmill.articles.article import Article, key_of, now
from textmill.articles.snapshot import Snapshot, digest_of, digest_term, key_ranges
from textmill.articles.store import ANSWER_WITHIN_S, ArticleStore
from textmill.articles.writes import LATEST, UpsertCounts, Writes, forgotten_query, writes_for

__all__ = [
    "ANSWER_WITHIN_S",
    "LATEST",
    "Article",
    "ArticleStore",
    "Snapshot",
    "UpsertCounts",
    "Writes",
    "digest_of",
    "digest_term",
    "forgotten_query",
    "key_of",
    "key_ranges",
    "now",
    "writes_for",
]
