"""The spellings in which the store may have an address that a person pastes."""

import re
import string
from contextlib import suppress
from urllib.parse import quote, unquote, urlsplit, urlunsplit

_TRACKING = re.compile(r"utm_\w+|gclid|gbraid|wbraid|dclid|fbclid|msclkid|yclid|twclid|igshid|mc_[ce]id|_ga|_gl", re.I)
_PORTS = {"http": 80, "https": 443}
_KEPT = "".join(sign for sign in string.printable if not sign.isspace() and sign not in '"<>`{}')


def spellings(pasted: str) -> list[str]:
    """Spellings of one address, the likeliest first.

    Without fragment, tracking parameters, password and default port; the host in Punycode; with http or https, with and
    without 'www.' and a trailing slash, and with the path's characters as they stand or all encoded.
    """
    text = pasted.strip().strip("<>\"'").strip()
    parts = urlsplit(text if "://" in text or text.startswith("import:") else f"http://{text}")
    if not parts.netloc:
        return [text]
    scheme = parts.scheme.lower()
    host = _host(parts.netloc, scheme)
    hosts = [host, host.removeprefix("www.") if host.startswith("www.") else f"www.{host}"]
    paths = [
        each for path in _encoded(parts.path) for each in (path or "/", path.rstrip("/") or "/", f"{path.rstrip('/')}/")
    ]
    kept = [each for each in parts.query.split("&") if not _TRACKING.fullmatch(each.partition("=")[0])]
    queries = dict.fromkeys(each for query in ("&".join(kept), parts.query) for each in _encoded(query))
    schemes = [scheme, "http" if scheme == "https" else "https"]
    found = [
        urlunsplit((each_scheme, each_host, path, query, ""))
        for query in queries
        for each_scheme in schemes
        for each_host in hosts
        for path in paths
    ]
    return list(dict.fromkeys(found))


def _host(netloc: str, scheme: str) -> str:
    host, colon, port = netloc.rpartition("@")[2].lower().partition(":")
    if netloc.rpartition("@")[2].startswith("["):
        return netloc.rpartition("@")[2].lower()
    with suppress(UnicodeError):  # no name of a host
        host = host.rstrip(".").encode("idna").decode()
    return host if not colon or port in ("", str(_PORTS.get(scheme))) else f"{host}:{port}"


def _encoded(part: str) -> list[str]:
    once = quote(part, safe=_KEPT)
    plain = quote(unquote(part), safe=_KEPT.replace("%", ""))
    return list(dict.fromkeys((once, plain)))
