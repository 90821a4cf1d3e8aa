"""A Scrapy project: crawls the configured sites and writes their articles to the store."""
