"""Read a site's text-mining rights: reservations and licences, beyond what robots.txt allows.

Formats: TDMRep (W3C Community Group report, 2024: `tdm-reservation` as a header, a meta element, or in
/.well-known/tdmrep.json); RSL 1.0 (`License:` in robots.txt, a `Link` header, `link rel=license`); Content-Signal lines
in robots.txt; X-Robots-Tag.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any
from urllib.parse import urlsplit

from scraper.extraction.page import Page

TDMREP_PATH = "/.well-known/tdmrep.json"
RSL_TYPE = "application/rsl+xml"
_AGENT = "textmill"
_LICENCE_LINE = re.compile(r"^\s*license\s*:\s*(\S+)", re.I | re.M)
_SIGNAL_LINE = re.compile(r"^\s*content-signal\s*:[^\n#]*\bai-train\s*=\s*no\b", re.I | re.M)
_LINK = re.compile(r"<([^>]*)>([^<]*)")


@dataclass(slots=True)
class SiteTerms:
    """The terms of a whole site."""

    licence: str | None = None  # address of an RSL document
    no_training: bool = False  # by a Content-Signal
    rules: list[tuple[re.Pattern[str], bool, str]] = field(default_factory=list)  # path, whether reserved, policy

    def read_robots(self, body: str) -> None:
        """Read the licences in a robots.txt. They hold for every robot."""
        found = _LICENCE_LINE.search(body)
        self.licence = found[1] if found else None
        self.no_training = bool(_SIGNAL_LINE.search(body))

    def read_tdmrep(self, body: str) -> None:
        """Read the rules of a tdmrep.json. An unreadable file counts as empty."""
        try:
            entries = json.loads(body)
        except ValueError:
            return
        for entry in entries if isinstance(entries, list) else [entries]:
            if isinstance(entry, dict) and isinstance(entry.get("location"), str) and "tdm-reservation" in entry:
                policy = entry.get("tdm-policy")
                self.rules.append((_path(entry["location"]), _is_one(entry["tdm-reservation"]), str(policy or "")))

    def tdm(self, url: str) -> tuple[bool, str] | None:
        """Whether the site's file reserves a page, and its policy's address; None if it has no rule."""
        path = urlsplit(url).path or "/"
        return next(((reserved, policy) for pattern, reserved, policy in self.rules if pattern.match(path)), None)


def reservation(page: Page, headers: Mapping[str, str], terms: SiteTerms) -> str | None:
    """How a page's mining rights are reserved or licensed, with the terms' address; None if not at all.

    Args:
        headers: of the response, names in lower case.
    """
    return "; ".join(" ".join(filter(None, each)) for each in _reservations(page, headers, terms)) or None


def _reservations(page: Page, headers: Mapping[str, str], terms: SiteTerms) -> Iterator[tuple[str, str]]:
    metas = {meta.get("name", "").lower(): meta.get("content", "") for meta in page.tree.iter("meta")}
    file = terms.tdm(page.url)
    # the page itself is believed before the header, and that before the site's file
    for said in (metas, headers):
        if "tdm-reservation" in said:
            file = (_is_one(said["tdm-reservation"]), said.get("tdm-policy", ""))
            break
    if file and file[0]:
        yield "TDMRep", file[1]
    if licence := _rsl_link(page, headers) or terms.licence:
        yield "RSL", licence
    if terms.no_training:
        yield "Content-Signal", "ai-train=no"


def _rsl_link(page: Page, headers: Mapping[str, str]) -> str | None:
    for link in page.tree.iter("link"):
        if "license" in link.get("rel", "").lower().split() and link.get("type", "").lower() == RSL_TYPE:
            return str(link.get("href", ""))
    for address, parameters in _LINK.findall(headers.get("link", "")):
        if "license" in parameters.lower() and RSL_TYPE in parameters.lower():
            return str(address)
    return None


def robots_tags(header: str) -> set[str]:
    """The directives of an X-Robots-Tag for every robot or for this one."""
    words: set[str] = set()
    agent = ""
    for part in header.lower().split(","):
        name, colon, rest = part.partition(":")
        if colon and name.strip() not in ("max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"):
            agent, part = name.strip(), rest
        if agent in ("", _AGENT):
            words.add(part.strip())
    return words


def _path(location: str) -> re.Pattern[str]:
    """A location's pattern: '*' matches anything, '$' the end; without '$' it is a prefix."""
    pattern = location.removesuffix("$").replace("[", "[[]").replace("?", "[?]")
    return re.compile(translate(pattern if location.endswith("$") else f"{pattern}*"))


def _is_one(value: Any) -> bool:
    return str(value).strip() == "1"
