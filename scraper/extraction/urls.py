"""Normalise URLs, and decide whether two are the same page or site."""

import ipaddress
import re
from functools import lru_cache
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urljoin, urlsplit, urlunsplit

from w3lib.url import safe_url_string

# parameters by which visits are counted: they change the URL, never the page
_TRACKING = re.compile(r"utm_\w+|gclid|gbraid|wbraid|dclid|fbclid|msclkid|yclid|twclid|igshid|mc_[ce]id|_ga|_gl", re.I)
_REMEMBERED = 10_000  # answers: the same links stand on page after page
_DEFAULT_PORTS = {"http": 80, "https": 443}


def normalise(url: str) -> str:
    """The normalised URL: no fragment, tracking parameters, default port or password; host in lower case."""
    parts = urlsplit(safe_url_string(url.strip()))
    query = parts.query
    if any(_TRACKING.fullmatch(name) for name, _ in parse_qsl(query, keep_blank_values=True)):
        kept = [pair for pair in query.split("&") if not _TRACKING.fullmatch(pair.partition("=")[0])]
        query = "&".join(kept)
    return urlunsplit((parts.scheme.lower(), _host_and_port(parts), parts.path or "/", query, ""))


def is_web_address(url: str) -> bool:
    """Whether a URL can be fetched: http or https, with a host and a valid port."""
    try:
        parts = urlsplit(url)
        return parts.scheme.lower() in _DEFAULT_PORTS and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        return False


@lru_cache(_REMEMBERED)
def resolve(base: str, href: str) -> str | None:
    """The normalised URL of a link on a page, or None if it cannot be fetched."""
    try:
        url = urljoin(base, href.strip())
        return normalise(url) if is_web_address(url) else None
    except ValueError:  # such as a bracket that opens an IPv6 address and closes nowhere
        return None


@lru_cache(_REMEMBERED)
def site_of(url: str) -> str:
    """A URL's site: its host without 'www.', and its port unless it is the scheme's default."""
    return _host_and_port(urlsplit(url)).removeprefix("www.")


def same_page(one: str, other: str) -> bool:
    """Whether two normalised URLs differ only in http or https, 'www.' and a trailing slash."""
    return _bare(one) == _bare(other)


def canonical_url(url: str, declared: str | None) -> str:
    """An article's URL: the declared canonical URL if it is plausible, else the page's own.

    A canonical URL on another host is ignored. So is the home page as canonical URL of another page: such templates
    declare the same URL on every page.

    Args:
        url: normalised URL of the response.
        declared: `href` of `link rel=canonical`, unchanged.
    """
    canonical = resolve(url, declared) if declared and declared.strip() else None
    if canonical is None or site_of(canonical) != site_of(url):
        return url
    return url if is_home(canonical) and not is_home(url) else canonical


def is_home(url: str) -> bool:
    """Whether a normalised URL is the root of its host."""
    parts = urlsplit(url)
    return parts.path == "/" and not parts.query


def is_loopback(url: str) -> bool:
    """Whether a URL names this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_private(address: str) -> bool:
    """Whether an IP address is not public. False for a text that is not an IP address."""
    try:
        found = ipaddress.ip_address(address.strip("[]").partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return not (mapped or found).is_global or found.is_multicast


def _host_and_port(parts: SplitResult) -> str:
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    port = parts.port
    return host if port is None or port == _DEFAULT_PORTS.get(parts.scheme.lower()) else f"{host}:{port}"


@lru_cache(_REMEMBERED)
def _bare(url: str) -> tuple[str, str, str]:
    parts = urlsplit(url)
    return site_of(url), quote(unquote(parts.path)).rstrip("/"), urlencode(parse_qsl(parts.query, True))
