"""The articles written lately, by their ids."""

from collections import OrderedDict

from serving.interface.schemas import (
    Article,
    ArticleRecord,
)


class Memory:
    """The articles written lately."""

    def __init__(self, size: int = 1000) -> None:
        self._articles: OrderedDict[str, ArticleRecord] = OrderedDict()
        self._size = size

    def keep(self, record: ArticleRecord) -> Article:
        """Remember an article, and give it as it is answered; the oldest one goes where there are too many."""
        self._articles[record.id] = record
        if len(self._articles) > self._size:
            self._articles.popitem(last=False)
        return Article(**record.model_dump(exclude={"lineage"}))

    def find(self, article_id: str) -> ArticleRecord | None:
        """An article written lately, or None."""
        return self._articles.get(article_id)
