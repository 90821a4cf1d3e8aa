"""The name by which robots.txt and pages address a crawler, from the user agent that it sends."""

import re

_PRODUCT = re.compile(r"([A-Za-z][\w.-]*)/v?\d")
_COMPATIBLE = re.compile(r"compatible;\s*([A-Za-z][\w.-]*)")
_BROWSERS = frozenset(
    ("mozilla", "applewebkit", "chrome", "safari", "gecko", "firefox", "edg", "opr", "version", "mobile")
)


def robots_name(user_agent: str) -> str:
    """A user agent's product, also where it stands behind a browser's: 'Mozilla/5.0 (compatible; MillBot/1.0; …)'."""
    first = user_agent.split("/")[0].split("(")[0].strip()
    if first.lower() not in _BROWSERS:
        return first
    products = [name for name in _PRODUCT.findall(user_agent) if name.lower() not in _BROWSERS]
    named = _COMPATIBLE.search(user_agent)
    return products[0] if products else named[1] if named else first
