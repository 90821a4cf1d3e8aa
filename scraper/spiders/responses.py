"""Read a response's charset and headers, and the record that later detects a change."""

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

from scrapy.http import Response, TextResponse

from scraper.extraction.characters import decoded
from scraper.extraction.rights import HEADERS
from scraper.items import PageRecord
from textmill.settings.sites import Crawl, Source

_EXTRACTION = 2  # raised where extraction changes so that unchanged pages should be read again
_SETTLED = timedelta(seconds=2)  # a page may change twice within a second, which is all that Last-Modified tells


def text_of(response: TextResponse) -> str:
    """The text of a response; its bytes decide before the charset that it declares."""
    return decoded(response.body, response._declared_encoding())


def headers_of(response: Response) -> dict[str, str]:
    """Header fields with names in lower case; repeated fields are joined by commas."""
    return {
        name.decode("latin-1").lower(): ", ".join(value.decode("utf-8", "replace") for value in values)
        for name, values in response.headers.items()
    }


def record_of(
    url: str, headers: Mapping[str, str], links: tuple[str, ...], rules: str, fetched: datetime
) -> PageRecord:
    """The stored record of a page with an article."""
    modified = headers.get("last-modified")
    if modified and not _is_settled(modified, headers.get("date"), fetched):
        modified = None
    return PageRecord(url, headers.get("etag"), modified, links, rules, rights_in(headers))


def rights_in(headers: Mapping[str, str]) -> str:
    """A hash of the headers that say what may be done with a text; empty without any."""
    said = {name: headers[name] for name in HEADERS if name in headers}
    said |= {"link": headers["link"]} if "license" in headers.get("link", "").lower() else {}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16] if said else ""


def _is_settled(modified: str, date: str | None, fetched: datetime) -> bool:
    try:
        changed = parsedate_to_datetime(modified)
        return changed + _SETTLED <= (parsedate_to_datetime(date) if date else fetched)
    except (ValueError, TypeError):  # no date, or one without a zone
        return False


def rules_of(source: Source, crawl: Crawl) -> str:
    """A hash of all settings that affect the extraction of an article."""
    deciding = source.model_dump(exclude={"name", "start", "max_pages", "depth", "hosts"})
    deciding |= {"min_words": crawl.min_words, "page_bytes": crawl.page_bytes, "extraction": _EXTRACTION}
    return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()[:16]
