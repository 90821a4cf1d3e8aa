from datetime import UTC, datetime

from scraper.items import Found, PageRecord
from scraper.storage.duplicates import Duplicates
from textmill.articles.article import Article


def found(path: str, text: str, is_alias: bool = False) -> Found:
    fetched = datetime(2026, 11, 1, tzinfo=UTC)
    return Found(
        Article(f"http://a.org/{path}", "test", "A day", text, fetched), is_alias, PageRecord(f"http://a.org/{path}")
    )


def test_second_page_of_the_same_url_or_text_is_dropped() -> None:
    duplicates = Duplicates({})
    pages = (found("a", "one"), found("a", "two"), found("b", "one"), found("c", "three"))
    kept = [duplicates.keep(each) for each in pages]
    assert [each and each.article.url for each in kept] == ["http://a.org/a", None, None, "http://a.org/c"]
    assert duplicates.dropped == ["http://a.org/a", "http://a.org/b"]


def test_alias_gives_way_to_the_canonical_page_whichever_comes_first() -> None:
    for order in ([0, 1], [1, 0]):
        duplicates = Duplicates({})
        pages = [found("a", "as the alias shows it", is_alias=True), found("a", "as it is")]
        kept = [duplicates.keep(pages[index]) for index in order]
        assert [each.article.text for each in kept if each] == ["as it is"]
        assert (duplicates.rest(), len(duplicates.dropped)) == ([], 1)


def test_alias_is_kept_in_the_end_where_the_canonical_page_gave_nothing() -> None:
    duplicates = Duplicates({})
    assert duplicates.keep(found("a", "one", is_alias=True)) is None
    assert [each.article.url for each in duplicates.rest()] == ["http://a.org/a"]
    assert (duplicates.rest(), duplicates.dropped) == ([], [])


def test_second_crawl_keeps_the_copy_that_is_stored_whichever_comes_first() -> None:
    first, second = found("a", "one"), found("b", "one")
    stored = {first.article.content_hash: first.article.url}
    for order in ([first, second], [second, first]):
        duplicates = Duplicates(stored)
        kept = [duplicates.keep(each) for each in order] + duplicates.rest()
        assert [each.article.url for each in kept if each] == ["http://a.org/a"]
        assert len(duplicates.dropped) == 1


def test_text_that_moved_to_another_url_is_kept_in_the_end() -> None:
    moved = found("b", "one")
    duplicates = Duplicates({moved.article.content_hash: "http://a.org/a"})
    assert duplicates.keep(moved) is None
    assert duplicates.rest() == [moved]


def test_text_that_its_site_says_has_not_changed_is_not_taken_from_another_page() -> None:
    stored, copy = found("a", "one"), found("b", "one")
    for first in (True, False):
        duplicates = Duplicates({stored.article.content_hash: stored.article.url})
        if first:
            duplicates.confirm(stored.article.url, stored.article.content_hash)
        assert duplicates.keep(copy) is None
        if not first:
            duplicates.confirm(stored.article.url, stored.article.content_hash)
        assert (duplicates.rest(), duplicates.dropped) == ([], ["http://a.org/b"])
