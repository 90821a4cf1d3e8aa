"""What an export leaves out and why; documents of every size; the same output from any run."""

import gzip
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import apache_beam as beam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textmill.articles.article import Article
from textmill.articles.selection import Selection
from textmill.articles.snapshot import Snapshot, digest_of, digest_term
from textmill.articles.store import ArticleStore
from textmill.corpus import content_cache, export, exported_articles, preprocess
from textmill.gpt2 import tokenizer
from textmill.ground.errors import UserError
from textmill.settings.corpus import Corpus

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def _article(number: int, text: str = "", **fields: object) -> Article:
    body = text or f"Mill {number} grinds {number * 7} sacks a day. " * (number % 5 + 1)
    return Article(f"http://mill.example/{number}", "mill", f"Mill {number}", body, NOON, **fields)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Shelf:
    """A store of articles in memory, as an export reads one."""

    articles: tuple[Article, ...]

    def read(self, snapshot: Snapshot, keys: tuple[str, str] = ("0", "g")) -> Iterator[Article]:
        for article in sorted(self.articles, key=lambda a: a.key):
            if keys[0] <= article.key < keys[1]:
                # made here, because Beam compresses what it sends to its workers
                yield replace(article, text="the mill " * 1_111_111) if article.text == "ten million" else article

    def snapshot(self) -> Snapshot:
        none = Snapshot(1, NOON, len(self.articles), {}, {})
        return replace(none, digest=digest_of(digest_term(a.key, a.content_hash) for a in self.read(none)))


def _pipeline() -> beam.Pipeline:
    return beam.Pipeline(argv=["--runner=FnApiRunner"])


def _export(
    articles: list[Article],
    out: Path,
    selection: Selection = Selection(20, 20),  # noqa: B008
    cache: content_cache.Cache | None = None,
) -> export.ExportFacts:
    shelf = Shelf(tuple(articles))
    return export.export_articles(_pipeline(), partial(Shelf, shelf.articles), shelf.snapshot(), out, selection, cache)


def _urls(out: Path) -> set[str]:
    return {article.url for split in export.SPLITS for article in exported_articles.read(out / f"Split-{split}")}


@pytest.mark.parametrize(
    ("selection", "article", "reason"),
    [
        (Selection(), _article(1), None),
        (Selection(languages=("en",)), _article(1, language="en"), None),
        (Selection(languages=("en",)), _article(1, language="de"), "other language"),
        (Selection(languages=("en",)), _article(1), "other language"),
        (Selection(sources=("weir",)), _article(1), "other source"),
        (Selection(published_from=date(2026, 5, 1)), _article(1, published=NOON), None),
        (Selection(published_before=date(2026, 5, 1)), _article(1, published=NOON), "other date"),
        (Selection(published_from=date(2026, 5, 2)), _article(1, published=NOON), "other date"),
        (Selection(published_from=date(2026, 5, 2)), _article(1), "other date"),
        (Selection(min_words=4), _article(1, "three words only"), "too short"),
        (Selection(max_words=2), _article(1, "three words only"), "too long"),
        (Selection(), _article(1, " \n"), "too short"),
        (Selection(), _article(1, robots="allowed, noai"), "rights reserved"),
        (Selection(), _article(1, robots="allowed, noarchive"), None),
        (Selection(), _article(1, reserved="TDMRep"), "rights reserved"),
        (Selection(admit="all"), _article(1, reserved="TDMRep"), None),
        (Selection(admit="licensed"), _article(1), "licence not admitted"),
        (Selection(admit="licensed"), _article(1, licence="CC BY 4.0", reserved="RSL"), None),
        (Selection(admit="licensed", licences=("cc.by",)), _article(1, licence="CC BY 4.0"), None),
        (Selection(admit="licensed", licences=("cc0",)), _article(1, licence="CC BY 4.0"), "licence not admitted"),
    ],
)
def test_an_article_is_left_out_for_the_reason_that_the_configuration_gives(
    selection: Selection, article: Article, reason: str | None
) -> None:
    assert selection.refusal(article) == reason
    assert Selection.from_json(selection.to_json()).refusal(article) == reason


