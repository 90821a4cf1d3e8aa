"""What the spider hands to the pipeline."""

from dataclasses import dataclass

from textmill.articles import Article


@dataclass(frozen=True, slots=True)
class Found:
    """An article as a page gave it."""

    article: Article
    is_alias: bool  # the page says that another one, which the crawl asks for too, is the article's own
