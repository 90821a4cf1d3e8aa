"""Error messages for sites that cannot be crawled."""

from http import HTTPStatus

from scrapy.exceptions import CannotResolveHostError, DownloadConnectionRefusedError, DownloadTimeoutError

from textmill.settings.sites import Source

_CAUSES = {
    DownloadConnectionRefusedError: "connection refused",
    CannotResolveHostError: "unknown host",
    DownloadTimeoutError: "timeout",
}


def no_answer(source: Source, error: Exception) -> str:
    """The site does not answer."""
    return (
        f"The site '{source.name}' at {source.start} does not answer ({_cause(error)}); "
        "check the address or try again later."
    )


def stopped_answering(source: Source, pages: int, error: Exception) -> str:
    """The site stopped answering during the crawl."""
    return (
        f"The site '{source.name}' stopped answering after {pages} pages ({_cause(error)}); "
        "the fetched articles are stored; crawl again later."
    )


def _cause(error: Exception) -> str:
    return _CAUSES.get(type(error), f"{type(error).__name__}: {error}".rstrip(": "))


def status_answer(source: Source, status: int) -> str:
    """The start page is an error."""
    try:
        words = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:  # a server may answer with numbers of its own
        words = str(status)
    return f"The site '{source.name}' answers {words} at {source.start}; correct its 'start' in the configuration."


def off_to(source: Source, target: str) -> str:
    """The start redirects to another site or in a loop."""
    return (
        f"The site '{source.name}' redirects {source.start} to {target}, which is not followed; "
        "set its 'start' to the address that a browser ends up at."
    )


def forbidden(source: Source, no_rules: object) -> str:
    """robots.txt forbids the start."""
    why = f"has no readable robots.txt ({no_rules})" if no_rules else "forbids it in its robots.txt"
    return (
        f"The site '{source.name}' may not be crawled from {source.start}: it {why}; "
        "ask its owner, or remove it from 'sources'."
    )


def no_article(source: Source, reasons: str, min_words: int) -> str:
    """The crawl succeeded but found no article."""
    what = reasons or "no page was fetched"
    return (
        f"The site '{source.name}' gave no article from {source.start}: {what}; set 'start' to a page that links to "
        f"articles, loosen 'include' and 'exclude', or lower crawl.min_words (now {min_words})."
    )


def is_forbidden(error: BaseException) -> bool:
    """Whether robots.txt forbade a request."""
    return "robots.txt" in str(error)
