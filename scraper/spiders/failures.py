"""The sentences for a site that cannot be crawled."""

from http import HTTPStatus

from scrapy.exceptions import CannotResolveHostError, DownloadConnectionRefusedError, DownloadTimeoutError

from textmill.settings.sites import Source

_CAUSES = {
    DownloadConnectionRefusedError: "the connection is refused",
    CannotResolveHostError: "no such host is known",
    DownloadTimeoutError: "no answer in time",
}


def no_answer(source: Source, error: Exception) -> str:
    """The site is down."""
    return (
        f"The site '{source.name}' at {source.start} does not answer ({_cause(error)}); "
        "check the address, or try again later."
    )


def stopped_answering(source: Source, pages: int, error: Exception) -> str:
    """The site went down while it was crawled."""
    return (
        f"The site '{source.name}' stopped answering after {pages} pages ({_cause(error)}); "
        "crawl again later: what was fetched is stored."
    )


def _cause(error: Exception) -> str:
    return _CAUSES.get(type(error), f"{type(error).__name__}: {error}".rstrip(": "))


def status_answer(source: Source, status: int) -> str:
    """The start is an error page."""
    try:
        words = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:  # a server may answer with numbers of its own
        words = str(status)
    return f"The site '{source.name}' answers {words} at {source.start}; correct its 'start' in the configuration."


def off_to(source: Source, target: str) -> str:
    """The start leads elsewhere, or in a circle."""
    return (
        f"The site '{source.name}' sends {source.start} on to {target}, which is not followed; "
        "write the address that a browser ends up at as its 'start'."
    )


def forbidden(source: Source, no_rules: object) -> str:
    """robots.txt allows nothing at the start."""
    why = f"has no usable rules for robots ({no_rules})" if no_rules else "forbids it in its robots.txt"
    return (
        f"The site '{source.name}' may not be crawled from {source.start}: it {why}; "
        "ask its owner, or remove it from 'sources'."
    )


def no_article(source: Source, reasons: str, min_words: int) -> str:
    """The crawl went well and found nothing."""
    what = reasons or "no page was fetched"
    return (
        f"The site '{source.name}' gave no article from {source.start}: {what}; start from a page that links to "
        f"articles, loosen 'include' and 'exclude', or lower crawl.min_words (now {min_words})."
    )


def is_forbidden(error: BaseException) -> bool:
    """Whether a request was left out because of robots.txt."""
    return "robots.txt" in str(error)
