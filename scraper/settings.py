"""Scrapy's settings for every site; `scraper.reactor` adds what the configuration says."""

BOT_NAME = "textmill"
SPIDER_MODULES = ["scraper.spiders"]
NEWSPIDER_MODULE = "scraper.spiders"

TWISTED_REACTOR = "twisted.internet.asyncioreactor.AsyncioSelectorReactor"
ITEM_PIPELINES = {"scraper.pipelines.StorePipeline": 100}
DOWNLOADER_MIDDLEWARES = {
    "scrapy.downloadermiddlewares.offsite.OffsiteMiddleware": None,  # compares hosts without their ports
    "scraper.middlewares.SameSite": 50,
    "scraper.middlewares.RobotsAnswer": 150,  # nearer to the engine than retries: it sees the last answer
}
EXTENSIONS = {"scraper.middlewares.CrawlDelay": 100}

ROBOTSTXT_OBEY = True
COOKIES_ENABLED = False
HTTPCACHE_ENABLED = False
METAREFRESH_ENABLED = False  # the spider follows it as a link, and counts it
TELNETCONSOLE_ENABLED = False
REMOTE_CONTROL_ENABLED = False

# breadth first, so that the newest articles of a long archive come first and a second crawl takes the same way
DEPTH_PRIORITY = 1
SCHEDULER_MEMORY_QUEUE = "scrapy.squeues.FifoMemoryQueue"

DOWNLOAD_TIMEOUT = 30  # seconds
DNS_TIMEOUT = 10  # seconds
RETRY_TIMES = 2  # after the first try
DOWNLOAD_WARNSIZE = 0  # too large a page is counted, not warned of

LOG_LEVEL = "INFO"
LOG_FILE_APPEND = True
