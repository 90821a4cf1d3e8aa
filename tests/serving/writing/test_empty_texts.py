"""An article is not empty where the model can write one."""

import json
from pathlib import Path

import numpy as np
from engine_router import served

from textmill.gpt2 import weights
from textmill.gpt2.architecture import Architecture
from textmill.gpt2.formats import bundle
from textmill.gpt2.tokenizer import characters

LETTERS = characters(["abc \n"])


def _soon_ended(directory: Path, letters: str, **generation: float) -> Path:
    """A model that writes one of the letters or ends, each as likely."""
    shape = Architecture(LETTERS.vocabulary, 64, 1, 1, 8)
    made = weights.initial(shape)
    made["transformer.wte.weight"] = np.eye(shape.vocabulary, shape.width, dtype=np.float32)
    made["transformer.ln_f.weight"][:] = 0
    made["transformer.ln_f.bias"][[LETTERS.end, *LETTERS.encode(letters)]] = 12
    bundle.write_bundle(directory, made, shape, LETTERS, {"top_p": 1.0, **generation}, {}, "")
    return directory


def test_an_empty_article_is_drawn_again_and_a_completion_is_not(tmp_path: Path) -> None:
    with served({7: _soon_ended(tmp_path / "bundle", "a")}, tmp_path / "data") as client:
        articles = [client.post("/v1/articles", json={"topic": "b", "seed": seed}).json() for seed in range(24)]
        assert {answer["finish_reason"] for answer in articles} == {"end"}
        assert sum(not answer["text"] for answer in articles) <= 7  # an eighth is expected, a half without
        again = [answer for answer in articles if answer["guard"]["attempts"] > 1]
        assert len(again) >= 5
        assert (
            client.post("/v1/articles", json={"topic": "b", "seed": again[0]["seed"]}).json()["text"]
            == again[0]["text"]
        )
        streamed = client.post("/v1/articles", json={"topic": "b", "seed": again[0]["seed"], "stream": True}).text
        last = json.loads(streamed.strip().rpartition("data: ")[2])
        assert last["text"] == again[0]["text"]
        asked = [{"prompt": "b\n\n", "seed": seed} for seed in range(24)]
        texts = [client.post("/v1/completions", json=each).json()["choices"][0]["text"] for each in asked]
        assert sum(not text for text in texts) >= 7


def test_an_article_that_ends_too_soon_is_drawn_again(tmp_path: Path) -> None:
    def short(name: str, **generation: float) -> int:
        model = _soon_ended(tmp_path / name, "ab ", **generation)
        with served({7: model}, tmp_path / f"{name}-data") as client:
            answers = [client.post("/v1/articles", json={"topic": "b", "seed": seed}).json() for seed in range(40)]
        return sum(len(answer["text"].split()) < 2 for answer in answers)

    assert short("held", fewest_words=2) < short("free")


def test_a_chat_that_streams_hands_on_one_text_however_short(tmp_path: Path) -> None:
    def texts(name: str, path: str, **generation: float) -> list[str]:
        with served({7: _soon_ended(tmp_path / name, "ab ", **generation)}, tmp_path / f"{name}-data") as client:
            if path == "/v1/articles":
                return [client.post(path, json={"topic": "b", "seed": seed}).json()["text"] for seed in range(20)]
            asked = {"model": "tiny", "messages": [{"role": "user", "content": "b"}], "stream": True}
            events = [client.post(path, json={**asked, "seed": seed}).text.split("data: ")[1:-1] for seed in range(20)]
        return ["".join(json.loads(each)["choices"][0]["delta"].get("content") or "" for each in one) for one in events]

    streamed = texts("held", "/v1/chat/completions", fewest_words=1000)
    alone = texts("free", "/v1/articles")
    assert [text.strip() for text in streamed] == [text.strip() for text in alone]