def test_a_selection_says_what_the_configuration_says() -> None:
    settings = Corpus(languages=["en"], published_from=date(2026, 1, 31), near_duplicates=0.9, licences=["cc"])
    assert Selection.from_json(Selection.of(settings).to_json()) == Selection.of(settings)
    assert Selection.of(Corpus()) == Selection()


@given(
    st.builds(
        Selection, languages=st.lists(st.text()).map(tuple), published_from=st.none() | st.dates(), admit=st.text()
    )
)
def test_selections_survive_their_json(selection: Selection) -> None:
    assert Selection.from_json(selection.to_json()) == selection


def test_what_is_left_out_is_counted_by_reason(tmp_path: Path) -> None:
    long = [" ".join(f"word{number * 1000 + place}" for place in range(200)) for number in range(3)]
    articles = [_article(number) for number in range(60)]
    articles += [
        _article(100, language="de"),
        _article(101, reserved="RSL"),
        replace(articles[1], url="http://a.example/"),
    ]
    articles += [_article(200 + n, long[n]) for n in range(3)] + [_article(300, long[0].replace("word7 ", "word8 "))]
    articles = [replace(a, language=a.language or "en") for a in articles]
    facts = _export(articles, tmp_path, Selection(20, 20, languages=("en",), near_duplicates=0.9))
    assert facts.left_out == {"near duplicate": 1, "other language": 1, "rights reserved": 1, "same text": 1}
    assert sum(facts.articles.values()) == sum(facts.sources.values()) == len(articles) - 4 == len(_urls(tmp_path))
    assert json.loads((tmp_path / "facts.json").read_text())["left_out"] == facts.left_out
    assert {file.name for file in tmp_path.iterdir()} == {"facts.json", *(f"Split-{split}" for split in export.SPLITS)}


def _judging(out: Path) -> set[str]:
    return {article.url for article in exported_articles.read(out / "Split-eval")}


def test_at_least_twenty_articles_judge_where_they_are_a_fifth_at_most_and_none_comes_from_the_training(
    tmp_path: Path,
) -> None:
    counts, judging = [], set[str]()
    for count in (60, 130, 170, 400):
        articles = [_article(number) for number in range(count)]
        facts = _export(
            [*articles, replace(articles[0], url="http://a.example/copy")], tmp_path / str(count), Selection()
        )
        counts.append(facts.articles["eval"])
        found = _judging(tmp_path / str(count))
        old = {article.url for article in articles[: {60: 0, 130: 60, 170: 130, 400: 170}[count]]}
        assert found & old <= judging  # what a model had learned judges no later one
        judging = found
    assert counts[0] < 20
    assert counts[1:3] == [20, 20]
    assert counts[3] > 20  # a tenth
    _export([_article(number) for number in range(130)], tmp_path / "tenth", Selection(eval_articles=0))
    assert _judging(tmp_path / "tenth") < _judging(tmp_path / "130")


def test_ranges_agree_on_the_articles_that_judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    articles = [_article(number) for number in range(130)]
    one = _export(articles, tmp_path / "one", Selection())
    monkeypatch.setattr(export, "_ARTICLES_A_RANGE", 10)
    assert _export(articles, tmp_path / "many", Selection()).articles == one.articles
    assert _judging(tmp_path / "many") == _judging(tmp_path / "one")


def test_two_exports_of_a_snapshot_are_equal_to_the_byte(tmp_path: Path) -> None:
    articles = [_article(number) for number in range(50)]
    for name, order in (("a", articles), ("b", articles[::-1])):
        _export(order, tmp_path / name)
    files = [{f.relative_to(tmp_path / n): f.read_bytes() for f in (tmp_path / n).rglob("*.gz")} for n in ("a", "b")]
    assert files[0] == files[1] and files[0]


def _files(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in out.rglob("*") if file.is_file()}


