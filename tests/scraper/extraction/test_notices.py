import pytest
from html_pages import paragraphs

from scraper.extraction.notices import notice_in

TEXT = "\n\n".join(paragraphs(1))


@pytest.mark.parametrize(
    ("title", "reason"),
    [
        ("404", "error page"),
        ("Error 404: Not Found", "error page"),
        ("404 Not Found - The Mill", "error page"),
        ("The Mill | Page not found", "error page"),
        ("Access denied", "error page"),
        ("403 Forbidden", "error page"),
        ("Oops! We can't find that page", "error page"),
        ("Seite nicht gefunden – Die Mühle", "error page"),
        ("Página no encontrada", "error page"),
        ("Страница не найдена", "error page"),
        ("ページが見つかりません", "error page"),
        ("Just a moment...", "wall"),
        ("Log in", "wall"),
        ("Sign in to your account", "wall"),
        ("Anmelden | Die Mühle", "wall"),
        ("Are you a robot?", "wall"),
        ("We value your privacy", "consent page"),
        ("Mill: cookie settings", "consent page"),
        ("Forbidden City opens a new wing", None),
        ("Forbidden love: a novel", None),
        ("Log in the fireplace: how to choose firewood", None),
        ("Log in the river", None),
        ("404 reasons to love a mill", None),
        ("500 years of milling", None),
        ("Access denied: how a lock keeps its secret for a hundred years", "error page"),
        ("Gone fishing", None),
        ("Sorry seems to be the hardest word", None),
        ("The cookie settings of my oven, and what they teach about heat and patience", None),
        ("Found and lost", None),
    ],
)
def test_a_notice_is_told_by_a_whole_part_of_its_title(title: str, reason: str | None) -> None:
    assert notice_in(title, TEXT, 60) == reason


def test_a_consent_request_has_more_than_cookies() -> None:
    wall = (
        "We and our partners use cookies and personal data for personalised advertising; you may opt out or consent. "
    )
    assert notice_in("The Mill", wall * 6, 60) == "consent page"
    assert notice_in("The Mill", "Let the cookies rest on the tray, and bake twelve more cookies. " * 8, 60) is None
