"""Scrapy's settings for all sites; `scraper.runner` adds those of the configuration."""

BOT_NAME = "textmill"
SPIDER_MODULES = ["scraper.spiders"]
NEWSPIDER_MODULE = "scraper.spiders"

TWISTED_REACTOR = "twisted.internet.asyncioreactor.AsyncioSelectorReactor"
ITEM_PIPELINES = {"scraper.pipelines.StorePipeline": 100}
DOWNLOADER_MIDDLEWARES = {
    "scrapy.downloadermiddlewares.offsite.OffsiteMiddleware": None,  # compares hosts without their ports
    "scrapy.downloadermiddlewares.retry.RetryMiddleware": None,
    "scraper.middlewares.SameSite": 50,
    "scraper.middlewares.TermsFirst": 105,  # after robots.txt, which may forbid it too
    "scraper.middlewares.Conditional": 110,  # after robots.txt had its say
    "scraper.middlewares.RobotsAnswer": 150,  # nearer to the engine than retries: it sees the last answer
    "scraper.middlewares.Backoff": 550,
}
EXTENSIONS = {"scrapy.extensions.throttle.AutoThrottle": None, "scraper.middlewares.Throttle": 100}
AUTOTHROTTLE_ENABLED = True
AUTOTHROTTLE_MAX_DELAY = 60  # seconds

ROBOTSTXT_OBEY = True
COOKIES_ENABLED = False
HTTPCACHE_ENABLED = False
METAREFRESH_ENABLED = False  # the spider follows it as a link, and counts it
TELNETCONSOLE_ENABLED = False
REMOTE_CONTROL_ENABLED = False

# breadth first, so that the newest articles of a long archive come first and a second crawl takes the same way
DEPTH_PRIORITY = 1
SCHEDULER_MEMORY_QUEUE = "scrapy.squeues.FifoMemoryQueue"

CONCURRENT_ITEMS = 2  # a page gives one article, and Scrapy starts so many tasks for each page

DOWNLOAD_TIMEOUT = 30  # seconds
DNS_TIMEOUT = 10  # seconds
DOWNLOAD_WARNSIZE = 0  # too large a page is counted, not warned of

LOG_LEVEL = "INFO"
LOG_FILE_APPEND = True