def test_with_signatures_of_former_runs_or_a_damaged_file_of_them_an_export_writes_the_same(tmp_path: Path) -> None:
    articles = [_article(number, " ".join(f"word{number * 99 + n}" for n in range(40))) for number in range(60)]
    _export(articles, tmp_path / "first", cache=content_cache.Cache(str(tmp_path / "kept"), 10**8))
    (kept,) = (tmp_path / "kept").glob("*.sqlite")
    size = kept.stat().st_size
    changed = [replace(a, text=f"{a.text} changed") if n % 10 == 3 else a for n, a in enumerate(articles)]
    changed += [_article(number + 100, f"Again {changed[number].text}") for number in range(5)]  # nearly copies
    plain = _export(changed, tmp_path / "plain")
    assert plain.left_out == {"near duplicate": 5}
    for name in ("known", "damaged", "full"):
        limit = 10**8 if name != "full" else size // 2
        if name == "damaged":
            kept.write_bytes(kept.read_bytes()[:9000] + bytes(5000) + kept.read_bytes()[14_000:])
        assert _export(changed, tmp_path / name, cache=content_cache.Cache(str(tmp_path / "kept"), limit)) == plain
        assert _files(tmp_path / name) == _files(tmp_path / "plain")


def test_documents_of_one_character_of_ten_million_and_of_end_tokens_go_all_the_way(tmp_path: Path) -> None:
    articles = [_article(number, text) for number, text in enumerate(["a", "水", "<|endoftext|>", "ten million"])]
    # until every split has one
    articles += [_article(number) for number in range(10, 40)]
    _export(articles, tmp_path / "examples")
    bpe = tokenizer.train_bpe(preprocess.tokenizer_sample(tmp_path / "examples" / "Split-train", 1000), 300)
    facts = preprocess.preprocess(_pipeline(), tmp_path / "examples", tmp_path / "windows", bpe, 1024)
    read = [
        (a.title, a.text)
        for s in preprocess.WINDOWED
        for a in exported_articles.read(tmp_path / "examples" / f"Split-{s}")
    ]
    documents = [f"{title}\n\n{text}" for title, text in read]
    assert sum(facts["tokens"].values()) == sum(len(tokens) + 1 for tokens in bpe.encode_batch(documents))
    assert len(_urls(tmp_path / "examples")) == len(articles)


def test_an_empty_snapshot_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too small to split: of 0 articles"):
        _export([], tmp_path)


def test_an_export_that_leaves_nothing_says_what_it_left_out(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"of 9 articles 0 .* 9 other language were left out"):
        _export([_article(number) for number in range(9)], tmp_path, Selection(languages=("en",)))


def test_many_ranges_hold_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    articles = [_article(number) for number in range(80)]
    one = _export(articles, tmp_path / "one")
    monkeypatch.setattr(export, "_ARTICLES_A_RANGE", 5)
    many = _export(articles, tmp_path / "many")
    assert replace(many, snapshot=one.snapshot, shards=one.shards) == one
    assert _urls(tmp_path / "many") == _urls(tmp_path / "one")
    assert len(list((tmp_path / "many").rglob("*.gz"))) > 20


def test_a_forgotten_article_stops_the_export_of_a_snapshot_that_held_it(store: ArticleStore, tmp_path: Path) -> None:
    store.upsert([_article(number) for number in range(30)])
    time.sleep(0.005)
    snapshot = store.take_snapshot()
    store.versions.update_one({}, {"$set": {"forgotten": NOON, "text": ""}})
    host, port = store.articles.database.client.address or ("", 0)
    opener = partial(ArticleStore.connect, f"mongodb://{host}:{port}", store.articles.database.name)
    with pytest.raises(Exception, match="forgotten on 2026-05-01"):
        export.export_articles(_pipeline(), opener, snapshot, tmp_path, Selection())


def test_exported_files_are_gzip_without_name_or_time(tmp_path: Path) -> None:
    _export([_article(number) for number in range(50)], tmp_path)
    file = next((tmp_path / "Split-train").iterdir())
    assert file.read_bytes()[3:8] == bytes(5) and gzip.decompress(file.read_bytes())
