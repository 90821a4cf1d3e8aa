"""The Scrapy pipeline to the store."""

from scrapy.crawler import Crawler

from scraper.items import Found, NotModified
from scraper.storage.article_writer import ArticleWriter


class StorePipeline:
    """Passes every article to the crawl's writer."""

    def __init__(self, writer: ArticleWriter) -> None:
        self._writer = writer

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> "StorePipeline":
        return cls(crawler.spider.writer)  # type: ignore[union-attr]

    async def process_item(self, item: Found | NotModified) -> Found | NotModified:
        if isinstance(item, Found):
            await self._writer.add(item)
        else:
            await self._writer.confirm(item)
        return item

    async def close_spider(self) -> None:
        await self._writer.finish()
