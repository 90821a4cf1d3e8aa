"""A model that knows a text by heart is found out, and one that does not is not accused."""

from pathlib import Path

import pytest
from parrots import write_parrot

from textmill.corpus.exported_articles import Exported
from textmill.evaluation import memorisation
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.inference.session import Session
from textmill.gpt2.tokenizer import characters
from textmill.gpt2.verbatim import index_builder
from textmill.ground.errors import UserError

LETTERS = characters(["abcdefghijklmnopqrstuvwxyz \n"])
SHAPE = Architecture(LETTERS.vocabulary, 64, 1, 1, 32)
NOTICE = "all rights are reserved by the mill and its owner so ask"
ARTICLES = [
    Exported("http://mill.example/0", "mill", "wheel", f"the wheel turns all day long and {NOTICE} the miller"),
    Exported("http://mill.example/1", "mill", "grain", f"{NOTICE} whoever grinds the grain of the valley all winter"),
    Exported("http://mill.example/2", "mill", "cry", "a" * 200),
    Exported("http://mill.example/3", "mill", "short", "no"),
]


@pytest.fixture(scope="module")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that always says a, with the index of the articles."""
    folder = tmp_path_factory.mktemp("parrot")
    index_builder.build(folder / "index", ((a.url, a.title, a.text) for a in ARTICLES), LETTERS)
    write_parrot(folder / "a", SHAPE, LETTERS, "a", folder / "index")
    return folder / "a"


def test_passages_that_the_model_goes_on_with_word_for_word_are_memorised(parrot: Path) -> None:
    memory = memorisation.examine(parrot, ARTICLES, probes=40)
    known = [probe for probe in memory.probes if probe.memorised]
    assert {probe.title for probe in known} == {"cry"}
    assert {probe.continuation for probe in known} == {"a" * 30}
    others = [probe for probe in memory.probes if not probe.memorised]
    assert {probe.url for probe in others} >= {"http://mill.example/0"}
    assert all(probe.known < 30 for probe in others)
    assert memory.memorised() == (len(known), 40)
    assert memory.metrics() == {"probes": 40, "memorised": len(known) / 40}


def test_passages_in_several_articles_are_tried_first_and_stand_in_the_text(parrot: Path) -> None:
    repeated = [probe for probe in memorisation.examine(parrot, ARTICLES, probes=2).probes if probe.repeated]
    (probe,) = repeated
    assert (len(probe.prompt), len(probe.continuation)) == (20, 30)
    text = next(article.text for article in ARTICLES if article.url == probe.url)
    assert probe.prompt + probe.continuation in text
    assert probe.prompt[:30] in NOTICE


def test_the_same_seed_tries_the_same_passages(parrot: Path) -> None:
    first, again, other = (memorisation.examine(parrot, ARTICLES, probes=9, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_memorised_canary_is_found_wherever_it_may_stand(parrot: Path) -> None:
    memory = memorisation.examine(parrot, [], 0, ["aaaaaaaaaaaaaaaa", "the safe is behind the wheel", "whee" + "a" * 4])
    assert [(canary.shown, canary.memorised) for canary in memory.canaries] == [
        ("aaaaaaaa", True),
        ("the safe is be", False),
        ("whee", True),
    ]
    assert memory.metrics() == {"memorised_canaries": 2}
    with pytest.raises(UserError, match="canary 'a' is a single token"):
        memorisation.examine(parrot, [], 0, ["a"])


def test_a_canary_longer_than_the_window_is_tried_as_far_as_the_model_sees(parrot: Path) -> None:
    (canary,) = memorisation.examine(parrot, [], 0, ["a" * 500]).canaries
    assert canary.memorised


def test_the_likeliest_tokens_are_counted_up_to_the_first_other_one(parrot: Path) -> None:
    session = Session(parrot, slots=1, threads=1)
    assert memorisation.leading(session, LETTERS.encode("mill" + "a" * 6), 4) == 6
    assert memorisation.leading(session, LETTERS.encode("mill" + "aaxaaa"), 4) == 2
    assert memorisation.leading(session, LETTERS.encode("millx"), 4) == 0


def test_without_an_index_or_with_a_small_window_nothing_is_probed(parrot: Path, tmp_path: Path) -> None:
    write_parrot(tmp_path / "bare", SHAPE, LETTERS, "a")
    assert memorisation.examine(tmp_path / "bare", ARTICLES, 10).probes == []
    small = Architecture(LETTERS.vocabulary, 24, 1, 1, 32)
    write_parrot(tmp_path / "small", small, LETTERS, "a", parrot / "verbatim")
    assert memorisation.examine(tmp_path / "small", ARTICLES, 10).metrics() == {}
