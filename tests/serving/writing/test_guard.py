"""Texts that repeat what the model learned from: named, written again, or refused.

The index is made of what the model is known to write with a seed, so that it "copies" with that seed and no other.
"""

import json
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from engine_router import served
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from serving.writing.guard import Guard, Withheld
from textmill.gpt2.document import topic_prompt
from textmill.gpt2.formats import bundle
from textmill.gpt2.inference.engine import Engine, generate
from textmill.gpt2.inference.sampling import Settings
from textmill.gpt2.tokenizer import characters, train_bpe
from textmill.gpt2.verbatim import index_builder
from textmill.gpt2.verbatim.index import Verbatim

URL = "https://mills.example/wheel"
SEED = 8
ASKED = {"topic": "abc", "seed": SEED, "max_tokens": 200, "temperature": 1.0}
FROM, TO = 20, 121  # characters of the text that stand in a training article


@pytest.fixture(scope="module")
def text(model: Path) -> str:
    """What the model writes with the seed."""
    with Engine(model, slots=1, threads=1) as engine:
        settings = Settings.of(engine.defaults, {"seed": SEED, "max_tokens": 200, "temperature": 1.0})
        return generate(engine, topic_prompt(engine.tokenizer, "abc"), settings).text


@pytest.fixture(scope="module")
def copying(model: Path, text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model with an index of an article that it repeats."""
    path = tmp_path_factory.mktemp("copying") / "bundle"
    shutil.copytree(model, path)
    article = f"Aaaa. bbbb {text[FROM:TO]} ddd eee."
    index_builder.build(path / "verbatim", [(URL, "Aa", article)], characters(["Aabcde. ü"]))
    bundle.write_manifest(path)
    return path


def client_of(copying: Path, tmp_path: Path, policy: str) -> AbstractContextManager[TestClient]:
    return served({7: copying}, tmp_path, 200, verbatim=policy, verbatim_words=5)


def events(response: Any) -> list[tuple[str, dict[str, Any]]]:
    blocks = [block.split("\n") for block in response.text.strip().split("\n\n")]
    return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


def test_a_copied_passage_is_named_with_its_source(copying: Path, tmp_path: Path, text: str) -> None:
    with client_of(copying, tmp_path, "warn") as client:
        answer = client.post("/v1/articles", json=ASKED).json()
        guard = answer["guard"]
        assert guard["status"] == "copied"
        (passage,) = guard["passages"]
        assert passage["url"] == URL
        found = answer["text"][passage["start"] : passage["stop"]]
        assert text[FROM:TO].strip() in found
        assert passage["words"] == len(found.split()) >= 5
        assert client.get(f"/v1/articles/{answer['id']}").json()["guard"] == guard
        assert client.post("/v1/articles", json={**ASKED, "seed": 9}).json()["guard"]["status"] == "clean"
        assert 'textmill_copied_passages_total{version="7"} 1.0' in client.get("/metrics").text


def test_a_refused_text_ends_before_the_passage_streamed_or_not(copying: Path, tmp_path: Path, text: str) -> None:
    with client_of(copying, tmp_path, "refuse") as client:
        answer = client.post("/v1/articles", json=ASKED).json()
        assert (answer["finish_reason"], answer["guard"]["status"]) == ("refused", "refused")
        assert answer["guard"]["passages"][0]["url"] == URL
        assert answer["guard"]["passages"][0]["start"] is None
        assert text.strip().startswith(answer["text"])
        assert len(answer["text"]) <= FROM
        streamed = events(client.post("/v1/articles", json={**ASKED, "stream": True}))
        sent = "".join(data["text"] for name, data in streamed if name == "text")
        assert text.startswith(sent)
        assert len(sent) <= FROM + 1
        assert len(sent.split()) >= len(text[:FROM].split()) - 1
        assert streamed[-1][1]["text"] == answer["text"]
        completion = client.post("/v1/completions", json={"prompt": "", "seed": 1, "max_tokens": 30}).json()
        assert completion["choices"][0]["finish_reason"] == "length"


def test_a_copying_text_is_written_again_and_its_seed_gives_the_same(copying: Path, tmp_path: Path, text: str) -> None:
    with client_of(copying, tmp_path, "regenerate") as client:
        first, second = (client.post("/v1/articles", json=ASKED).json() for _ in range(2))
        assert (first["guard"]["status"], first["guard"]["attempts"], first["seed"]) == ("clean", 2, SEED)
        assert first["text"] == second["text"]
        assert text[FROM:TO] not in first["text"]
        streamed = events(client.post("/v1/articles", json={**ASKED, "stream": True}))
        names = [name for name, _ in streamed]
        assert names.count("restart") == 1
        after = streamed[names.index("restart") :]
        assert "".join(data["text"] for name, data in after if name == "text").strip().startswith(first["text"])


def test_openais_answers_end_with_content_filter(copying: Path, tmp_path: Path, model: Path, text: str) -> None:
    with Engine(model, slots=1, threads=1) as engine:
        prompt = topic_prompt(engine.tokenizer, "abc")
    asked = {"prompt": prompt, "seed": SEED, "max_tokens": 200, "temperature": 1.0}
    with client_of(copying, tmp_path, "regenerate") as client:
        raw = client.post("/v1/completions", json={**asked, "stream": True}).text
        chunks = [json.loads(line.removeprefix("data: ")) for line in raw.split("\n\n")[:-2]]
        assert chunks[-1]["choices"][0]["finish_reason"] == "content_filter"
        assert text.startswith("".join(chunk["choices"][0]["text"] for chunk in chunks))
        assert client.post("/v1/completions", json=asked).json()["choices"][0]["finish_reason"] == "length"


def test_a_bundle_without_an_index_says_so(model: Path, tmp_path: Path) -> None:
    with served({7: model}, tmp_path, verbatim="refuse") as client:
        assert client.post("/v1/articles", json={"topic": "abc"}).json()["guard"]["status"] == "no index"
    with served({7: model}, tmp_path, verbatim="ignore") as client:
        assert client.post("/v1/articles", json={"topic": "abc"}).json()["guard"]["status"] == "not checked"


@given(st.data())
def test_what_is_handed_on_never_holds_a_word_of_a_passage(copying: Path, text: str, data: st.DataObject) -> None:
    index = Verbatim.open(copying)
    withheld = Withheld(Guard("refuse", 5, index))
    sent, place = "", 0
    while place < len(text) and not withheld.passages:
        length = data.draw(st.integers(1, 25))
        sent += withheld.push(text[place : place + length])
        place += length
    sent += withheld.close()
    assert withheld.passages
    assert text.startswith(sent)
    assert len(sent) <= FROM + 1


@given(st.lists(st.text("ab .", max_size=9)))
def test_a_clean_text_is_handed_on_whole(copying: Path, parts: list[str]) -> None:
    withheld = Withheld(Guard("refuse", 5, Verbatim.open(copying)))
    assert "".join(map(withheld.push, parts)) + withheld.close() == "".join(parts)


@pytest.mark.parametrize("size", [1, 7, 40])
def test_a_passage_without_spaces_is_seen_and_no_character_of_it_is_handed_on(tmp_path: Path, size: int) -> None:
    signs = [chr(0x4E00 + 7 * number) for number in range(900)]
    copied = "".join(signs[:600])
    tokenizer = train_bpe([copied] * 3, 1200)  # its tokens hold two characters and more
    assert 100 < len(tokenizer.encode(copied)) < 500
    index_builder.build(tmp_path / "verbatim", [(URL, "Aa", copied)], tokenizer)
    withheld = Withheld(Guard("refuse", 20, Verbatim(tmp_path / "verbatim", tokenizer)))
    own = "".join(signs[600:])
    text, sent = own + copied[:500], ""
    for place in range(0, len(text), size):
        sent += withheld.push(text[place : place + size])
    sent += withheld.close()
    assert len(withheld.passages) == 1 and withheld.passages[0].words >= 20
    assert (own + copied[:1]).startswith(sent) and len(sent) > 200  # a token may span the border
