"""Read a page's and a site's text-mining rights: reservations and licences, beyond what robots.txt allows.

Formats:

- TDMRep (W3C Community Group report, 2024): `tdm-reservation` as a header, a meta element, or in /.well-known/tdmrep.json.
- RSL 1.0: `License:` in robots.txt, a `Link` header, `link rel=license`.
- Content-Signal and Content-Usage (AIPREF), as a header or in robots.txt.
- Groups of robots.txt for robots that collect training texts; X-Robots-Tag; JSON-LD.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Any
from urllib.parse import urlsplit

from protego import Protego

from scraper.extraction.json_ld import nodes
from scraper.extraction.page import OWN_NAME, Page

TDMREP_PATH = "/.well-known/tdmrep.json"
RSL_TYPE = "application/rsl+xml"
# headers that say what may be done with a text
HEADERS = ("x-robots-tag", "tdm-reservation", "tdm-policy", "content-usage", "content-signal")
# robots that collect texts for training; a group that names one and forbids it a page says no to training
TRAINING_ROBOTS = (
    "AI2Bot", "Amazonbot", "anthropic-ai", "Applebot-Extended", "Bytespider", "CCBot", "Claude-Web", "ClaudeBot",
    "cohere-ai", "cohere-training-data-crawler", "Diffbot", "FacebookBot", "Google-CloudVertexBot", "Google-Extended",
    "GPTBot", "meta-externalagent", "omgili", "omgilibot", "PanguBot", "PerplexityBot", "Timpibot",
)  # fmt: skip
_TRAINING_USES = ("train-ai", "train-genai", "ai-train", "ai", "genai", "tdm", "bots")  # of Content-Usage and -Signal
_LICENCE_LINE = re.compile(r"^[ \t]*license[ \t]*:[ \t]*(\S+)", re.I | re.M)
_SIGNAL_LINE = re.compile(r"^[ \t]*content-signal[ \t]*:([^\n#]*)", re.I | re.M)
_USAGE_LINE = re.compile(
    r"^[ \t]*content-usage[ \t]*:[ \t]*(?:(?P<path>[/*][^\s,]*)[ \t]+)?(?P<uses>[^\n#]*)", re.I | re.M
)
_AGENT_LINE = re.compile(r"^[ \t]*user-agent[ \t]*:[ \t]*([^\s#]+)", re.I | re.M)
_LINK = re.compile(r"<([^<>]*)>([^<]*)")


@dataclass(frozen=True, slots=True)
class PageTerms:
    """What a site says of one of its pages, outside the page.

    Attributes:
        tdm: whether tdmrep.json reserves it, and its policy's address; None without a rule.
        licence: address of an RSL document.
        signs: further reservations in robots.txt, in words.
        agents: names in lower case by which pages may address this robot.
    """

    tdm: tuple[bool, str] | None = None
    licence: str | None = None
    signs: tuple[str, ...] = ()
    agents: tuple[str, ...] = (OWN_NAME,)


@dataclass(slots=True)
class SiteTerms:
    """The terms of a whole origin (host and port)."""

    licence: str | None = None  # address of an RSL document
    no_training: bool = False  # by a Content-Signal
    uses: list[tuple[str, re.Pattern[str], bool]] = field(default_factory=list)  # path, its pattern, whether forbidden
    robots: dict[str, Protego] = field(default_factory=dict)  # the rules, by each training robot that they name
    rules: list[tuple[re.Pattern[str], bool, str]] = field(default_factory=list)  # path, whether reserved, policy

    def read_robots(self, body: str) -> None:
        """Read what a robots.txt says beside who may fetch what. Licences and signals hold for every robot."""
        found = _LICENCE_LINE.search(body)
        self.licence = found[1] if found else None
        self.no_training = any(_forbids(line) for line in _SIGNAL_LINE.findall(body))
        usage = [(each["path"] or "/", each["uses"]) for each in _USAGE_LINE.finditer(body)]
        self.uses = [(path, _path(path), _forbids(uses)) for path, uses in usage]
        named = {name.lower() for name in _AGENT_LINE.findall(body)}
        present = [robot for robot in TRAINING_ROBOTS if robot.lower() in named]
        parsed = Protego.parse(body) if present else None
        self.robots = {robot: parsed for robot in present if parsed}

    def read_tdmrep(self, body: str) -> None:
        """Read the rules of a tdmrep.json. An unreadable file counts as empty."""
        try:
            entries = json.loads(body)
        except (ValueError, RecursionError):
            return
        for entry in entries if isinstance(entries, list) else [entries]:
            if isinstance(entry, dict) and isinstance(entry.get("location"), str) and "tdm-reservation" in entry:
                policy = entry.get("tdm-policy")
                self.rules.append((_path(entry["location"]), _is_one(entry["tdm-reservation"]), str(policy or "")))

    def on(self, url: str, agents: tuple[str, ...] = (OWN_NAME,)) -> PageTerms:
        """What they say of one page."""
        return PageTerms(self.tdm(url), self.licence, tuple(self._signs(url)), agents)

    def tdm(self, url: str) -> tuple[bool, str] | None:
        """Whether the site's file reserves a page, and its policy's address; None if it has no rule."""
        path = urlsplit(url).path or "/"
        return next(((reserved, policy) for pattern, reserved, policy in self.rules if pattern.match(path)), None)

    def _signs(self, url: str) -> Iterator[str]:
        if self.no_training:
            yield "Content-Signal ai-train=no"
        path = urlsplit(url).path or "/"
        fitting = [(len(prefix), forbidden) for prefix, pattern, forbidden in self.uses if pattern.match(path)]
        if fitting and max(fitting)[1]:  # the longest path decides
            yield "Content-Usage train-ai=n"
        forbidden = [robot for robot, rules in self.robots.items() if not rules.can_fetch(url, robot)]
        if forbidden:
            yield f"robots.txt forbids {', '.join(forbidden)}"


def reservation(page: Page, headers: Mapping[str, str], terms: PageTerms) -> str | None:
    """How a page's mining rights are reserved or licensed, with the terms' address; None if not at all.

    Args:
        headers: of the response, names in lower case.
    """
    return "; ".join(dict.fromkeys(_reservations(page, headers, terms))) or None


def _reservations(page: Page, headers: Mapping[str, str], terms: PageTerms) -> Iterator[str]:
    metas = {meta.get("name", "").lower(): meta.get("content", "") for meta in page.tree.iter("meta")}
    tdm = terms.tdm
    # the page itself is believed before the header, and that before the site's file
    for said in (metas, headers):
        if "tdm-reservation" in said:
            tdm = (_is_one(said["tdm-reservation"]), said.get("tdm-policy", ""))
            break
    if tdm and tdm[0]:
        yield f"TDMRep {tdm[1]}".strip()
    if licence := _rsl_link(page, headers) or terms.licence:
        yield f"RSL {licence}"
    for name, sign in (("content-signal", "Content-Signal ai-train=no"), ("content-usage", "Content-Usage train-ai=n")):
        if _forbids(headers.get(name, "")):
            yield sign
    yield from terms.signs
    if any(str(node.get("isAccessibleForFree")).lower() == "false" for node in nodes(page.tree)):
        yield "JSON-LD isAccessibleForFree=false"


def stated_licence(page: Page) -> str | None:
    """The licence that the page names in JSON-LD, or in a link or meta element that is no RSL document."""
    for node in nodes(page.tree):
        said = node.get("license")
        said = said[0] if isinstance(said, list) and said else said
        if isinstance(said, dict):
            said = said.get("@id") or said.get("url") or said.get("name")
        if isinstance(said, str) and said.strip():
            return said.strip()
    for link in page.tree.iter("link", "a"):
        if "license" in link.get("rel", "").lower().split() and link.get("type", "").lower() != RSL_TYPE:
            return link.get("href") or None
    for meta in page.tree.iter("meta"):
        if meta.get("name", "").lower() in ("dcterms.license", "dc.rights.license", "license", "licence"):
            return meta.get("content") or None
    return None


def _rsl_link(page: Page, headers: Mapping[str, str]) -> str | None:
    for link in page.tree.iter("link"):
        if "license" in link.get("rel", "").lower().split() and link.get("type", "").lower() == RSL_TYPE:
            return str(link.get("href", ""))
    for address, parameters in _LINK.findall(headers.get("link", "")):
        if "license" in parameters.lower() and RSL_TYPE in parameters.lower():
            return str(address)
    return None


def robots_tags(header: str, agents: tuple[str, ...] = (OWN_NAME,)) -> set[str]:
    """The directives of an X-Robots-Tag for every robot or for this one."""
    words: set[str] = set()
    agent = ""
    for part in header.lower().split(","):
        name, colon, rest = part.partition(":")
        if colon and name.strip() not in ("max-snippet", "max-image-preview", "max-video-preview", "unavailable_after"):
            agent, part = name.strip(), rest
        if agent in ("", "*", *agents):
            words.add(part.strip())
    return words


def _forbids(uses: str) -> bool:
    """Whether a list such as 'search=yes, train-ai=n' forbids a use that training is."""
    pairs = (each.partition("=") for each in re.split(r"[,;]", uses.lower()))
    return any(name.strip() in _TRAINING_USES and value.strip() in ("n", "no", "?0") for name, _, value in pairs)


def _path(location: str) -> re.Pattern[str]:
    """A location's pattern: '*' matches anything, '$' the end; without '$' it is a prefix."""
    pattern = location.removesuffix("$").replace("[", "[[]").replace("?", "[?]")
    return re.compile(translate(pattern if location.endswith("$") else f"{pattern}*"))


def _is_one(value: Any) -> bool:
    return str(value).strip().lower() in ("1", "true")
