"""A Scrapy project: follows the configured web sites and writes their articles to the store."""
