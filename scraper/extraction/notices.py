"""Detect pages with status 200 and no article: errors, paywalls, consent requests."""

import re

from textmill.ground.words import count

NOTICE_FACTOR = 4  # a text this many times as long as an article must be is not judged by its title alone
CONSENT_SHARE = 0.04  # of the words: an article about cookies has fewer of these, a wall many more
CONSENT_WORDS = 600  # a longer text is an article about consent

_ERROR = re.compile(
    r"^\W*(?:error\W*)?(?:40[0134]|410|429|50[0-4])\b|\b(?:page|seite|document) (?:was )?not (?:be )?found\b|^not found\b"
    r"|^(?:oops|access denied|forbidden|service unavailable|internal server error|under maintenance)\b"
    r"|^page introuvable\b|^seite nicht gefunden\b",
    re.I,
)
_WALL = re.compile(
    r"^just a moment\b|^attention required\b|\bare you (?:a )?(?:human|robot)\b|^(?:please )?enable javascript\b"
    r"|^checking your browser\b|^verify(?:ing)? (?:that )?you are human\b|^(?:sign|log) in\b|^subscribe to (?:read|continue)\b",
    re.I,
)
_CONSENT_TITLE = re.compile(
    r"^before you continue\b|^we value your privacy\b|\bcookie (?:consent|settings|preferences|notice)\b"
    r"|\bprivacy (?:settings|preferences|cent(?:er|re))\b|^(?:your )?(?:consent|privacy choices)$",
    re.I,
)
_CONSENT = re.compile(
    r"\b(?:cookies?|consent|gdpr|opt[- ]out|personali[sz]ed|advertis\w+|legitimate interest|our partners|personal data"
    r"|privacy policy|einwilligung|datenschutz|consentement)\b",
    re.I,
)


def notice_in(title: str, text: str, min_words: int) -> str | None:
    """The reason why a page is a notice and not an article; None if it may be an article.

    Args:
        min_words: minimum length of an article, in words.
    """
    words = count(text)
    if words < NOTICE_FACTOR * min_words:
        for reason, pattern in (("error page", _ERROR), ("wall", _WALL), ("consent page", _CONSENT_TITLE)):
            if pattern.search(title):
                return reason
    share = len(_CONSENT.findall(text)) / max(words, 1)
    return "consent page" if words < CONSENT_WORDS and share > CONSENT_SHARE else None
